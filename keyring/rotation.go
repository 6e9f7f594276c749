package keyring

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Rotation is what came of asking for one.
type Rotation struct {
	Purpose Purpose `json:"purpose"`
	Active  KeyInfo `json:"active"`
	Next    KeyInfo `json:"next,omitzero"` // of PurposeMaster only while it is scheduled
	// Signs is when the new key signs, or since when it does.
	Signs time.Time `json:"signs"`
	// Scheduled says that the new key still is the next one.
	Scheduled bool `json:"scheduled"`
	// Changed is false if the same rotation had been asked for, or made, before.
	Changed bool `json:"changed"`
}

// Rotate makes the next key of the purpose active: at once if it is ripe (published for a
// JWKS cache life), else as soon as it is. Asking again meanwhile changes nothing, and of
// several that ask at once, one rotates. Another algorithm needs another next key, which
// must ripen; "" keeps the present one. A feed key is always of EdDSA, and a new master
// secret has none.
//
// Errors wrap [ErrUnknownAlgorithm], [ErrClockBehind], [ErrTooManyMasters] or the store's.
func (k *Keyring) Rotate(ctx context.Context, purpose Purpose, algorithm Algorithm) (Rotation, error) {
	if err := checkRotation(purpose, algorithm); err != nil {
		return Rotation{}, err
	}
	was := k.Snapshot().rec.signing(purpose)
	changed := false
	p, err := k.change(ctx, func(p *plan) (err error) {
		changed, err = p.rotate(purpose, algorithm, was)
		return err
	})
	if err != nil {
		return Rotation{}, fmt.Errorf("rotating the %s key: %w", purpose, err)
	}
	r := Rotation{Purpose: purpose, Changed: changed}
	for _, info := range p.list() {
		switch {
		case info.Purpose != purpose:
		case info.State == StateActive:
			r.Active = info
		case info.State == StateNext:
			r.Next = info
		}
	}
	r.Signs = r.Active.Activates
	if r.Scheduled = p.asked(purpose); r.Scheduled {
		r.Signs = r.Next.NextStepAt
	}
	return r, nil
}

func checkRotation(purpose Purpose, algorithm Algorithm) error {
	switch {
	case purpose != PurposeMaster && !slices.Contains(signingPurposes, purpose):
		return fmt.Errorf("keyring: no purpose %q: it is one of access, feed, master", purpose)
	case algorithm == "":
		return nil
	case purpose == PurposeMaster:
		return fmt.Errorf("%w %q: a master secret has none", ErrUnknownAlgorithm, algorithm)
	case purpose == PurposeFeed && algorithm != EdDSA:
		return fmt.Errorf("%w %q: feed keys are always of EdDSA", ErrUnknownAlgorithm, algorithm)
	}
	return algorithm.check()
}

// signing names what the purpose's tokens are made with.
func (r *record) signing(purpose Purpose) string {
	if purpose == PurposeMaster {
		return r.master(StateActive).ID
	}
	for i := range r.Keys {
		if k := &r.Keys[i]; k.Purpose == purpose && k.State == StateActive {
			return k.KID
		}
	}
	return ""
}

// asked tells whether a rotation was asked for that is still to come.
func (p *plan) asked(purpose Purpose) bool {
	if purpose == PurposeMaster {
		return p.rec.master(StateNext) != nil
	}
	return p.find(purpose, StateNext).Asked != 0
}

// Compromised is what came of giving a key up.
type Compromised struct {
	Key KeyInfo `json:"key"`
	// Successor is what stands in its place: the key that signs, or for a key that never did
	// the next one.
	Successor KeyInfo `json:"successor"`
	// Changed is false if the key was compromised before.
	Changed bool `json:"changed"`
}

// Compromise marks the key dead for ever, whatever its state: it leaves the JWK set and is
// never published or accepted again. The successor of an active one signs at once, ripe or
// not. It is idempotent. The error wraps [ErrUnknownKey] for an id that never was one, or
// that is a master secret's, which is rotated.
func (k *Keyring) Compromise(ctx context.Context, kid string) (Compromised, error) {
	changed := false
	p, err := k.change(ctx, func(p *plan) (err error) {
		changed, err = p.compromise(kid)
		return err
	})
	if err != nil {
		return Compromised{}, fmt.Errorf("giving up the key %q: %w", kid, err)
	}
	// The line of a key may be forgotten, its id is not.
	c := Compromised{Key: KeyInfo{KID: kid, State: StateCompromised}, Changed: changed}
	for _, info := range p.list() {
		if info.KID == kid {
			c.Key = info
		}
	}
	successor := StateActive
	if c.Key.Activates.IsZero() {
		successor = StateNext // it never signed
	}
	for _, info := range p.list() {
		if info.Purpose == c.Key.Purpose && info.State == successor {
			c.Successor = info
		}
	}
	return c, nil
}
