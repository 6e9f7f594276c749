package api

import (
	"errors"
	"io"
	"net/http"

	"tokenbroker/broker"
	"tokenbroker/revocation"
)

// Receipts takes what a service says of how far it is, as it came. Errors are [*broker.Error]
// where the caller may know the reason. It must not block.
type Receipts interface {
	Receipt(client string, raw []byte) error
}

// receipt is POST /revocations/receipt for services: client id and secret by Basic. 204.
func (s *server) receipt(w http.ResponseWriter, r *http.Request) error {
	client, err := s.authenticateService(r)
	if err != nil {
		return err
	}
	if err := checkJSON(r); err != nil {
		return err
	}
	tooLarge := &broker.Error{Code: CodeBodyTooLarge, Message: "a receipt may have 4096 bytes"}
	if r.ContentLength > revocation.MaxReceiptBytes {
		return tooLarge
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, revocation.MaxReceiptBytes))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return tooLarge
	case err != nil:
		return invalidBody("the body could not be read whole")
	}
	if err := s.cfg.Receipts.Receipt(client, raw); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
