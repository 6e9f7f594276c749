package validator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"tokenbroker/revocation"
)

const (
	defaultMaxStaleness = 30 * time.Second
	defaultCacheSize    = 1 << 17
	defaultDenylistSize = 1_000_000

	// maxIssuedAhead is how far iat may lie in the future of the broker's clock.
	maxIssuedAhead = 60 * time.Second
)

// Client is the service's own account at the broker, with which it asks for revocations.
type Client struct {
	ID     string
	Secret string
}

// String leaves the secret out, and so do all the ways to print or log a Client.
func (c Client) String() string { return "client " + c.ID }

// GoString implements [fmt.GoStringer].
func (c Client) GoString() string { return c.String() }

// LogValue implements [slog.LogValuer].
func (c Client) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText implements [encoding.TextMarshaler], for JSON.
func (c Client) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// Config says whose tokens to accept and how to learn of keys and revocations. Issuer,
// Audience, Client and Feed are required.
type Config struct {
	// Issuer is the broker's URL, to the letter as in its discovery document and in iss.
	Issuer string
	// Audience is the name of this service, one of the token's aud.
	Audience string
	Client   Client
	// Feed delivers revocations as they happen, for example [tokenbroker/revocation/natsfeed].
	Feed revocation.Feed
	// Service is the name under which the broker shows how far this service is, 1 to 64
	// letters, digits, "_" and "-"; Client.ID when empty, with "-" for other characters. Over
	// NATS it has to be the one whose receipts this service may publish; see docs/feed.md.
	Service string
	// MaxStaleness is how old the knowledge of revocations may be; 30 s when zero.
	MaxStaleness time.Duration
	// OnStale says what to do with a token when it is older; [FailClosed] when empty.
	OnStale Policy
	// CacheSize is the number of verified tokens to remember; 131,072 when zero. A
	// remembered token takes about 2 KiB.
	CacheSize int
	// DenylistSize is the number of revoked tokens and sessions to remember; 1,000,000 when
	// zero, at about 180 bytes each. With more than that live at once the oldest make room,
	// and the broker is asked about each token that they might have hit, or [ErrStale] is
	// the answer: see Stats.Evictions. Revoked subjects, clients and keys are always kept.
	DenylistSize int
	// HTTPClient talks to the broker; when nil, one with a timeout that follows no redirects.
	HTTPClient *http.Client
	// Logger gets one line per change of state; [slog.Default] when nil.
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
		return fmt.Errorf("validator: Service must be 1 to %d letters, digits, _ and -", maxServiceID)
	case c.MaxStaleness < 0 || c.CacheSize < 0 || c.DenylistSize < 0:
		return errors.New("validator: MaxStaleness, CacheSize and DenylistSize must not be negative")
	case c.OnStale != "" && !c.OnStale.known():
		return fmt.Errorf("validator: unknown OnStale %q, want %s, %s or %s", string(c.OnStale), FailClosed, Introspect, InsecureServeStale)
	}
	if c.Service == "" {
		c.Service = serviceID(c.Client.ID)
	}
	if c.OnStale == "" {
		c.OnStale = FailClosed
	}
	if c.MaxStaleness == 0 {
		c.MaxStaleness = defaultMaxStaleness
	}
	if c.CacheSize == 0 {
		c.CacheSize = defaultCacheSize
	}
	if c.DenylistSize == 0 {
		c.DenylistSize = defaultDenylistSize
	}
	if c.HTTPClient == nil {
		c.HTTPClient = &http.Client{
			Timeout:       10 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return nil
}

// Validator decides whether access tokens are good. It is safe for concurrent use.
type Validator struct {
	issuer    string
	audiences []string
	backend   backend
	cache     *cache
	close     func()

	onStale      Policy
	maxStaleness time.Duration
	introspector *introspector // nil: nobody can be asked

	verified, expired, revoked, invalid, stale atomic.Uint64

	bindings *bindings
	feed     *feedCounts // nil: there is no feed
}

// New connects to the broker and returns once keys and live revocations are in memory,
// or ctx ends. The goroutines it starts stop with [Validator.Close]; ctx is only for the
// start.
func New(ctx context.Context, config Config) (*Validator, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	syncer := newSyncer(syncConfig{
		Issuer:       config.Issuer,
		ClientID:     config.Client.ID,
		ClientSecret: config.Client.Secret,
		Service:      receiptName(config.Service),
		Feed:         config.Feed,
		HTTP:         config.HTTPClient,
		MaxStaleness: config.MaxStaleness,
		DenylistSize: config.DenylistSize,
		Logger:       config.Logger,
	})
	if err := syncer.start(ctx); err != nil {
		return nil, fmt.Errorf("validator: starting: %w", err)
	}
	v := newValidator(config.Issuer, []string{config.Audience}, config.CacheSize,
		newRemote(syncer, config.MaxStaleness))
	v.feed = &syncer.counts
	v.onStale, v.maxStaleness = config.OnStale, config.MaxStaleness
	v.introspector = newIntrospector(config.Issuer, config.Client, config.HTTPClient, syncer.denylist(), config.Logger)
	v.close = func() {
		v.introspector.close()
		syncer.close()
	}
	return v, nil
}

func newValidator(issuer string, audiences []string, cacheSize int, b backend) *Validator {
	return &Validator{
		issuer:    issuer,
		audiences: slices.Clone(audiences),
		backend:   b,
		cache:     newCache(cacheSize),
		close:     func() {},
		onStale:   FailClosed,
		bindings:  newBindings(b.denylist(), func() int64 { return b.read(0).nowMS }),
	}
}

// Close ends the subscription and the contexts of [Validator.Bind], and waits for the
// goroutines of the Validator. Without news it goes stale within Config.MaxStaleness.
func (v *Validator) Close() {
	v.bindings.close()
	v.close()
}

// Validate returns the claims of a token that is good for this service now. Otherwise
// the error is [ErrExpired], [ErrRevoked], [ErrInvalid] or [ErrStale] (by errors.Is), or
// ctx's. A token that was seen before costs no I/O, no signature and no allocation while
// this service is fresh and has evicted nothing; a token under an unknown key may cost one
// request to the broker, under ctx, and so does one of which only the broker can tell.
//
// The claims are shared: they must not be modified.
func (v *Validator) Validate(ctx context.Context, token string, options ...Option) (*Claims, error) {
	own := time.Duration(0)
	if len(options) > 0 {
		own = strictest(options)
	}
	r := v.backend.read(own)
	seen := v.cache.find(token)
	if seen != nil && r.fresh && r.nowMS < seen.expMS && r.version == seen.version.Load() {
		return seen.claims, nil
	}
	var claims *Claims
	var err error
	if seen != nil {
		claims, err = v.again(ctx, seen, r, own)
	} else {
		claims, err = v.first(ctx, token, r, own)
	}
	if err != nil {
		v.countRefusal(err)
		return nil, err
	}
	return claims, nil
}

// again judges a token whose signature was good, after keys or revocations changed, or
// when no verdict can be stored.
func (v *Validator) again(ctx context.Context, seen *entry, r reading, own time.Duration) (*Claims, error) {
	if !r.fresh && !v.tolerates(own) {
		return nil, errStale
	}
	key, err := v.key(ctx, seen.claims.KeyID)
	if err != nil {
		return nil, err
	}
	if !sameKey(key, seen.key) {
		return nil, refuse(ErrInvalid, "its key was replaced")
	}
	settled, err := v.current(ctx, seen.token, seen.claims, v.backend.read(own), own)
	if err != nil {
		return nil, err
	}
	if settled {
		// r was read before the look-ups: what came meanwhile is looked up next time.
		seen.version.Store(r.version)
	}
	return seen.claims, nil
}

// first judges a token that was not seen before, cheap checks first.
func (v *Validator) first(ctx context.Context, text string, r reading, own time.Duration) (*Claims, error) {
	t, err := parseToken(text)
	if err != nil {
		return nil, &refusal{kind: ErrInvalid, detail: "malformed", cause: err}
	}
	if !r.fresh && !v.tolerates(own) {
		return nil, errStale
	}
	key, err := v.key(ctx, t.kid)
	if err != nil {
		return nil, err
	}
	v.verified.Add(1)
	if err := verifySignature(key, t); err != nil {
		return nil, &refusal{kind: ErrInvalid, detail: "signature", cause: err}
	}
	claims, err := newClaims(t)
	if err != nil {
		return nil, &refusal{kind: ErrInvalid, detail: "claims", cause: err}
	}
	// The key may have come over the network: time has passed.
	late := v.backend.read(own)
	if err := v.acceptable(claims, late); err != nil {
		return nil, err
	}
	settled, err := v.current(ctx, text, claims, late, own)
	if err != nil {
		return nil, err
	}
	version := r.version
	if !settled {
		version = unsettled
	}
	v.cache.put(text, claims, key, version, late.nowMS)
	return claims, nil
}

func (v *Validator) key(ctx context.Context, kid string) (verificationKey, error) {
	key, err := v.backend.key(ctx, kid)
	switch {
	case err == nil:
		return key, nil
	case errors.Is(err, errUnknownKey) && v.backend.denylist().KidRevoked(kid):
		// A compromised key is dropped, so what it signed cannot be checked any more; and
		// need not: whoever signed it, it is dead.
		return key, errRevoked
	case errors.Is(err, errUnknownKey):
		return key, refuse(ErrInvalid, "unknown key")
	case ctx.Err() != nil:
		return key, fmt.Errorf("waiting for a key: %w", ctx.Err())
	default:
		return key, &refusal{kind: ErrStale, detail: "fetching the keys", cause: err}
	}
}

// acceptable checks what never changes about a well-signed token.
func (v *Validator) acceptable(c *Claims, r reading) error {
	switch {
	case c.Issuer != v.issuer:
		return refuse(ErrInvalid, "another issuer")
	case !v.meant(c.Audience):
		return refuse(ErrInvalid, "another audience")
	case c.ExpiresAt.Before(c.IssuedAt):
		return refuse(ErrInvalid, "expires before it was issued")
	case c.ExpiresAt.Sub(c.IssuedAt) > r.maxLifetime:
		return refuse(ErrInvalid, "lives longer than the broker's tokens do")
	case c.IssuedAt.UnixMilli() > r.nowMS+maxIssuedAhead.Milliseconds():
		return refuse(ErrInvalid, "issued in the future")
	case !c.NotBefore.IsZero() && c.NotBefore.UnixMilli() > r.nowMS+maxIssuedAhead.Milliseconds():
		return refuse(ErrInvalid, "not valid yet")
	}
	return nil
}

func (v *Validator) meant(audience []string) bool {
	for _, a := range audience {
		if slices.Contains(v.audiences, a) {
			return true
		}
	}
	return false
}
