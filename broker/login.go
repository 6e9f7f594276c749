package broker

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"
)

// How long what a browser carries through a sign-in at a provider can be used.
const (
	// LoginLife is how long a login may take from the redirect to the callback.
	LoginLife = 10 * time.Minute
	// NonceLife is how long a nonce for an exchange can be used.
	NonceLife = 10 * time.Minute
)

// LoginStart sends the browser to a provider.
type LoginStart struct {
	RedirectURL string
	// CookieSuffix and CookieValue are the sealed login state, to come back within LoginLife.
	CookieSuffix, CookieValue string
}

// LoginCallback is what came back from a provider.
type LoginCallback struct {
	Provider, Code, State, Issuer string
	// Error is the provider's error parameter.
	Error string
	// Cookie is the sealed login state.
	Cookie string
}

// LoginCookieSuffix names the cookie of one login attempt by a hash of its state, so that
// several tabs do not overwrite each other's.
func LoginCookieSuffix(state string) string {
	sum := sha256.Sum256([]byte(state))
	return Base32.EncodeToString(sum[:10])
}

// ExchangeNonce is a nonce for the authentication request that a SPA sends to a provider
// itself. Its cookie has to come along when the id token is exchanged.
type ExchangeNonce struct {
	Nonce     string
	ExpiresAt time.Time
	ExpiresIn time.Duration
	// CookieSuffix and CookieValue are the cookie that binds the nonce to a browser.
	CookieSuffix, CookieValue string
}

// Identity is an account at an upstream provider whose owner has proved who they are.
type Identity struct {
	// Provider is the configured name; Issuer and Subject are the account. Nothing else links.
	Provider, Issuer, Subject string
	Username                  string
	Email                     string
	EmailVerified             bool
	Groups                    []string
	// Attributes are the id token's other claims, as they came.
	Attributes map[string]any
	AuthTime   time.Time
	ACR        string
	AMR        []string
	// UpstreamSID is the provider's session id (sid, or Cognito's origin_jti); may be empty.
	UpstreamSID string
	// TokenHash names the id token, so that it can be exchanged only once; ExpiresAt is when it
	// can no longer be.
	TokenHash string
	ExpiresAt time.Time
	// Nonce is the id token's. Proven tells that the token is proven to be an id token, by the
	// provider's own mark or by the access token that it names. An exchange needs Proven or a
	// nonce that this broker issued.
	Nonce  string
	Proven bool
}

// AuthorizeRequest is what a redirect to a provider carries.
type AuthorizeRequest struct {
	RedirectURI, State, Nonce, Verifier string
}

// CodeExchange is what comes back, with what was kept.
type CodeExchange struct {
	Code, RedirectURI, Verifier, Nonce string
	// Issuer is the answer's iss parameter, or empty (RFC 9207).
	Issuer string
}

// UpstreamTokens are tokens that a SPA got from the provider itself.
type UpstreamTokens struct {
	IDToken, AccessToken string
	// NonceCookie returns the cookie of that suffix that came along, or "". If nil, there are none.
	NonceCookie func(suffix string) (string, error)
}

// What an IdentityProvider refuses with; everything else is its own trouble
// (ErrUpstreamUnavailable).
var (
	ErrUpstreamToken       = errors.New("upstream token refused")
	ErrUpstreamExpired     = errors.New("upstream token expired or too old")
	ErrEmailNotVerified    = errors.New("upstream e-mail not verified")
	ErrUpstreamCode        = errors.New("upstream refused the code")
	ErrUpstreamUnavailable = errors.New("upstream not available")
	// ErrExchangeDisabled refuses to verify tokens that somebody handed over.
	ErrExchangeDisabled = errors.New("upstream tokens are not exchanged")
	// ErrUpstreamUnproven is an ErrUpstreamToken for want of a mark of an id token.
	ErrUpstreamUnproven = fmt.Errorf("%w: nothing proves that it is an id token", ErrUpstreamToken)
)

// IdentityProvider proves identities at one upstream issuer. Safe for concurrent use; a
// provider that is down at start is no error until it is asked.
type IdentityProvider interface {
	// AuthorizeURL is where to send the browser: code flow, PKCE S256, query response mode.
	AuthorizeURL(ctx context.Context, req AuthorizeRequest) (string, error)
	// Exchange trades the code for an identity.
	Exchange(ctx context.Context, code CodeExchange) (Identity, error)
	// VerifyTokens proves the identity in tokens that somebody handed over.
	VerifyTokens(ctx context.Context, tokens UpstreamTokens) (Identity, error)
	// LogoutURL is the provider's own log-out page, or "".
	LogoutURL(ctx context.Context, returnTo string) string
}
