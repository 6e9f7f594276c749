package validator

import (
	"context"
	"crypto"
	"errors"
	"time"

	"github.com/go-jose/go-jose/v4"

	"tokenbroker/revocation"
)

// clocksApartMS between the wall and the monotonic clock: the machine was suspended or its
// clock stepped.
const clocksApartMS = 250

// reading is what is known at one moment.
type reading struct {
	version     uint64 // of denylist and keys
	nowMS       int64  // the broker's clock
	maxLifetime time.Duration
	fresh       bool
}

// backend is where a Validator's knowledge comes from: a broker elsewhere, or the one it
// is part of.
type backend interface {
	// read is called for every token and must not block or allocate. own is the call's own
	// bound of staleness, which can only be stricter, or 0.
	read(own time.Duration) reading
	// age is how old the knowledge of revocations is.
	age() time.Duration
	// key may ask the broker for a kid that is not known yet.
	key(ctx context.Context, kid string) (verificationKey, error)
	denylist() *revocation.Denylist
}

var (
	_ backend = (*remote)(nil)
	_ backend = (*inProcess)(nil)
)

// InProcessConfig says what [NewInProcess] needs; all of it is required.
type InProcessConfig struct {
	Issuer string
	// Audiences are accepted each by itself.
	Audiences []string
	// Keys returns the key of a kid. alg is one of ES256, EdDSA, RS256, PS256; public an
	// *ecdsa.PublicKey, an ed25519.PublicKey or an *rsa.PublicKey.
	Keys func(kid string) (alg string, public crypto.PublicKey, ok bool)
	// Denylist is applied to before a revocation is acknowledged.
	Denylist *revocation.Denylist
	// Now is the broker's clock.
	Now func() time.Time
	// MaxLifetime is the longest exp − iat.
	MaxLifetime time.Duration
}

// NewInProcess returns a Validator for the broker's own use, fed by its own denylist,
// keys and clock: it is always fresh and does no I/O. It starts nothing before the first
// [Validator.Bind], and [Validator.Close] ends that.
func NewInProcess(config InProcessConfig) (*Validator, error) {
	if config.Issuer == "" || len(config.Audiences) == 0 || config.Keys == nil ||
		config.Denylist == nil || config.Now == nil || config.MaxLifetime <= 0 {
		return nil, errors.New("validator: every field of InProcessConfig is required")
	}
	return newValidator(config.Issuer, config.Audiences, defaultCacheSize, &inProcess{config}), nil
}

type inProcess struct{ config InProcessConfig }

func (p *inProcess) age() time.Duration { return 0 }

func (p *inProcess) read(time.Duration) reading {
	return reading{
		version:     p.config.Denylist.Version(),
		nowMS:       p.config.Now().UnixMilli(),
		maxLifetime: p.config.MaxLifetime,
		fresh:       true,
	}
}

func (p *inProcess) key(_ context.Context, kid string) (verificationKey, error) {
	alg, public, ok := p.config.Keys(kid)
	if !ok {
		return verificationKey{}, errUnknownKey
	}
	return verificationKey{kid: kid, alg: jose.SignatureAlgorithm(alg), public: public}, nil
}

func (p *inProcess) denylist() *revocation.Denylist { return p.config.Denylist }

// remote judges freshness at each reading, by the monotonic clock alone: a process that
// was stopped for a while finds itself stale before anybody tells it.
type remote struct {
	source
	revoked      *revocation.Denylist
	maxStaleness time.Duration
	wall         func() time.Time
}

func newRemote(s source, maxStaleness time.Duration) *remote {
	return &remote{source: s, revoked: s.denylist(), maxStaleness: maxStaleness, wall: time.Now}
}

// read takes the version from the denylist itself, not from the view: an event counts
// from the moment Apply returns, whenever the next view is made.
func (r *remote) read(own time.Duration) reading {
	v, now := r.view(), monotonic()
	return reading{
		version:     r.revoked.Version(),
		nowMS:       v.brokerMS(now),
		maxLifetime: v.maxLifetime,
		fresh:       v.fresh(now, r.maxStaleness) && (own == 0 || r.meets(own, v, now)),
	}
}

// meets is the part of freshness that only a call with a bound of its own pays for: no
// tick tells it that the machine's clocks went apart.
func (r *remote) meets(own time.Duration, v *view, now time.Duration) bool {
	together := func(i revocation.Instant) bool {
		apart := i.WallMS - i.Mono.Milliseconds() - v.wallOffsetMS
		return -clocksApartMS < apart && apart < clocksApartMS
	}
	// The first reading is cheap. On a busy machine the thread may have been stopped in it.
	return v.fresh(now, own) &&
		(together(revocation.Instant{Mono: now, WallMS: r.wall().UnixMilli()}) || together(revocation.ReadInstant(monotonic, r.wall)))
}

func (r *remote) age() time.Duration { return monotonic() - r.view().asOf }
