package validator

import (
	"context"
	"crypto"
	"errors"
	"time"

	"github.com/go-jose/go-jose/v4"

	"tokenbroker/revocation"
)

// reading is the knowledge of keys and revocations at one moment.
type reading struct {
	version     uint64 // of denylist and keys
	nowMS       int64  // the broker's clock
	maxLifetime time.Duration
	fresh       bool
}

// backend is the source of a Validator's knowledge: a remote broker, or the broker that it is part of.
type backend interface {
	// read is called for every token and must not block or allocate. own is the call's own bound of
	// staleness, which can only be stricter, or 0.
	read(own time.Duration) reading
	// age returns the age of the knowledge of revocations.
	age() time.Duration
	// key returns the key of a kid. It may ask the broker for a kid that is not known yet.
	key(ctx context.Context, kid string) (verificationKey, error)
	denylist() *revocation.Denylist
}

var (
	_ backend = (*syncer)(nil)
	_ backend = (*inProcess)(nil)
)

// InProcessConfig configures [NewInProcess]. All fields are required, except that either Audiences or SkipAudience is set.
type InProcessConfig struct {
	Issuer string
	// Audiences are the accepted values of aud; a token needs one of them.
	Audiences []string
	// SkipAudience accepts tokens of every audience. The caller MUST check the audience of the claims, or not depend on it.
	SkipAudience bool
	// Keys returns the key of a kid. alg is one of ES256, EdDSA, RS256, PS256; public an
	// *ecdsa.PublicKey, an ed25519.PublicKey or an *rsa.PublicKey.
	Keys func(kid string) (alg string, public crypto.PublicKey, ok bool)
	// Denylist contains every revocation before it is acknowledged.
	Denylist *revocation.Denylist
	// Now is the broker's clock.
	Now func() time.Time
	// MaxLifetime is the longest exp − iat.
	MaxLifetime time.Duration
}

// NewInProcess returns a Validator for the broker's own use, fed by its own denylist,
// keys and clock: it is always fresh and does no I/O. It starts a timer only while contexts
// of [Validator.Bind] are open; [Validator.Close] stops it.
func NewInProcess(config InProcessConfig) (*Validator, error) {
	if config.Issuer == "" || (len(config.Audiences) == 0) != config.SkipAudience || config.Keys == nil ||
		config.Denylist == nil || config.Now == nil || config.MaxLifetime <= 0 {
		return nil, errors.New("validator: every field of InProcessConfig is required, and one of Audiences and SkipAudience")
	}
	v := newValidator(config.Issuer, config.Audiences, defaultCacheSize, &inProcess{config})
	v.skipAudience = config.SkipAudience
	return v, nil
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
