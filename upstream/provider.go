package upstream

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"tokenbroker/broker"
)

// Provider proves identities at one issuer, or at the issuers of one Cognito user pool. It is safe for concurrent use. Only while
// something is fetched does it run a goroutine, which ends within the request's time-out.
type Provider struct {
	cfg     Config
	sources []*source               // by cfg.Issuers
	outcome atomic.Pointer[outcome] // of the last request to the provider
	fetches atomic.Int64            // of keys
}

var _ broker.IdentityProvider = (*Provider)(nil)

// New checks cfg; nothing is fetched yet.
func New(cfg Config) (*Provider, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	p := &Provider{cfg: cfg}
	for _, issuer := range p.cfg.Issuers {
		p.sources = append(p.sources, &source{issuer: issuer, provider: p, out: newOutbound(&p.cfg, issuer)})
	}
	return p, nil
}

// Close closes the connections that wait for further requests.
func (p *Provider) Close() {
	for _, s := range p.sources {
		s.out.close()
	}
}

// Issuer is the issuer that identities have.
func (p *Provider) Issuer() string { return p.cfg.Issuer }

// Issuers are the issuers whose tokens are accepted.
func (p *Provider) Issuers() []string { return slices.Clone(p.cfg.Issuers) }

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
	if code.Issuer != "" && !slices.Contains(p.cfg.Issuers, code.Issuer) { // RFC 9207 §2.4
		return broker.Identity{}, fmt.Errorf("%w: the answer is another issuer's", broker.ErrUpstreamCode)
	}
	meta, err := p.discover(ctx)
	if err != nil {
		return broker.Identity{}, err
	}
	if code.Issuer == "" && meta.answersIss {
		return broker.Identity{}, fmt.Errorf("%w: the answer lacks the issuer that the provider promised", broker.ErrUpstreamCode)
	}
	conf := meta.oauth
	conf.RedirectURL = code.RedirectURI
	tokens, err := conf.Exchange(oidc.ClientContext(ctx, meta.client()), code.Code, oauth2.VerifierOption(code.Verifier))
	if err != nil {
		err = p.exchangeError(ctx, err)
	}
	switch unavailable := errors.Is(err, broker.ErrUpstreamUnavailable); {
	case !unavailable:
		p.reached(nil)
	case ctx.Err() == nil: // and not the browser that gave up
		p.reached(err)
	}
	if err != nil {
		return broker.Identity{}, err
	}
	raw, ok := tokens.Extra("id_token").(string)
	if !ok {
		return broker.Identity{}, fmt.Errorf("%w: no id token came with the code", broker.ErrUpstreamCode)
	}
	id, err := p.verifyIDToken(ctx, meta, raw, []string{p.cfg.ClientID})
	if err != nil {
		return broker.Identity{}, err
	}
	if code.Nonce == "" || subtle.ConstantTimeCompare([]byte(id.nonce), []byte(code.Nonce)) != 1 {
		return broker.Identity{}, fmt.Errorf("%w: nonce mismatch", broker.ErrUpstreamToken)
	}
	if id.atHash != "" && !id.binds(tokens.AccessToken) {
		return broker.Identity{}, fmt.Errorf("%w: at_hash", broker.ErrUpstreamToken)
	}
	return id.identity(p.cfg), nil
}

// exchangeError tells a provider that refused from one that does not answer. The library's
// text may hold the answer's body, so it does not travel; the protocol's own words do.
func (p *Provider) exchangeError(ctx context.Context, err error) error {
	var blocked *addressError
	if errors.As(err, &blocked) {
		p.cfg.Logger.ErrorContext(ctx, "the provider's token_endpoint is refused", "error", blocked)
		return fmt.Errorf("%w: token_endpoint: %w", broker.ErrUpstreamUnavailable, blocked)
	}
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) || refused.Response == nil {
		return fmt.Errorf("%w: the token endpoint failed", broker.ErrUpstreamUnavailable)
	}
	status := refused.Response.StatusCode
	if status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout {
		return fmt.Errorf("%w: the token endpoint answered status %d", broker.ErrUpstreamUnavailable, status)
	}
	word := "no known error code"
	if slices.Contains(tokenErrors, refused.ErrorCode) {
		word = refused.ErrorCode
	}
	if word != "invalid_grant" { // not the browser's fault
		p.cfg.Logger.ErrorContext(ctx, "the provider refuses this client", "status", status, "code", word)
	}
	return fmt.Errorf("%w: status %d, %s", broker.ErrUpstreamCode, status, word)
}

// tokenErrors are the codes of RFC 6749 §5.2.
var tokenErrors = []string{
	"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope",
}

// VerifyTokens implements [broker.IdentityProvider]. The identity is proven if the provider is
// Cognito, whose tokens say what they are, or if the id token has the at_hash of the access
// token that came along.
func (p *Provider) VerifyTokens(ctx context.Context, tokens broker.UpstreamTokens) (broker.Identity, error) {
	if !p.cfg.Exchange {
		return broker.Identity{}, broker.ErrExchangeDisabled
	}
	meta, err := p.discover(ctx)
	if err != nil {
		return broker.Identity{}, err
	}
	id, err := p.verifyIDToken(ctx, meta, tokens.IDToken, p.cfg.AllowedClientIDs)
	if err != nil {
		return broker.Identity{}, err
	}
	if p.cfg.Now().Sub(id.issued) > p.cfg.MaxTokenAge {
		return broker.Identity{}, fmt.Errorf("%w: issued too long ago", broker.ErrUpstreamExpired)
	}
	proven := p.cfg.Kind == KindCognito
	if tokens.AccessToken != "" {
		if err := p.verifyAccessToken(ctx, meta, tokens.AccessToken, id); err != nil {
			return broker.Identity{}, err
		}
		proven = true
	}
	if claim, found := id.otherKind(proven); found {
		return broker.Identity{}, fmt.Errorf("%w: not an id token: it has the claim %s", broker.ErrUpstreamToken, claim)
	}
	identity := id.identity(p.cfg)
	identity.Nonce, identity.Proven = id.nonce, proven
	return identity, nil
}

// LogoutURL implements [broker.IdentityProvider]. A provider that was not reached yet gets
// a second to tell its page, no more: a log-off waits for nobody.
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
