// Package feed serves the revocations to services: the catch-up answer, the stream of
// server-sent events, the keys that sign both, and the receipts that services send back.
package feed

import (
	"net/http"
	"strconv"
	"time"

	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
	"tokenbroker/revocation"
)

// Receipts accepts the receipts of services, unparsed: which revocations they have applied. Errors
// are [*broker.Error] where the caller may know the reason. It must not block.
type Receipts interface {
	Receipt(client string, raw []byte) error
}

// Config is the configuration of the feed's endpoints.
type Config struct {
	Clients httpapi.Clients
	Catchup Catchup
	// Stream delivers the event stream. If nil, its path does not exist.
	Stream Stream
	// StreamTimeout is the time in which a listener of the stream must read one event. A slower listener
	// is disconnected. If zero, it is [httpapi.StreamTimeout].
	StreamTimeout time.Duration
	// Receipts accepts the receipts of services. If nil, its path does not exist.
	Receipts Receipts
	// JWKS are the keys of the revocation feed.
	JWKS httpapi.Document
}

// Handler serves the feed's endpoints. It is safe for concurrent use.
type Handler struct{ cfg Config }

// New checks the configuration.
func New(cfg Config) (*Handler, error) {
	if cfg.StreamTimeout <= 0 {
		cfg.StreamTimeout = httpapi.StreamTimeout
	}
	if err := httpapi.Missing(map[string]bool{"Clients": cfg.Clients == nil, "Catchup": cfg.Catchup == nil, "JWKS": cfg.JWKS == nil}); err != nil {
		return nil, err
	}
	return &Handler{cfg}, nil
}

// Routes returns the endpoints.
func (h *Handler) Routes() []httpapi.Route {
	routes := []httpapi.Route{
		httpapi.Get("/revocations", h.catchup),
		httpapi.Get("/revocations/jwks.json", httpapi.Serve(h.cfg.JWKS)),
	}
	if h.cfg.Stream != nil {
		routes = append(routes, httpapi.Route{Methods: []string{http.MethodGet}, Path: "/revocations/stream", Endpoint: h.stream})
	}
	if h.cfg.Receipts != nil {
		routes = append(routes, httpapi.Post("/revocations/receipt", h.receipt))
	}
	return routes
}

// authenticate returns the id of the client that authenticates by Basic.
func (h *Handler) authenticate(r *http.Request) (client string, err error) {
	c, err := httpapi.BasicCredentials(r)
	if err != nil {
		return "", err
	}
	info, err := h.cfg.Clients.AuthenticateClient(r.Context(), c, httpapi.BrokerRequest(r))
	if err == nil && info.Public {
		return "", &broker.Error{Code: broker.CodeInvalidClient, Message: "a public client cannot read the feed"}
	}
	return info.ID, err
}

// Reader is a service that reads the feed.
type Reader struct {
	// Client is the id by which it authenticated.
	Client string
	// After is its position as it was sent, or "".
	After string
	// Speaks is the version of the protocol that it speaks, at least 1 ([revocation.Speaks]).
	Speaks int
}

// reader returns the client that authenticates by Basic, with what its query says.
func (h *Handler) reader(r *http.Request) (Reader, error) {
	client, err := h.authenticate(r)
	if err != nil {
		return Reader{}, err
	}
	reader := Reader{Client: client, Speaks: 1}
	query := r.URL.Query()
	switch positions := query["after"]; len(positions) {
	case 0:
	case 1:
		reader.After = positions[0]
	default:
		return Reader{}, &broker.Error{Code: httpapi.CodeInvalidPosition, Message: "after occurs more than once; send it once"}
	}
	switch speaks := query["speaks"]; len(speaks) {
	case 0:
	case 1:
		if reader.Speaks, err = strconv.Atoi(speaks[0]); err != nil || reader.Speaks < 1 || reader.Speaks > revocation.MaxSpeaks {
			return Reader{}, &broker.Error{Code: httpapi.CodeInvalidParameter, Message: "speaks is not a version of the protocol"}
		}
	default:
		return Reader{}, &broker.Error{Code: httpapi.CodeRepeatedParameter, Message: "speaks occurs more than once; send it once"}
	}
	return reader, nil
}

// receipt is POST /revocations/receipt for services: client id and secret by Basic. 204.
func (h *Handler) receipt(w http.ResponseWriter, r *http.Request) error {
	client, err := h.authenticate(r)
	if err != nil {
		return err
	}
	if err := httpapi.CheckJSON(r); err != nil {
		return err
	}
	raw, err := httpapi.ReadBody(w, r, revocation.MaxReceiptBytes)
	if err != nil {
		return err
	}
	if err := h.cfg.Receipts.Receipt(client, raw); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
