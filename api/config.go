package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
	"tokenbroker/revocation"
)

// Sessions are the use cases of a browser's session. The broker implements it; errors are
// [*broker.Error] where the caller may know the reason.
type Sessions interface {
	SignIn(ctx context.Context, username, password string, req broker.Request) (*broker.Grant, error)
	Refresh(ctx context.Context, refreshToken, csrf string, req broker.Request) (*broker.Grant, error)
	LogOff(ctx context.Context, refreshToken, csrf string, req broker.Request, duplicates ...string) (broker.LogOffResult, error)
	Session(ctx context.Context, refreshToken string, req broker.Request) (*broker.SessionInfo, error)
}

// Clients authenticates services by id and secret; secrets are what one that was sent can mean.
type Clients interface {
	AuthenticateClient(ctx context.Context, id string, secrets ...string) (broker.ClientInfo, error)
}

// Logins are the use cases of signing in through a provider. The broker implements it.
type Logins interface {
	Providers() []string
	StartLogin(ctx context.Context, provider, redirectURI, returnTo string, req broker.Request) (*broker.LoginStart, error)
	CompleteLogin(ctx context.Context, cb broker.LoginCallback, req broker.Request) (g *broker.Grant, returnTo string, err error)
	NewExchangeNonce() broker.ExchangeNonce
	ExchangeTokens(ctx context.Context, provider string, tokens broker.UpstreamTokens, req broker.Request) (*broker.Grant, error)
}

// Verifier checks an access token for POST /auth/verify/. It returns the token's claims as
// a JSON object, or a [*broker.Error] with [CodeTokenExpired], [CodeTokenRevoked],
// [CodeTokenInvalid] or [broker.CodeUnavailable]; any other error is answered 500.
type Verifier interface {
	Verify(ctx context.Context, token string) (claims json.RawMessage, err error)
}

// Catchup answers where a client's service stands in the revocations. after is the query's text; an
// error with a method BadPosition() bool that is true says that it cannot be read.
// Answers may be shared between requests; api closes each once it is written. When ctx ends by its
// deadline, after 3 s, the caller is told to ask again: the next call should find the work done.
type Catchup interface {
	Answer(ctx context.Context, client, after string, as revocation.Form) (CatchupAnswer, error)
}

// Document gives a published document, its entity tag (quoted as in RFC 9110 §8.8.3, or
// bare) and how long it may be cached. It is called for each request and must not block;
// an empty body means that there is none yet. The caller does not change body.
type Document func() (body []byte, etag string, maxAge time.Duration)

// Check is one line of GET /readyz.
type Check struct {
	// Name names the part: store, keyring, nats, ...
	Name string `json:"name"`
	// OK is false when the broker cannot serve without the part.
	OK bool `json:"ok"`
	// Degraded says that it serves, but not all of its promise.
	Degraded bool `json:"degraded,omitempty"`
	// Detail is for people, and public: no addresses, no secrets.
	Detail string `json:"detail,omitempty"`
}

// Config is what the public handler needs.
type Config struct {
	// Issuer is the broker's own URL as its tokens name it. Its origin is the own origin.
	Issuer string
	// Origins are those of the SPAs, "https://app.example.com". Each must be same-site with
	// the issuer, because the Strict cookie is not sent otherwise.
	Origins []string
	// HomeURL is where a login without return_to ends and where pages lead back to: a URL of the
	// issuer's or a configured origin. If empty, the root of the first of Origins, or the
	// issuer's if there are none.
	HomeURL string
	// Cookie is the refresh cookie.
	Cookie httpapi.Cookie
	// InsecureDevelopment also allows every loopback origin (http://localhost:5173), allows Origins
	// on other sites, and sends logins back to the request's host if that is an allowed origin. The
	// issuer must be http on loopback. It MUST NOT be set where users sign in from another machine.
	InsecureDevelopment bool
	// TrustedProxies are the addresses or CIDRs whose X-Forwarded-For and X-Request-Id are
	// believed: none by default.
	TrustedProxies []string
	// MaxTokenLifetime is the discovery member access_token_max_lifetime, at least a second, and
	// Algorithms are those of the published access keys. Both are asked for each discovery
	// document and must not block.
	MaxTokenLifetime func() time.Duration
	Algorithms       func() []string

	Sessions Sessions
	// Logins may be nil: there are no providers and none of their paths.
	Logins   Logins
	Clients  Clients
	Verifier Verifier
	Catchup  Catchup
	// Stream may be nil: there is no path for it.
	Stream Stream
	// Receipts may be nil: there is no path for them.
	Receipts Receipts
	// StreamTimeout is how long a listener of the stream may take to take one event in
	// before it is cut off; 10 s by default.
	StreamTimeout time.Duration
	// DemoSample, when set, serves the demo page at / for the sample service of that URL. It
	// MUST NOT be set outside of development.
	DemoSample string
	// DemoSamples are the URLs of further sample services that the demo page shows.
	DemoSamples []string
	// DemoThief is the URL of a program on the broker's host that copies the refresh cookie and
	// uses it for the demo page. If empty, the page has no button for it.
	DemoThief string
	// DemoDocs are documents that the demo page links to, served below /docs/. If nil, there are none.
	DemoDocs fs.FS
	// JWKS are the access keys, FeedJWKS the keys of the revocation feed.
	JWKS, FeedJWKS Document
	// Readiness is asked at each GET /readyz.
	Readiness func(ctx context.Context) []Check

	// Logger gets one line a request; slog.Default() by default.
	Logger *slog.Logger
	// Observe, when set, is told of each request: the route's pattern or "unmatched", never a path.
	Observe func(route, method string, status int, d time.Duration)
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// validate fills the defaults and refuses what cannot work.
func (c *Config) validate() error {
	u, err := url.Parse(c.Issuer)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return fmt.Errorf("issuer %q: want an absolute http or https URL without query and fragment", c.Issuer)
	}
	if err := c.Cookie.Validate(); err != nil {
		return err
	}
	if c.InsecureDevelopment && (!c.Cookie.Insecure || u.Scheme != "http" || !loopback(u.Hostname())) {
		return fmt.Errorf("InsecureDevelopment with the issuer %q: want an http issuer on loopback, and an insecure cookie", c.Issuer)
	}
	if c.StreamTimeout <= 0 {
		c.StreamTimeout = defaultStreamTimeout
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	var missing []string
	for name, absent := range map[string]bool{
		"Sessions": c.Sessions == nil, "Clients": c.Clients == nil, "Verifier": c.Verifier == nil, "Catchup": c.Catchup == nil,
		"MaxTokenLifetime": c.MaxTokenLifetime == nil, "Algorithms": c.Algorithms == nil,
		"JWKS": c.JWKS == nil, "FeedJWKS": c.FeedJWKS == nil, "Readiness": c.Readiness == nil,
	} {
		if absent {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return errors.New("missing: " + strings.Join(missing, ", "))
	}
	return nil
}
