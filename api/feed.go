package api

import (
	"errors"
	"net/http"

	"tokenbroker/broker"
)

// badPosition is an error of [Catchup] that blames the position.
type badPosition interface {
	error
	BadPosition() bool
}

// revocations is GET /revocations?after=position for services: client id and secret by
// Basic (RFC 7617), as they are. The answer is never cached.
func (s *server) revocations(w http.ResponseWriter, r *http.Request) error {
	id, secret, ok := r.BasicAuth()
	if !ok || id == "" {
		return &broker.Error{Code: broker.CodeInvalidClient, Message: "want the client's id and secret by Basic authentication"}
	}
	if _, err := s.cfg.Clients.AuthenticateClient(r.Context(), id, secret); err != nil {
		return err
	}
	after := r.URL.Query()["after"]
	if len(after) > 1 {
		return &broker.Error{Code: CodeInvalidPosition, Message: "after came more than once"}
	}
	var position string
	if len(after) == 1 {
		position = after[0]
	}
	answer, err := s.cfg.Catchup.Answer(r.Context(), position)
	if err != nil {
		var bad badPosition
		if errors.As(err, &bad) && bad.BadPosition() {
			return &broker.Error{Code: CodeInvalidPosition, Message: "after is not a list of origin.seq", Err: err}
		}
		return err
	}
	return writeJSON(w, http.StatusOK, answer)
}
