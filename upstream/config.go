package upstream

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
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
	Name   string
	Kind   Kind // default KindOIDC
	Issuer string
	// ClientID and ClientSecret are the broker's own at the provider; a public client has no secret.
	ClientID, ClientSecret string
	// AllowedClientIDs are those whose id tokens may be exchanged; default ClientID alone.
	AllowedClientIDs []string
	Scopes           []string // default openid, email, profile
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
	// Transport reaches the provider; default [http.DefaultTransport].
	Transport http.RoundTripper
	Now       func() time.Time
	Logger    *slog.Logger
}

// CognitoIssuer is the issuer of a user pool.
func CognitoIssuer(region, pool string) string {
	return "https://cognito-idp." + region + ".amazonaws.com/" + pool
}

func (c *Config) validate() error {
	u, err := secureURL(c.Issuer)
	if err != nil {
		return fmt.Errorf("upstream %q: issuer: %w", c.Name, err)
	}
	if u.RawQuery != "" || u.ForceQuery { // OIDC Discovery §3
		return fmt.Errorf("upstream %q: issuer: want a URL without a query", c.Name)
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
	if c.Transport == nil {
		c.Transport = http.DefaultTransport
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Logger = c.Logger.With("provider", c.Name)
	return nil
}

// secureURL takes https, and http to a loopback host; errors do not show the text, which
// may hold a password.
func secureURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "":
		return nil, errors.New("want an absolute URL")
	case u.User != nil || strings.ContainsRune(text, '#'):
		return nil, errors.New("want a URL without user and fragment")
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
		return u, nil
	default:
		return nil, errors.New("want https, or http to a loopback host")
	}
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// boundedClient follows no redirect and reads at most maxAnswer of an answer.
func boundedClient(t http.RoundTripper, timeout time.Duration) *http.Client {
	return &http.Client{
		Timeout: timeout, Transport: limited{t},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

type limited struct{ next http.RoundTripper }

var errTooLarge = errors.New("the answer is too large")

// RoundTrip implements [http.RoundTripper].
func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if resp.ContentLength > maxAnswer {
		_ = resp.Body.Close()
		return nil, errTooLarge
	}
	resp.Body = &limitedBody{body: resp.Body, left: maxAnswer}
	return resp, nil
}

// limitedBody fails, instead of ending, at its limit.
type limitedBody struct {
	body io.ReadCloser
	left int
}

func (b *limitedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLarge
	}
	n, err := b.body.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

func (b *limitedBody) Close() error { return b.body.Close() }
