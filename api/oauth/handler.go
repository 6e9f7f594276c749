// Package oauth serves the endpoints by which services and gateways check access tokens: discovery and keys,
// introspection (RFC 7662), and /auth/verify.
package oauth

import (
	"context"
	"encoding/json"
	"time"

	"tokenbroker/api/httpapi"
)

// Verifier checks an access token. It returns the token's claims as a JSON object, or a [*broker.Error] with [httpapi.CodeTokenExpired], [httpapi.CodeTokenRevoked],
// [httpapi.CodeTokenInvalid] or [broker.CodeUnavailable]; any other error is answered 500.
type Verifier interface {
	Verify(ctx context.Context, token string) (claims json.RawMessage, err error)
}

// Config is the configuration of the endpoints. All fields are required.
type Config struct {
	Clients  httpapi.Clients
	Verifier Verifier
	// JWKS are the access keys.
	JWKS httpapi.Document
	// MaxTokenLifetime returns the discovery member access_token_max_lifetime, at least a second, and
	// Algorithms returns those of the published access keys. Both are called for each discovery
	// document and must not block.
	MaxTokenLifetime func() time.Duration
	Algorithms       func() []string
}

// Handler serves the endpoints. It is safe for concurrent use.
type Handler struct {
	cfg  Config
	site *httpapi.Site
}

// New checks the configuration. The documents name the issuer of site, whose pages may verify tokens.
func New(cfg Config, site *httpapi.Site) (*Handler, error) {
	if err := httpapi.Missing(map[string]bool{
		"Clients": cfg.Clients == nil, "Verifier": cfg.Verifier == nil, "JWKS": cfg.JWKS == nil,
		"MaxTokenLifetime": cfg.MaxTokenLifetime == nil, "Algorithms": cfg.Algorithms == nil,
	}); err != nil {
		return nil, err
	}
	return &Handler{cfg, site}, nil
}

// Routes returns the endpoints.
func (h *Handler) Routes() []httpapi.Route {
	return []httpapi.Route{
		httpapi.Get("/.well-known/openid-configuration", h.discovery),
		httpapi.Get("/.well-known/oauth-authorization-server", h.discovery),
		httpapi.Get("/.well-known/jwks.json", httpapi.Serve(h.cfg.JWKS)),
		httpapi.Post("/oauth2/introspect", oauthErrors(h.introspect)),
		httpapi.Post("/auth/verify", h.verify),
		httpapi.Get("/auth/verify", h.gateway),
	}
}
