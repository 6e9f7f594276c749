package oauth

import (
	"context"
	"net/http"

	"tokenbroker/api/httpapi"
)

// Origins knows the origins of the clients' pages. Implementations must be safe for concurrent use.
type Origins interface {
	// Allows reports whether origin, as browsers write it, is one of the client's. If clientID is empty, it reports whether it
	// is one of any client.
	Allows(ctx context.Context, origin, clientID string) bool
}

// IsForClients reports whether path is that of an endpoint that pages of clients call.
func IsForClients(path string) bool {
	return path == tokenPath || path == revocationPath || path == userInfoPath
}

// AllowsClientOrigin reports whether pages of an origin, as browsers write it, may send requests to the paths of [IsForClients].
func (h *Handler) AllowsClientOrigin(ctx context.Context, origin string) bool {
	return h.cfg.Origins != nil && h.cfg.Origins.Allows(ctx, origin, "")
}

// forPages marks the answers of f as depending on the Origin, for caches.
func (h *Handler) forPages(f httpapi.Endpoint) httpapi.Endpoint {
	return func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Add("Vary", "Origin")
		return f(w, r)
	}
}

// letRead lets the page that sent the request read its answer if the page's origin is one of the client's.
func (h *Handler) letRead(w http.ResponseWriter, r *http.Request, clientID string) {
	if clientID != "" {
		h.allow(w, r, clientID)
	}
}

// letAnyClientRead lets the page that sent the request read its answer if the page's origin is one of any client. It is for
// refusals, before the client is known.
func (h *Handler) letAnyClientRead(w http.ResponseWriter, r *http.Request) { h.allow(w, r, "") }

func (h *Handler) allow(w http.ResponseWriter, r *http.Request, clientID string) {
	if sent := r.Header.Values("Origin"); len(sent) == 1 && h.cfg.Origins != nil && h.cfg.Origins.Allows(r.Context(), sent[0], clientID) {
		w.Header().Set("Access-Control-Allow-Origin", sent[0])
		w.Header().Set("Access-Control-Expose-Headers", httpapi.ExposedHeaders)
	}
}
