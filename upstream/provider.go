// Package upstream verifies identities at OpenID Connect providers: AWS Cognito and any other
// issuer, with go-oidc and x/oauth2. A [Provider] fetches nothing until it is used, so the broker
// starts even if a provider is down. The age, size and request rate of its key set are bounded.
package upstream

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"tokenbroker/broker"
)

// Provider verifies identities at one issuer, or at the issuers of one Cognito user pool. It is
// safe for concurrent use. It starts a goroutine only for a fetch, which ends within the time-out
// of the request.
type Provider struct {
	cfg     Config
	issuers []*issuer               // by cfg.Issuers
	outcome atomic.Pointer[outcome] // of the last request to the provider
	fetches atomic.Int64            // of keys
}

var _ broker.IdentityProvider = (*Provider)(nil)

// New checks cfg and returns a Provider. It does not fetch anything.
func New(cfg Config) (*Provider, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	p := &Provider{cfg: cfg}
	for _, u := range p.cfg.Issuers {
		p.issuers = append(p.issuers, &issuer{url: u, provider: p, transport: newTransport(&p.cfg, u)})
	}
	return p, nil
}

// Close closes the idle connections.
func (p *Provider) Close() {
	for _, s := range p.issuers {
		s.transport.close()
	}
}

// Issuer returns the issuer of the identities.
func (p *Provider) Issuer() string { return p.cfg.Issuer }

// Issuers returns the issuers whose tokens are accepted.
func (p *Provider) Issuers() []string { return slices.Clone(p.cfg.Issuers) }

// AuthorizeURL implements [broker.IdentityProvider], for the code flow with PKCE S256 (RFC 7636).
func (p *Provider) AuthorizeURL(ctx context.Context, req broker.AuthorizeRequest) (string, error) {
	meta, err := p.discover(ctx)
	if err != nil {
		return "", err
	}
	conf := meta.oauth
	conf.RedirectURL = req.RedirectURI
	options := []oauth2.AuthCodeOption{oidc.Nonce(req.Nonce), oauth2.S256ChallengeOption(req.Verifier)}
	for _, hint := range [...]struct{ name, value string }{
		{"prompt", req.Hints.Prompt}, {"login_hint", req.Hints.LoginHint}, {"max_age", req.Hints.MaxAge}, {"acr_values", req.Hints.ACRValues},
	} {
		if hint.value != "" {
			options = append(options, oauth2.SetAuthURLParam(hint.name, hint.value))
		}
	}
	return conf.AuthCodeURL(req.State, options...), nil
}

// LogoutURL implements [broker.IdentityProvider]. If the provider is not discovered yet, LogoutURL
// waits at most one second for its discovery document, so that a log-off is not delayed.
func (p *Provider) LogoutURL(ctx context.Context, returnTo string) string {
	if p.cfg.LogoutURL != "" {
		return strings.TrimSuffix(p.cfg.LogoutURL, "/") + "/logout?" +
			url.Values{"client_id": {p.cfg.ClientID}, "logout_uri": {returnTo}}.Encode()
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	meta, err := p.discover(ctx)
	if err != nil || meta.endSession == "" {
		return ""
	}
	to, err := url.Parse(meta.endSession)
	if err != nil {
		return ""
	}
	back := "post_logout_redirect_uri" // OIDC RP-Initiated Logout §2
	if p.cfg.Kind == KindCognito {
		back = "logout_uri"
	}
	query := to.Query()
	query.Set("client_id", p.cfg.ClientID)
	query.Set(back, returnTo)
	to.RawQuery = query.Encode()
	return to.String()
}

// outcome is the result of a request to the provider.
type outcome struct {
	at time.Time
	ok bool
}

// current returns the issuer whose endpoints are used: the first one that was discovered.
func (p *Provider) current() *issuer {
	for _, s := range p.issuers {
		if s.meta.Load() != nil {
			return s
		}
	}
	return p.issuers[0]
}

// issuerOf returns the issuer that iss names, or nil if it is not one of the provider's issuers.
func (p *Provider) issuerOf(iss string) *issuer {
	for _, s := range p.issuers {
		if s.issues(iss) {
			return s
		}
	}
	return nil
}

// discover returns the metadata of the current issuer. If none was discovered yet, it tries the
// issuers one after the other.
func (p *Provider) discover(ctx context.Context) (*metadata, error) {
	if s := p.current(); s.meta.Load() != nil {
		return s.discover(ctx)
	}
	var failed error
	for _, s := range p.issuers {
		meta, err := s.discover(ctx)
		switch {
		case err == nil:
			return meta, nil
		case failed == nil:
			failed = err
		case ctx.Err() == nil:
			failed = fmt.Errorf("%w; at %s: %w", failed, s.url, err)
		}
	}
	return nil, failed
}

// Ready reports whether the provider answers. It uses the result of the last request to any of its
// endpoints if that is not older than outcomeLife, and otherwise reads the discovery document, for
// at most one second.
func (p *Provider) Ready(ctx context.Context) bool {
	last := p.outcome.Load()
	s := p.current()
	if s.meta.Load() != nil && last != nil && p.cfg.Now().Sub(last.at) < outcomeLife {
		return last.ok
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if s.meta.Load() == nil {
		_, err := p.discover(ctx)
		return err == nil
	}
	select {
	case a := <-s.attempt(ctx, outcomeLife):
		return a.Err == nil
	case <-ctx.Done(): // no new result yet
		return last != nil && last.ok
	}
}

// recordOutcome records the result of a request to the provider.
func (p *Provider) recordOutcome(err error) {
	p.outcome.Store(&outcome{at: p.cfg.Now(), ok: err == nil})
}

// Check fetches what a sign-in needs from the provider, its discovery document and its keys, and
// describes the keys that cannot be used. The error says what is wrong and what to do.
func (p *Provider) Check(ctx context.Context) (KeyReport, error) {
	meta, err := p.discover(ctx)
	if err != nil {
		return KeyReport{}, err
	}
	if err := meta.keys.refetch(ctx); err != nil {
		return KeyReport{}, fmt.Errorf("%w: %w", broker.ErrUpstreamUnavailable, err)
	}
	report := meta.keys.report()
	report.Issuer = meta.issuer.url
	return report, nil
}

// KeyReport has the number of usable keys of the current issuer, and describes the other keys with
// the reasons.
type KeyReport struct {
	Issuer string
	Usable int
	Unfit  string
}

// KeyFetches returns how often the provider's keys were fetched.
func (p *Provider) KeyFetches() int64 { return p.fetches.Load() }
