// Package oauthclient implements the use cases of OAuth clients: the authorization of a client by a user, the grants of the token
// endpoint, the revocation and introspection of tokens, userinfo and the log-out that a client starts.
package oauthclient

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/credential"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/issuing"
	"tokenbroker/broker/openrates"
	"tokenbroker/broker/replays"
	"tokenbroker/broker/session"
	"tokenbroker/store"
)

// AccessTokens checks access tokens of this broker, of any of its audiences.
type AccessTokens interface {
	// Verify returns the token's claims as a JSON object. The error is a [*broker.Error] for a token that is expired, revoked
	// or invalid, and while no token can be judged.
	Verify(ctx context.Context, token string) (json.RawMessage, error)
}

// IDTokens checks id tokens of this broker.
type IDTokens interface {
	// VerifyIDToken returns the claims of an id token of this broker, also of an expired one, and whether it is one.
	VerifyIDToken(ctx context.Context, token string) (claims json.RawMessage, ok bool)
}

// Upstreams proves identities for the exchange of a provider's id token.
type Upstreams interface {
	// ProveIDToken returns the user of an id token of a provider, and the session to open for it with its replay marks. It makes
	// the same checks as the exchange of a SPA. The provider is the one of the token's issuer.
	ProveIDToken(ctx context.Context, idToken, accessToken string, req broker.Request) (uid string, open session.Open, marks []commit.Mark, err error)
}

// Config wires a [Service]. Everything without a stated default is required.
type Config struct {
	Path         *commit.Path
	Store        store.Reader // the path's
	Signer       broker.Signer
	Secrets      broker.Secrets
	Clock        broker.Clock
	AccessTokens AccessTokens
	IDTokens     IDTokens
	// Assertions may be nil: then no client authenticates by an assertion.
	Assertions broker.Assertions
	// Upstreams may be nil: then no id tokens of providers are exchanged.
	Upstreams Upstreams
	// Documents may be nil: then a client id that is a URL is unknown. InsecureLoopback allows documents at http on loopback.
	Documents        broker.ClientDocuments
	InsecureLoopback bool
	// DocumentPolicy and RegistrationPolicy are what clients of these classes may have.
	DocumentPolicy, RegistrationPolicy broker.ClientPolicy
	// UnusedAfter is how long a client that registered itself is kept without being used.
	UnusedAfter time.Duration
	// CustomClaims may be nil.
	CustomClaims credential.CustomClaims
	// Issuer is the iss of tokens, and Audience the aud for clients that have none of their own.
	Issuer   string
	Audience []string
	// Resources are the resource URIs by audience name (RFC 8707).
	Resources map[string]string
	Policy    session.Policy // the path's
	// Signers is the maximum number of concurrent signatures. If zero, it is 4.
	Signers int64
	// Logger receives diagnostics. If nil, slog.Default is used.
	Logger *slog.Logger
	// Audit receives the lines of security events. If nil, Logger receives them.
	Audit *slog.Logger
}

// Service has the use cases of OAuth clients. It starts no goroutine. It is safe for concurrent use. While
// [broker.Secrets] is outdated, all of them but [Service.AuthenticateClient] are refused with CodeUnavailable.
type Service struct {
	cfg       Config
	path      *commit.Path
	audit     broker.Audit
	issuer    *issuing.Issuer
	replays   *replays.Counter
	openRates *openrates.Limiter
	clients   *directory.ClientCache
	documents *documentCache
	index     *ClientIndex
	touching  sync.Map // the ids of the clients whose use is being recorded
}

// New returns the use cases on the commit path.
func New(cfg Config) *Service {
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	return &Service{
		cfg: cfg, path: cfg.Path, audit: broker.Audit{Logger: cmp.Or(cfg.Audit, cfg.Logger)},
		issuer: issuing.New(cfg.Signer, cfg.CustomClaims, cfg.Signers), replays: replays.NewCounter(), openRates: openrates.New(),
		clients: directory.NewClientCache(), documents: newDocumentCache(), index: NewClientIndex(cfg.Store, cfg.Clock, cfg.Logger),
	}
}
