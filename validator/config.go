package validator

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"tokenbroker/revocation"
)

const (
	defaultMaxStaleness = 30 * time.Second
	defaultStartTimeout = 30 * time.Second
	defaultCacheSize    = 1 << 17
	defaultDenylistSize = 1_000_000
)

// Client is the service's own account at the broker, with which it asks for revocations.
type Client = revocation.Client

// Config says whose tokens to accept and how to learn of keys and revocations. Issuer,
// Audience, Client and Feed are required.
type Config struct {
	// Issuer is the broker's URL, exactly as in its discovery document and in iss.
	Issuer string
	// Audience is the name of this service, one of the token's aud.
	Audience string
	Client   Client
	// Feed delivers revocations as they happen, for example [tokenbroker/revocation/natsfeed].
	Feed revocation.Feed
	// Service is the name under which the broker shows how far this service is, 1 to 64
	// letters, digits, "_" and "-". If empty, it is Client.ID with "-" in place of other
	// characters. Over NATS it has to be the one whose receipts this service may publish;
	// see docs/feed.md.
	Service string
	// MaxStaleness is how old the knowledge of revocations may be. If zero, it is 30 s.
	MaxStaleness time.Duration
	// OnStale says what to do with a token when it is older. If empty, it is [FailClosed].
	OnStale Policy
	// StartTimeout is how long [New] waits until keys and revocations are in memory. If zero,
	// it is 30 s; if negative, only New's context ends the wait. A broker that needs longer to
	// prepare its answer keeps it for another 30 s, so the next New gets it.
	StartTimeout time.Duration
	// CacheSize is how many of the last verified tokens are remembered. If zero, it is
	// 131,072. Each takes up to 3 KiB; of longer tokens, fewer are remembered.
	CacheSize int
	// DenylistSize is how many revoked tokens and sessions are remembered, at about 80 bytes
	// each. If zero, it is 1,000,000. When more are live at once, the oldest are evicted; the
	// broker is then asked about each token that an evicted entry might have hit, or the
	// result is [ErrStale]: see Stats.Evictions. Revoked subjects, clients and keys are
	// always kept.
	DenylistSize int
	// HTTPClient sends the requests to the broker. If nil, a client with
	// [http.DefaultTransport] is used. Its Timeout is ignored, because each request has its own
	// limit, and redirects are not followed.
	HTTPClient *http.Client
	// Logger receives one line per change of state. If nil, [slog.Default] is used.
	Logger *slog.Logger
}

func (c *Config) validate() error {
	issuer, err := url.Parse(c.Issuer)
	if err != nil || issuer.Host == "" || issuer.Scheme != "https" && issuer.Scheme != "http" {
		return errors.New("validator: Issuer must be the broker's http(s) URL")
	}
	switch {
	case c.Audience == "":
		return errors.New("validator: Audience is required: the name of this service in aud")
	case c.Client.ID == "" || c.Client.Secret == "":
		return errors.New("validator: Client.ID and Client.Secret are required for the catch-up")
	case c.Feed == nil:
		return errors.New("validator: Feed is required, for example natsfeed.Feed{URL: …}")
	case c.Service != "" && !validServiceID(c.Service):
		return fmt.Errorf("validator: Service must be 1 to %d letters, digits, _ and -", revocation.MaxServiceID)
	case c.MaxStaleness < 0 || c.CacheSize < 0 || c.DenylistSize < 0:
		return errors.New("validator: MaxStaleness, CacheSize and DenylistSize must not be negative")
	case c.OnStale != "" && !c.OnStale.known():
		return fmt.Errorf("validator: unknown OnStale %q, want %s, %s or %s", string(c.OnStale), FailClosed, Introspect, InsecureServeStale)
	}
	c.setDefaults()
	return nil
}

func (c *Config) setDefaults() {
	if c.Service == "" {
		c.Service = revocation.ServiceID(c.Client.ID)
	}
	if c.OnStale == "" {
		c.OnStale = FailClosed
	}
	if c.MaxStaleness == 0 {
		c.MaxStaleness = defaultMaxStaleness
	}
	if c.StartTimeout == 0 {
		c.StartTimeout = defaultStartTimeout
	}
	if c.CacheSize == 0 {
		c.CacheSize = defaultCacheSize
	}
	if c.DenylistSize == 0 {
		c.DenylistSize = defaultDenylistSize
	}
	if c.HTTPClient == nil {
		c.HTTPClient = &http.Client{}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
}

// Option makes one call of [Validator.Validate] stricter than the Config.
type Option struct {
	maxStaleness time.Duration // 0 if the call has no bound
}

// MaxStaleness bounds how old the knowledge of revocations may be for this call. It has an
// effect only if d is less than Config.MaxStaleness. The call also compares the machine's
// clocks, so that the bound holds right after a suspension.
//
// A call whose own bound is not met is never served stale: under [Introspect]
// the broker is asked about the token, under every other Policy the call fails with
// [ErrStale]. Heartbeats arrive once a second, so a bound below two seconds is often not met.
func MaxStaleness(d time.Duration) Option { return Option{maxStaleness: max(d, 1)} }

// strictest returns the smallest bound of the options, or 0 if none has one.
func strictest(options []Option) time.Duration {
	var bound time.Duration
	for _, o := range options {
		if o.maxStaleness > 0 && (bound == 0 || o.maxStaleness < bound) {
			bound = o.maxStaleness
		}
	}
	return bound
}

// Policy is how a stale [Validator] treats a token.
type Policy string

const (
	// FailClosed refuses every token with [ErrStale] while stale.
	FailClosed Policy = "fail_closed"

	// Introspect asks the broker about each token that passes every other check
	// (RFC 7662): one request for a token at a time, with answers that count for a second.
	// When the broker does not answer either, the token is refused with [ErrStale].
	Introspect Policy = "introspect"

	// InsecureServeStale accepts tokens by the last known revocations, regardless of their age:
	// a token that has been revoked since then, or that expired while the machine was suspended,
	// is accepted. It MUST NOT be used where revocations have to take effect. Calls with the
	// option [MaxStaleness] are not served stale.
	InsecureServeStale Policy = "serve_stale"
)

func (p Policy) known() bool {
	return p == FailClosed || p == Introspect || p == InsecureServeStale
}
