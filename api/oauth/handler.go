// Package oauth serves the endpoints of OAuth clients below /oauth2: the token endpoint, revocation (RFC 7009), introspection
// (RFC 7662), userinfo and the registration of clients (RFC 7591, RFC 7592); the discovery documents and the keys; and /auth/verify, by which services and gateways check access
// tokens.
package oauth

import (
	"context"
	"encoding/json"
	"time"

	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
)

// The paths of the endpoints.
const (
	tokenPath      = "/oauth2/token"
	revocationPath = "/oauth2/revoke"
	introspectPath = "/oauth2/introspect"
	userInfoPath   = "/oauth2/userinfo"
	// registrationPath is also the prefix of the clients' own URLs.
	registrationPath = "/oauth2/register"

	openIDPath   = "/.well-known/openid-configuration"
	metadataPath = "/.well-known/oauth-authorization-server"
	jwksPath     = "/.well-known/jwks.json"
)

// Clients are the use cases of OAuth clients. The broker implements it; errors are [*broker.Error] where the caller may know the
// reason.
type Clients interface {
	AuthenticateClient(ctx context.Context, c broker.ClientCredentials, req broker.Request) (broker.ClientInfo, error)
	Token(ctx context.Context, in broker.TokenRequest, req broker.Request) (*broker.TokenAnswer, error)
	// RefuseTokenRequest audits the refusal of a token request that cannot be read.
	RefuseTokenRequest(ctx context.Context, code broker.Code, reason string, req broker.Request)
	Revoke(ctx context.Context, c broker.ClientCredentials, token, hint string, req broker.Request) (clientID string, err error)
	IntrospectRefreshToken(ctx context.Context, clientID, token string) (info broker.RefreshTokenInfo, active bool, err error)
	UserInfo(ctx context.Context, accessToken string, req broker.Request) (*broker.UserInfo, error)
}

// Verifier checks an access token. It returns the token's claims as a JSON object, or a [*broker.Error] with [httpapi.CodeTokenExpired], [httpapi.CodeTokenRevoked],
// [httpapi.CodeTokenInvalid] or [broker.CodeUnavailable]; any other error is answered 500.
type Verifier interface {
	Verify(ctx context.Context, token string) (claims json.RawMessage, err error)
}

// Config is the configuration of the endpoints. Fields without a stated default are required.
type Config struct {
	Clients Clients
	// Origins knows the origins of the clients' pages. If nil, no page may call the endpoints below /oauth2.
	Origins Origins
	// Verifier accepts tokens of the broker's own audience, and AnyAudience those of every audience.
	Verifier, AnyAudience Verifier
	// Registrations let clients register themselves. If nil, there are no such endpoints.
	Registrations Registrations
	// DocumentClients is whether the id of a client may be the URL of a Client ID Metadata Document.
	DocumentClients bool
	// JWKS are the access keys.
	JWKS httpapi.Document
	// MaxTokenLifetime returns the discovery member access_token_max_lifetime, at least a second, and
	// Algorithms returns those of the published access keys. Both are called for each discovery
	// document and must not block.
	MaxTokenLifetime func() time.Duration
	Algorithms       func() []string
	// Scopes are the scopes, Claims the claims about users, and AssertionAlgorithms the algorithms of client assertions, that
	// discovery names.
	Scopes, Claims, AssertionAlgorithms []string
}

// Handler serves the endpoints. It is safe for concurrent use.
type Handler struct {
	cfg  Config
	site *httpapi.Site
}

// New checks the configuration. The documents name the issuer of site, whose pages may verify tokens.
func New(cfg Config, site *httpapi.Site) (*Handler, error) {
	if err := httpapi.Missing(map[string]bool{
		"Clients": cfg.Clients == nil, "Verifier": cfg.Verifier == nil, "AnyAudience": cfg.AnyAudience == nil, "JWKS": cfg.JWKS == nil,
		"MaxTokenLifetime": cfg.MaxTokenLifetime == nil, "Algorithms": cfg.Algorithms == nil, "Scopes": len(cfg.Scopes) == 0,
		"Claims": len(cfg.Claims) == 0, "AssertionAlgorithms": len(cfg.AssertionAlgorithms) == 0,
	}); err != nil {
		return nil, err
	}
	return &Handler{cfg, site}, nil
}

// Routes returns the endpoints.
func (h *Handler) Routes() []httpapi.Route {
	userInfo := httpapi.Get(userInfoPath, h.userInfo)
	userInfo.Methods = append(userInfo.Methods, "POST")
	routes := []httpapi.Route{
		httpapi.Get(openIDPath, h.discovery),
		httpapi.Get(metadataPath, h.discovery),
		httpapi.Get(jwksPath, httpapi.Serve(h.cfg.JWKS)),
		httpapi.Post(tokenPath, h.token).Around(h.clientErrors),
		httpapi.Post(revocationPath, h.revoke).Around(h.clientErrors),
		userInfo.Around(h.bearerErrors),
		httpapi.Post(introspectPath, h.introspect).Around(introspectionErrors),
		httpapi.Post("/auth/verify", h.verify),
		httpapi.Get("/auth/verify", h.gateway),
	}
	if h.cfg.Registrations != nil {
		routes = append(routes, h.registrationRoutes()...)
	}
	return routes
}

// IsDocument reports whether path is that of a document that pages of every origin may read.
func IsDocument(path string) bool {
	return path == openIDPath || path == metadataPath || path == jwksPath
}
