package upstream

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"tokenbroker/broker"
)

// Provider proves identities at one issuer. It starts no goroutine and is safe for
// concurrent use.
type Provider struct {
	cfg Config

	mu   sync.Mutex // held during discovery: those who wait share it
	meta *metadata
	// failedAt bounds the rate of attempts.
	failedAt  time.Time
	lastError error
}

var _ broker.IdentityProvider = (*Provider)(nil)

// metadata is what discovery gave.
type metadata struct {
	oauth      oauth2.Config
	keys       *keySet
	endSession string
}

// New checks cfg; nothing is fetched yet.
func New(cfg Config) (*Provider, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Provider{cfg: cfg}, nil
}

// Ready reports whether the provider was reached; one that was not yet is tried, for at
// most a second and not more often than that.
func (p *Provider) Ready(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err := p.discover(ctx)
	return err == nil
}

// KeyFetches is how often the provider's keys were asked for.
func (p *Provider) KeyFetches() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.meta == nil {
		return 0
	}
	return p.meta.keys.fetches.Load()
}

// discover reads the discovery document at the first use; after a failure it is tried
// again at most once a second.
func (p *Provider) discover(ctx context.Context) (*metadata, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.meta != nil {
		return p.meta, nil
	}
	if p.lastError != nil && p.cfg.Now().Sub(p.failedAt) < time.Second {
		return nil, p.lastError
	}
	client := boundedClient(p.cfg.Transport)
	found, err := oidc.NewProvider(oidc.ClientContext(ctx, client), p.cfg.Issuer)
	if err != nil {
		p.failedAt, p.lastError = p.cfg.Now(), fmt.Errorf("%w: discovery: %w", broker.ErrUpstreamUnavailable, err)
		return nil, p.lastError
	}
	var more struct {
		JWKSURI    string `json:"jwks_uri"`
		EndSession string `json:"end_session_endpoint"`
	}
	if err := found.Claims(&more); err != nil || more.JWKSURI == "" {
		return nil, fmt.Errorf("%w: the discovery document names no keys", broker.ErrUpstreamUnavailable)
	}
	p.meta = &metadata{
		oauth: oauth2.Config{
			ClientID: p.cfg.ClientID, ClientSecret: p.cfg.ClientSecret, Endpoint: found.Endpoint(), Scopes: p.cfg.Scopes,
		},
		keys:       &keySet{url: more.JWKSURI, client: client, now: p.cfg.Now},
		endSession: more.EndSession,
	}
	return p.meta, nil
}

// AuthorizeURL implements [broker.IdentityProvider]: code flow with PKCE S256 (RFC 7636).
func (p *Provider) AuthorizeURL(ctx context.Context, req broker.AuthorizeRequest) (string, error) {
	meta, err := p.discover(ctx)
	if err != nil {
		return "", err
	}
	conf := meta.oauth
	conf.RedirectURL = req.RedirectURI
	return conf.AuthCodeURL(req.State, oidc.Nonce(req.Nonce), oauth2.S256ChallengeOption(req.Verifier)), nil
}

// Exchange implements [broker.IdentityProvider].
func (p *Provider) Exchange(ctx context.Context, code broker.CodeExchange) (broker.Identity, error) {
	if code.Issuer != "" && code.Issuer != p.cfg.Issuer { // RFC 9207 §2.4
		return broker.Identity{}, fmt.Errorf("%w: the answer is another issuer's", broker.ErrUpstreamCode)
	}
	meta, err := p.discover(ctx)
	if err != nil {
		return broker.Identity{}, err
	}
	conf := meta.oauth
	conf.RedirectURL = code.RedirectURI
	tokens, err := conf.Exchange(oidc.ClientContext(ctx, meta.keys.client), code.Code, oauth2.VerifierOption(code.Verifier))
	if err != nil {
		return broker.Identity{}, exchangeError(err)
	}
	raw, ok := tokens.Extra("id_token").(string)
	if !ok {
		return broker.Identity{}, fmt.Errorf("%w: no id token came with the code", broker.ErrUpstreamCode)
	}
	id, err := p.verifyIDToken(ctx, meta, raw, []string{p.cfg.ClientID})
	if err != nil {
		return broker.Identity{}, err
	}
	if subtle.ConstantTimeCompare([]byte(id.token.Nonce), []byte(code.Nonce)) != 1 {
		return broker.Identity{}, fmt.Errorf("%w: nonce mismatch", broker.ErrUpstreamToken)
	}
	return id.identity(p.cfg), nil
}

// exchangeError tells a provider that refused from one that does not answer. The library's
// text may hold the answer's body, so it does not travel.
func exchangeError(err error) error {
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) && refused.Response != nil && refused.Response.StatusCode < 500 {
		return fmt.Errorf("%w: status %d", broker.ErrUpstreamCode, refused.Response.StatusCode)
	}
	return fmt.Errorf("%w: the token endpoint failed", broker.ErrUpstreamUnavailable)
}

// VerifyTokens implements [broker.IdentityProvider].
func (p *Provider) VerifyTokens(ctx context.Context, tokens broker.UpstreamTokens) (broker.Identity, error) {
	meta, err := p.discover(ctx)
	if err != nil {
		return broker.Identity{}, err
	}
	id, err := p.verifyIDToken(ctx, meta, tokens.IDToken, p.cfg.AllowedClientIDs)
	if err != nil {
		return broker.Identity{}, err
	}
	if p.cfg.Now().Sub(id.token.IssuedAt) > p.cfg.MaxTokenAge {
		return broker.Identity{}, fmt.Errorf("%w: issued too long ago", broker.ErrUpstreamExpired)
	}
	if tokens.AccessToken != "" {
		if err := p.verifyAccessToken(ctx, meta, tokens.AccessToken, id); err != nil {
			return broker.Identity{}, err
		}
	}
	return id.identity(p.cfg), nil
}

// LogoutURL implements [broker.IdentityProvider].
func (p *Provider) LogoutURL(ctx context.Context, returnTo string) string {
	if p.cfg.LogoutURL != "" {
		return strings.TrimSuffix(p.cfg.LogoutURL, "/") + "/logout?" +
			url.Values{"client_id": {p.cfg.ClientID}, "logout_uri": {returnTo}}.Encode()
	}
	meta, err := p.discover(ctx)
	if err != nil || meta.endSession == "" {
		return ""
	}
	return meta.endSession + "?" + url.Values{"client_id": {p.cfg.ClientID}, "post_logout_redirect_uri": {returnTo}}.Encode()
}
