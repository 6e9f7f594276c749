package upstream

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// Kind is the provider's dialect.
type Kind string

// The dialects: plain OpenID Connect, and a Cognito user pool's token_use, client_id,
// cognito:username and cognito:groups.
const (
	KindOIDC    Kind = "oidc"
	KindCognito Kind = "cognito"
)

// Limits of what is fetched from a provider.
const (
	maxAnswer      = 1 << 20
	defaultTimeout = 5 * time.Second
	refetchEvery   = 10 * time.Second
	maxKeyAge      = time.Hour
	maxKeptAge     = 24 * time.Hour         // of keys that cannot be fetched again
	freshKeysWait  = 250 * time.Millisecond // for newer keys, with a key in hand
	rediscover     = time.Second            // after a failure
	maxMetaAge     = time.Hour
	outcomeLife    = 30 * time.Second // of what a request to the provider told of it
)

// Config of a [Provider]. Name, Issuer and ClientID are required.
type Config struct {
	// Name is the provider's in paths, for example "cognito".
	Name string
	Kind Kind // default KindOIDC
	// Issuer is the issuer that identities have, whichever of Issuers a token names.
	Issuer string
	// Issuers are the issuers whose tokens are accepted, in the order in which they are asked
	// for their discovery documents. They must be issuers of the same users. If empty, Issuer.
	Issuers []string
	// ClientID and ClientSecret are the broker's own at the provider; a public client has no secret.
	ClientID, ClientSecret string
	// AllowedClientIDs are those whose id tokens may be exchanged; default ClientID alone.
	AllowedClientIDs []string
	Scopes           []string // default openid, email, profile
	// Algorithms are those of [Algorithms] that id tokens may be signed with. If empty, RS256,
	// PS256, ES256, EdDSA, and what the discovery document advertises of the others. Cognito
	// always has RS256 only.
	Algorithms []string
	// Exchange allows [Provider.VerifyTokens]: tokens that a SPA got from the provider itself.
	Exchange bool
	// MaxTokenAge is how old (by iat) an id token may be that is exchanged; default 10 min.
	MaxTokenAge time.Duration
	// SkipEmailVerifiedCheck takes an e-mail that the provider does not call verified, for
	// providers that never send email_verified. It MUST NOT be set where anything is decided
	// by the e-mail address.
	SkipEmailVerifiedCheck bool
	// LogoutURL is the base of Cognito's hosted UI, whose /logout ends the session there.
	// Other providers name theirs in their discovery document.
	LogoutURL string
	// Timeout of one request to the provider; default 5 s.
	Timeout time.Duration
	// EndpointHosts are hosts (names or addresses, without port) of endpoints that may have an
	// address nearer than the issuer's, for example a private one while the issuer's is public.
	// LogoutURL's host is always among them.
	EndpointHosts []string
	// Transport replaces the network. If nil, a Provider makes its own, which checks each
	// address that it dials; a Transport given here has to do that itself.
	Transport http.RoundTripper
	// Instrument wraps what sends the requests, for example to count them. If nil, nothing does.
	Instrument func(http.RoundTripper) http.RoundTripper
	Now        func() time.Time
	// Logger receives diagnostics. If nil, slog.Default is used.
	Logger *slog.Logger
}

func (c *Config) validate() error {
	if len(c.Issuers) == 0 {
		c.Issuers = []string{c.Issuer}
	}
	for _, issuer := range append([]string{c.Issuer}, c.Issuers...) {
		u, err := secureURL(issuer)
		if err != nil {
			return fmt.Errorf("upstream %q: issuer: %w", c.Name, err)
		}
		if u.RawQuery != "" || u.ForceQuery { // OIDC Discovery §3
			return fmt.Errorf("upstream %q: issuer: want a URL without a query", c.Name)
		}
	}
	if c.Name == "" || c.ClientID == "" {
		return errors.New("upstream: Name and ClientID are required")
	}
	switch c.Kind {
	case "":
		c.Kind = KindOIDC
	case KindOIDC, KindCognito:
	default:
		return fmt.Errorf("upstream %q: unknown kind %q", c.Name, c.Kind)
	}
	if err := c.checkAlgorithms(); err != nil {
		return err
	}
	if len(c.AllowedClientIDs) == 0 {
		c.AllowedClientIDs = []string{c.ClientID}
	}
	if !slices.Contains(c.AllowedClientIDs, c.ClientID) {
		c.AllowedClientIDs = append(slices.Clone(c.AllowedClientIDs), c.ClientID)
	}
	if len(c.Scopes) == 0 {
		c.Scopes = []string{"openid", "email", "profile"}
	}
	if c.MaxTokenAge <= 0 {
		c.MaxTokenAge = 10 * time.Minute
	}
	if c.Timeout <= 0 {
		c.Timeout = defaultTimeout
	}
	if logout, err := url.Parse(c.LogoutURL); err == nil && logout.Hostname() != "" {
		c.EndpointHosts = append(slices.Clone(c.EndpointHosts), logout.Hostname())
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c.Logger = c.Logger.With("provider", c.Name)
	return nil
}
