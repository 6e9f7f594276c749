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
	"golang.org/x/sync/singleflight"

	"tokenbroker/broker"
)

// Provider proves identities at one issuer. It is safe for concurrent use. Only while
// something is fetched does it run a goroutine, which ends within the request's time-out.
type Provider struct {
	cfg Config

	meta   atomic.Pointer[metadata] // nil until the discovery succeeded
	flight singleflight.Group
	// failedAt and lastError bound the rate of attempts; only the flight touches them.
	failedAt  time.Time
	lastError error
}

var _ broker.IdentityProvider = (*Provider)(nil)

// metadata is what discovery gave.
type metadata struct {
	oauth      oauth2.Config
	keys       *keySet
	endSession string
	answersIss bool // RFC 9207 §3
}

// New checks cfg; nothing is fetched yet.
func New(cfg Config) (*Provider, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Provider{cfg: cfg}, nil
}

// Issuer is the provider's issuer.
func (p *Provider) Issuer() string { return p.cfg.Issuer }

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
	if meta := p.meta.Load(); meta != nil {
		return meta.keys.fetches.Load()
	}
	return 0
}

// discover reads the discovery document at the first use; after a failure it is tried
// again at most once a second. The attempt serves all who wait: one that gives up does not
// end it, and none waits longer than its own context.
func (p *Provider) discover(ctx context.Context) (*metadata, error) {
	if meta := p.meta.Load(); meta != nil {
		return meta, nil
	}
	answer := p.flight.DoChan("discovery", func() (any, error) {
		if p.meta.Load() != nil {
			return nil, nil
		}
		if p.lastError != nil && p.cfg.Now().Sub(p.failedAt) < rediscover {
			return nil, p.lastError
		}
		meta, err := p.fetchMetadata(context.WithoutCancel(ctx))
		if err != nil {
			p.cfg.Logger.WarnContext(ctx, "the provider could not be discovered", "error", err)
			p.failedAt, p.lastError = p.cfg.Now(), fmt.Errorf("%w: discovery: %w", broker.ErrUpstreamUnavailable, err)
			return nil, p.lastError
		}
		p.meta.Store(meta)
		return nil, nil
	})
	select {
	case a := <-answer:
		return p.meta.Load(), a.Err
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: discovery: %w", broker.ErrUpstreamUnavailable, ctx.Err())
	}
}

func (p *Provider) fetchMetadata(ctx context.Context) (*metadata, error) {
	client := boundedClient(p.cfg.Transport, p.cfg.Timeout)
	found, err := oidc.NewProvider(oidc.ClientContext(ctx, client), p.cfg.Issuer)
	if err != nil { // the text may hold the whole answer
		return nil, errors.New(shortened(err.Error()))
	}
	var more struct {
		JWKSURI     string   `json:"jwks_uri"`
		EndSession  string   `json:"end_session_endpoint"`
		AuthMethods []string `json:"token_endpoint_auth_methods_supported"`
		AnswersIss  bool     `json:"authorization_response_iss_parameter_supported"`
	}
	endpoint := found.Endpoint()
	if err := found.Claims(&more); err != nil || more.JWKSURI == "" || endpoint.AuthURL == "" || endpoint.TokenURL == "" {
		return nil, errors.New("the document names no keys or no endpoints")
	}
	// Chosen here: the library would find out by sending a refused code twice.
	endpoint.AuthStyle = oauth2.AuthStyleInHeader
	basic := len(more.AuthMethods) == 0 || slices.Contains(more.AuthMethods, "client_secret_basic")
	if p.cfg.ClientSecret == "" || !basic {
		endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	return &metadata{
		oauth: oauth2.Config{
			ClientID: p.cfg.ClientID, ClientSecret: p.cfg.ClientSecret, Endpoint: endpoint, Scopes: p.cfg.Scopes,
		},
		keys:       &keySet{url: more.JWKSURI, client: client, now: p.cfg.Now, logger: p.cfg.Logger},
		endSession: more.EndSession, answersIss: more.AnswersIss,
	}, nil
}

func shortened(text string) string {
	if len(text) > 200 {
		return strings.ToValidUTF8(text[:200], "") + "..."
	}
	return text
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
	if code.Issuer == "" && meta.answersIss {
		return broker.Identity{}, fmt.Errorf("%w: the answer lacks the issuer that the provider promised", broker.ErrUpstreamCode)
	}
	conf := meta.oauth
	conf.RedirectURL = code.RedirectURI
	tokens, err := conf.Exchange(oidc.ClientContext(ctx, meta.keys.client), code.Code, oauth2.VerifierOption(code.Verifier))
	if err != nil {
		return broker.Identity{}, p.exchangeError(ctx, err)
	}
	raw, ok := tokens.Extra("id_token").(string)
	if !ok {
		return broker.Identity{}, fmt.Errorf("%w: no id token came with the code", broker.ErrUpstreamCode)
	}
	id, err := p.verifyIDToken(ctx, meta, raw, []string{p.cfg.ClientID})
	if err != nil {
		return broker.Identity{}, err
	}
	if code.Nonce == "" || subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(code.Nonce)) != 1 {
		return broker.Identity{}, fmt.Errorf("%w: nonce mismatch", broker.ErrUpstreamToken)
	}
	if id.AccessTokenHash != "" && id.VerifyAccessToken(tokens.AccessToken) != nil {
		return broker.Identity{}, fmt.Errorf("%w: at_hash", broker.ErrUpstreamToken)
	}
	return id.identity(p.cfg), nil
}

// exchangeError tells a provider that refused from one that does not answer. The library's
// text may hold the answer's body, so it does not travel; the protocol's own words do.
func (p *Provider) exchangeError(ctx context.Context, err error) error {
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
	if p.cfg.Now().Sub(id.IssuedAt) > p.cfg.MaxTokenAge {
		return broker.Identity{}, fmt.Errorf("%w: issued too long ago", broker.ErrUpstreamExpired)
	}
	if tokens.AccessToken != "" {
		if err := p.verifyAccessToken(ctx, meta, tokens.AccessToken, id); err != nil {
			return broker.Identity{}, err
		}
	}
	return id.identity(p.cfg), nil
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
