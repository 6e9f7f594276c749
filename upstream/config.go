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

// Kind is the kind of a provider.
type Kind string

// The kinds of providers: plain OpenID Connect, and a Cognito user pool with its claims token_use,
// client_id, cognito:username and cognito:groups.
const (
	KindOIDC    Kind = "oidc"
	KindCognito Kind = "cognito"
)

// The limits of requests to a provider.
const (
	// maxAnswer is the largest response in bytes.
	maxAnswer      = 1 << 20
	defaultTimeout = 5 * time.Second
	// refetchEvery is the shortest time between two attempts to fetch the keys, and between two
	// attempts to read a discovery document while the provider can be used.
	refetchEvery = 10 * time.Second
	// maxKeyAge is the age at which the keys are fetched again, and maxKeptAge the age at which they
	// expire if the fetch fails.
	maxKeyAge  = time.Hour
	maxKeptAge = 24 * time.Hour
	// freshKeysWait is how long a token waits for newer keys if its key is available.
	freshKeysWait = 250 * time.Millisecond
	// rediscover replaces refetchEvery after a failed fetch of keys, and while the provider cannot be
	// used.
	rediscover = time.Second
	// maxMetaAge is the age at which the discovery document is read again.
	maxMetaAge = time.Hour
	// outcomeLife is the age up to which Ready uses the result of a request.
	outcomeLife = 30 * time.Second
)

// Config configures a [Provider]. Name, Issuer and ClientID are required.
type Config struct {
	// Name is the name of the provider in paths, for example "cognito".
	Name string
	Kind Kind // if empty, KindOIDC
	// Issuer is the issuer of the identities, for tokens of each of Issuers.
	Issuer string
	// Issuers are the issuers whose tokens are accepted, in the order in which they are discovered.
	// They must have the same users. If empty, it is Issuer.
	Issuers []string
	// ClientID and ClientSecret are the broker's credentials at the provider. A public client has
	// no secret.
	ClientID, ClientSecret string
	// AllowedClientIDs are the clients whose id tokens may be exchanged. If empty, it is ClientID.
	AllowedClientIDs []string
	Scopes           []string // if empty, openid, email and profile
	// Algorithms are the signature algorithms of id tokens, from [Algorithms]. If empty, they are
	// RS256, PS256, ES256, EdDSA, and others that the discovery document advertises. Cognito always
	// uses only RS256.
	Algorithms []string
	// Exchange allows [Provider.VerifyTokens], for tokens that a SPA received from the provider.
	Exchange bool
	// MaxTokenAge is the age (by iat) of the oldest id token that may be exchanged. If zero, it is
	// 10 minutes.
	MaxTokenAge time.Duration
	// SkipEmailVerifiedCheck accepts an e-mail address that the provider does not mark as verified,
	// for providers that never send email_verified. It MUST NOT be set if any decision depends on
	// the e-mail address.
	SkipEmailVerifiedCheck bool
	// LogoutURL is the base URL of Cognito's hosted UI, whose /logout ends the session there. For
	// other providers it is in the discovery document.
	LogoutURL string
	// Timeout is the time-out of one request to the provider. If zero, it is 5 seconds.
	Timeout time.Duration
	// EndpointHosts are hosts (names or addresses, without port) of endpoints that may have an
	// address nearer than the issuer's, for example a private one if the issuer's is public. They
	// always include LogoutURL's host.
	EndpointHosts []string
	// Transport sends the requests. If nil, a Provider creates a transport that checks each address
	// before it connects. Another Transport must do that itself.
	Transport http.RoundTripper
	// Instrument wraps the transport, for example to count the requests. If nil, the transport is
	// not wrapped.
	Instrument func(http.RoundTripper) http.RoundTripper
	Now        func() time.Time
	// Logger receives diagnostics. If nil, slog.Default is used.
	Logger *slog.Logger

	// keysOnly is true for the issuer of assertions. Of its discovery document, only the keys are used.
	keysOnly bool
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
