package broker

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"
)

// The lifetimes of the state that a browser keeps during a sign-in at a provider.
const (
	// LoginLife is the longest time from the redirect of a login to its callback.
	LoginLife = 10 * time.Minute
	// NonceLife is the time for which a nonce for an exchange can be used.
	NonceLife = 10 * time.Minute
)

// LoginStart is a redirect to a provider.
type LoginStart struct {
	RedirectURL string
	// CookieSuffix and CookieValue are the cookie with the sealed login state, which expires after [LoginLife].
	CookieSuffix, CookieValue string
}

// LoginCallback is a provider's redirect back to the broker.
type LoginCallback struct {
	Provider, Code, State, Issuer string
	// Error is the provider's error parameter.
	Error string
	// Cookie is the sealed login state.
	Cookie string
}

// LoginCookieSuffix returns the suffix of the name of a login attempt's cookie: a hash of the attempt's state,
// so that tabs do not overwrite each other's cookies.
func LoginCookieSuffix(state string) string {
	sum := sha256.Sum256([]byte(state))
	return Base32.EncodeToString(sum[:10])
}

// ExchangeNonce is a nonce for an authentication request that a SPA sends to a provider
// itself. The request that exchanges the id token has to carry its cookie.
type ExchangeNonce struct {
	Nonce     string
	ExpiresAt time.Time
	ExpiresIn time.Duration
	// CookieSuffix and CookieValue are the cookie that binds the nonce to a browser.
	CookieSuffix, CookieValue string
}

// Identity is an account at an upstream provider, proved by its owner.
type Identity struct {
	// Provider is the configured name. Only Issuer and Subject identify the account.
	Provider, Issuer, Subject string
	Username                  string
	Email                     string
	EmailVerified             bool
	Groups                    []string
	// Attributes are the id token's other claims, unchanged.
	Attributes map[string]any
	AuthTime   time.Time
	ACR        string
	AMR        []string
	// UpstreamSID is the provider's session id (sid, or Cognito's origin_jti); may be empty.
	UpstreamSID string
	// TokenHash identifies the id token, so that it can be exchanged only once. From ExpiresAt on, it
	// cannot be exchanged.
	TokenHash string
	ExpiresAt time.Time
	// Nonce is the id token's nonce. Proven is true if the token is proven to be an id token, by a
	// mark of the provider or by the access token that its at_hash names. An exchange requires Proven or a
	// nonce that this broker issued.
	Nonce  string
	Proven bool
}

// AuthorizeRequest has the parameters of a redirect to a provider.
type AuthorizeRequest struct {
	RedirectURI, State, Nonce, Verifier string
	Hints                               LoginHints
}

// LoginHints are parameters of an authorization request that a provider receives as well (OpenID Connect Core 1.0 §3.1.2.1). One
// that is empty is not sent.
type LoginHints struct {
	// Prompt is login or select_account.
	Prompt string
	// MaxAge is in seconds.
	MaxAge, LoginHint, ACRValues string
}

// CodeExchange is an authorization code with the state of its authorization request.
type CodeExchange struct {
	Code, RedirectURI, Verifier, Nonce string
	// Issuer is the answer's iss parameter, or empty (RFC 9207).
	Issuer string
}

// UpstreamTokens are tokens that a SPA received directly from the provider.
type UpstreamTokens struct {
	IDToken, AccessToken string
	// NonceCookie returns the value of the request's cookie with that suffix, or "". If nil, there are no cookies.
	NonceCookie func(suffix string) (string, error)
}

// The refusals of an [IdentityProvider]. Its own failures are ErrUpstreamUnavailable.
var (
	ErrUpstreamToken       = errors.New("upstream token refused")
	ErrUpstreamExpired     = errors.New("upstream token expired or too old")
	ErrEmailNotVerified    = errors.New("upstream e-mail not verified")
	ErrUpstreamCode        = errors.New("upstream refused the code")
	ErrUpstreamUnavailable = errors.New("upstream not available")
	// ErrExchangeDisabled means that the provider does not verify tokens for an exchange.
	ErrExchangeDisabled = errors.New("upstream tokens are not exchanged")
	// ErrUpstreamUnproven is an ErrUpstreamToken: nothing proves that the token is an id token.
	ErrUpstreamUnproven = fmt.Errorf("%w: nothing proves that it is an id token", ErrUpstreamToken)
)

// IdentityProvider proves identities at one upstream issuer. Implementations must be safe for concurrent use. A
// provider that is down at start is not an error until it is used.
type IdentityProvider interface {
	// AuthorizeURL returns where to send the browser: code flow, PKCE S256, query response mode.
	AuthorizeURL(ctx context.Context, req AuthorizeRequest) (string, error)
	// Exchange exchanges the code for an identity.
	Exchange(ctx context.Context, code CodeExchange) (Identity, error)
	// VerifyTokens proves the identity in tokens that a caller presents.
	VerifyTokens(ctx context.Context, tokens UpstreamTokens) (Identity, error)
	// LogoutURL returns the provider's own log-out page, or "".
	LogoutURL(ctx context.Context, returnTo string) string
}
