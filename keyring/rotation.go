package keyring

import (
	"context"
	"fmt"
	"time"

	"tokenbroker/keyring/lifecycle"
)

// Rotate makes the next key of the purpose active: at once if it is ready (published for a
// JWKS cache life), otherwise as soon as it is. Until then another request changes nothing, and of
// several requests at once, one rotates. Another algorithm needs another next key, which
// must become ready first; "" keeps the present one. A feed key always uses EdDSA, and a master
// secret has no algorithm to choose.
//
// Errors wrap [lifecycle.ErrUnknownAlgorithm], [lifecycle.ErrClockBehind],
// [lifecycle.ErrTooManyMasters] or the store's.
func (k *Keyring) Rotate(ctx context.Context, purpose lifecycle.Purpose, algorithm lifecycle.Algorithm) (lifecycle.Rotation, error) {
	if err := lifecycle.CheckRotation(purpose, algorithm); err != nil {
		return lifecycle.Rotation{}, err
	}
	replaces := k.current.Load().rec.Find(purpose, lifecycle.StateActive).KID
	changed := false
	p, _, err := k.change(ctx, func(p *lifecycle.Plan) (err error) {
		changed, err = p.Rotate(purpose, algorithm, replaces)
		return err
	})
	if err != nil {
		return lifecycle.Rotation{}, fmt.Errorf("rotating the %s key: %w", purpose, err)
	}
	r := lifecycle.Rotation{Purpose: purpose, Changed: changed}
	for _, info := range p.List() {
		switch {
		case info.Purpose != purpose:
		case info.State == lifecycle.StateActive:
			r.Active = info
		case info.State == lifecycle.StateNext:
			r.Next = info
		}
	}
	r.Signs = r.Active.Activates
	if r.Scheduled = p.RotationPending(purpose); r.Scheduled {
		r.Signs = r.Next.NextStepAt
	}
	return r, nil
}

// Compromised is the result of [Keyring.Compromise].
type Compromised struct {
	Key lifecycle.KeyInfo `json:"key"`
	// Successor replaces it: the key that signs now, or for a key that never signed the new next one.
	Successor lifecycle.KeyInfo `json:"successor"`
	// Changed is false if the key was compromised before.
	Changed bool `json:"changed"`
}

// Compromise marks the key permanently as compromised, in any state: it leaves the JWK set
// and is never published or accepted again. The successor of an active one signs at once, ready or
// not. Compromise is idempotent. The error wraps [lifecycle.ErrUnknownKey] for an id that no
// signing key has or had; a master secret is rotated instead.
func (k *Keyring) Compromise(ctx context.Context, kid string) (Compromised, error) {
	changed := false
	p, _, err := k.change(ctx, func(p *lifecycle.Plan) (err error) {
		changed, err = p.Compromise(kid)
		return err
	})
	if err != nil {
		return Compromised{}, fmt.Errorf("revoking the key %q: %w", kid, err)
	}
	// The key may have been forgotten; its id never is.
	c := Compromised{Key: lifecycle.KeyInfo{Label: lifecycle.Label{KID: kid, State: lifecycle.StateCompromised}}, Changed: changed}
	for _, info := range p.List() {
		if info.KID == kid {
			c.Key = info
		}
	}
	successor := lifecycle.StateActive
	if c.Key.Activates.IsZero() {
		successor = lifecycle.StateNext // it never signed
	}
	for _, info := range p.List() {
		if info.Purpose == c.Key.Purpose && info.State == successor {
			c.Successor = info
		}
	}
	return c, nil
}

// configuredLife is the token life that was last configured, and since when on the monotonic clock.
type configuredLife struct {
	want  time.Duration
	since time.Duration
}

// TokenLife returns the life of access tokens to publish and the life to sign when want is
// the configured one. A longer life is published at once and signed one JWKS cache life
// later, and not within 5 minutes, when every service knows it; a shorter one is signed at
// once and published when the longer tokens have expired. next is when to call TokenLife again,
// zero if only when want changes. The record remembers what is published; brokers of one store
// must be configured alike.
//
// want is whole seconds above zero. After an error nothing was changed.
func (k *Keyring) TokenLife(ctx context.Context, want time.Duration) (publish, sign time.Duration, next time.Time, err error) {
	if want < time.Second || want%time.Second != 0 {
		return 0, 0, time.Time{}, fmt.Errorf("keyring: a token life of %s: at least a second, and whole seconds", want)
	}
	k.mu.Lock()
	if k.tokenLife.want != want {
		k.tokenLife = configuredLife{want: want, since: k.cfg.Mono()}
	}
	configuredFor := k.cfg.Mono() - k.tokenLife.since
	k.mu.Unlock()
	p, _, err := k.change(ctx, func(p *lifecycle.Plan) error {
		next = p.SetTokenLife(want, configuredFor)
		return nil
	})
	if err != nil {
		return 0, 0, time.Time{}, fmt.Errorf("setting the life of access tokens: %w", err)
	}
	life := p.Set.TokenLife
	return time.Duration(life.Published) * time.Second, min(want, time.Duration(life.Signed)*time.Second), next, nil
}
