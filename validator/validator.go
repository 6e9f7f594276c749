// Package validator lets a service decide in its own memory whether an access token is
// valid: signed by the broker (RFC 9068), meant for this service, unexpired by the broker's
// clock and not revoked.
//
// A service makes one [Validator] with [New] when it starts, asks [Validator.Validate]
// for each request (or lets [tokenbroker/validator/httpauth] do it) and closes it when it
// ends:
//
//	v, err := validator.New(ctx, validator.Config{
//		Issuer:   "https://login.example.com",
//		Audience: "orders",
//		Client:   validator.Client{ID: "orders", Secret: secret},
//		Feed:     natsfeed.Feed{URL: "nats://nats.example.com:4222"},
//	})
//	if err != nil {
//		return err
//	}
//	defer v.Close()
//	claims, err := v.Validate(ctx, token)
//
// The Validator fetches the broker's keys and live revocations over HTTP and keeps them
// current from the feed. It never accepts a token whose revocation was acknowledged longer
// than Config.MaxStaleness ago. When it cannot prove that it received every revocation, it
// returns only [ErrStale] (503, not 401), or follows Config.OnStale. For a route where a
// revocation has to take effect sooner, pass [MaxStaleness].
//
// A WebSocket or a stream of events, which outlives its request, is bound to its token with
// [Validator.Bind]: the context that Bind returns ends when the token is revoked or expires.
//
// A service's own tests use [tokenbroker/validator/validatortest].
package validator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// Validator decides whether access tokens are valid. It is safe for concurrent use.
type Validator struct {
	issuer    string
	audiences []string
	// skipAudience is InProcessConfig.SkipAudience.
	skipAudience bool
	backend      backend
	cache        *cache
	close        func()

	onStale      Policy
	maxStaleness time.Duration
	introspector *introspector // nil if the broker cannot be asked

	verified, expired, revoked, invalid, stale atomic.Uint64

	bindings *bindings
	feed     *feedCounts // nil without a feed
}

// New connects to the broker and returns once keys and live revocations are in memory. It
// fails when ctx ends first or Config.StartTimeout passes; the error names the requests that
// failed and their last errors. It fails at once, with [ErrMisconfigured], when the
// broker refuses something that another attempt cannot change: the client is unknown, its
// secret is wrong, another issuer or a web page is at the issuer's address, or the server's
// certificate is not valid. The goroutines that New starts stop with [Validator.Close]; ctx
// is only for the start.
func New(ctx context.Context, config Config) (*Validator, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	syncer := newSyncer(config)
	if err := syncer.start(ctx); err != nil {
		return nil, fmt.Errorf("validator: %w", err)
	}
	v := newValidator(config.Issuer, []string{config.Audience}, config.CacheSize, syncer)
	v.feed = &syncer.counts
	v.onStale, v.maxStaleness = config.OnStale, config.MaxStaleness
	v.introspector = newIntrospector(syncer.broker, syncer.denied, config.Logger)
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
// goroutines of the Validator. Later calls of Validate fail with [ErrStale] within
// Config.MaxStaleness.
func (v *Validator) Close() {
	v.bindings.close()
	v.close()
}

// Validate returns the claims of a token that is valid for this service now. Otherwise
// the error is [ErrExpired], [ErrRevoked], [ErrInvalid] or [ErrStale] (by errors.Is), or the
// error of ctx. Validating a token again costs no I/O, no signature check and no allocation
// while this service is fresh and has evicted nothing. A token with an unknown key id, or one
// that only the broker can judge, may cost one request to the broker, which ends with ctx.
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
		claims, err = v.again(ctx, token, seen, r, own)
	} else {
		claims, err = v.first(ctx, token, r, own)
	}
	if err != nil {
		v.countRefusal(err)
		return nil, err
	}
	return claims, nil
}

// again checks a token with a verified signature after keys or revocations changed, or when no verdict can
// be stored.
func (v *Validator) again(ctx context.Context, token string, seen *entry, r reading, own time.Duration) (*Claims, error) {
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
	settled, err := v.current(ctx, token, seen.claims, v.backend.read(own), own)
	if err != nil {
		return nil, err
	}
	if settled {
		// r was read before the look-ups, so later events cause another look-up next time.
		seen.version.Store(r.version)
	}
	return seen.claims, nil
}

// first checks a token that was not seen before, with the cheap checks first.
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
	// The key may have been fetched over the network, so time has passed.
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
		// A compromised key is dropped, so its signatures can no longer be checked. They
		// need not be: every token that it signed is revoked.
		return key, errRevoked
	case errors.Is(err, errUnknownKey):
		return key, &refusal{kind: ErrInvalid, cause: NewMismatch("kid", "a key that the broker publishes", kid)}
	case ctx.Err() != nil:
		return key, fmt.Errorf("waiting for a key: %w", ctx.Err())
	default:
		return key, &refusal{kind: ErrStale, detail: "fetching the keys", cause: err}
	}
}
