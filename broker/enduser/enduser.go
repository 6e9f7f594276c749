// Package enduser implements the use cases of people: sign-in by password, sign-in through a provider, the exchange of
// a provider's tokens, refresh, session and log-off.
package enduser

import (
	"cmp"
	"context"
	"log/slog"

	"golang.org/x/sync/semaphore"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/credential"
	"tokenbroker/broker/issuing"
	"tokenbroker/broker/openrates"
	"tokenbroker/broker/replays"
	"tokenbroker/broker/session"
	"tokenbroker/store"
)

// Config wires a [Service]. Everything without a stated default is required.
type Config struct {
	Path      *commit.Path
	Store     store.Reader // the path's
	Signer    broker.Signer
	Secrets   broker.Secrets
	Clock     broker.Clock
	Passwords broker.Passwords
	Throttle  broker.Throttle
	// Providers are the upstream identity providers by name. If empty, people sign in only with passwords.
	Providers map[string]broker.IdentityProvider
	// CustomClaims are claims in addition to the standard ones, and the user object of the answers. If nil,
	// there are no such claims, and the user object has id, username, roles and groups.
	CustomClaims credential.CustomClaims
	// LogoutReturn is the URL to which a provider's log-out page sends the browser.
	LogoutReturn string

	// Issuer and Audience are the iss and aud of access tokens.
	Issuer   string
	Audience []string
	// BrowserClient is the client of browser sessions, and BrowserScope their scope.
	BrowserClient string
	BrowserScope  string
	Policy        session.Policy // the path's
	// Signers is the maximum number of concurrent signatures. If zero, it is 4.
	Signers int64

	// Logger receives diagnostics. If nil, slog.Default is used.
	Logger *slog.Logger
	// Audit receives the lines of security events. If nil, Logger receives them.
	Audit *slog.Logger
}

// Service has the use cases of people. It starts no goroutine. It is safe for concurrent use. While
// [broker.Secrets] is outdated, all of them except [Service.NewExchangeNonce] are refused with CodeUnavailable.
type Service struct {
	cfg       Config
	path      *commit.Path
	audit     broker.Audit
	issuer    *issuing.Issuer
	upstreams map[string]*semaphore.Weighted
	replays   *replays.Counter
	openRates *openrates.Limiter
}

// checkKeys returns the refusal of a use case that checks or signs tokens while the keys may be outdated:
// a valid token must not be taken for a forged one.
func (svc *Service) checkKeys(ctx context.Context) error {
	if err := svc.cfg.Secrets.Outdated(); err != nil {
		return commit.AppError(ctx, "checking the keys", err)
	}
	return nil
}

// New returns the use cases on the commit path.
func New(cfg Config) *Service {
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	return &Service{
		cfg: cfg, path: cfg.Path, audit: broker.Audit{Logger: cmp.Or(cfg.Audit, cfg.Logger)},
		issuer: issuing.New(cfg.Signer, cfg.CustomClaims, cfg.Signers), upstreams: upstreamGates(cfg.Providers),
		replays: replays.NewCounter(), openRates: openrates.New(),
	}
}
