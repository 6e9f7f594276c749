package lifecycle

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Rotation describes a rotation that was requested, to operators and in the admin API.
type Rotation struct {
	Purpose Purpose `json:"purpose"`
	// Active signs now. Next signs from Signs on if Scheduled, otherwise after the next rotation.
	Active KeyInfo `json:"active"`
	Next   KeyInfo `json:"next,omitzero"` // of the master secret only while it is scheduled
	// Signs is when the new key starts to sign, or since when it has signed.
	Signs time.Time `json:"signs"`
	// Scheduled reports that the new key still is the next one, because services must know it first.
	Scheduled bool `json:"scheduled"`
	// Changed is false if the same rotation had been requested, or made, before.
	Changed bool `json:"changed"`
}

// CheckRotation returns an error if there is no such purpose or a key of the purpose cannot have
// the algorithm. The empty algorithm is always accepted.
func CheckRotation(purpose Purpose, algorithm Algorithm) error {
	switch {
	case purpose != PurposeMaster && !slices.Contains(signingPurposes, purpose):
		return fmt.Errorf("keyring: no purpose %q: it is one of access, feed, master", purpose)
	case algorithm == "":
		return nil
	case purpose == PurposeMaster:
		return fmt.Errorf("%w %q: a master secret has none", ErrUnknownAlgorithm, algorithm)
	case purpose == PurposeFeed && algorithm != EdDSA:
		return fmt.Errorf("%w %q: feed keys always use EdDSA", ErrUnknownAlgorithm, algorithm)
	}
	return algorithm.Check()
}

// Rotate requests a rotation. The next key becomes active at once if it is ready, otherwise when
// it is. replaces is the active key (master secret) that is to be replaced: if another one is
// active, somebody else has rotated it. The empty algorithm keeps that of the next key. changed
// reports whether anything new was requested.
func (p *Plan) Rotate(purpose Purpose, algorithm Algorithm, replaces string) (changed bool, err error) {
	if err := p.checkClock(); err != nil {
		return false, err
	}
	if purpose == PurposeMaster {
		return p.addNextMaster(replaces)
	}
	active, next := p.Set.Find(purpose, StateActive), p.Set.Find(purpose, StateNext)
	if algorithm == "" {
		algorithm = next.Algorithm
	}
	if active.KID != replaces && active.Algorithm == algorithm {
		return false, nil
	}
	p.markReady()
	switch {
	case next.Algorithm != algorithm:
		p.discardNext(next)
		if err := p.addNext(purpose, algorithm, p.Now.Unix()); err != nil {
			return false, err
		}
		p.note(ChangeScheduled, p.Set.Find(purpose, StateNext))
		return true, nil
	case next.Requested != 0:
		return false, nil
	case next.Ready:
		return true, p.activateNext(purpose)
	default:
		p.request(next)
		return true, nil
	}
}

// RotationPending reports whether a rotation was requested that has not been made yet.
func (p *Plan) RotationPending(purpose Purpose) bool {
	next := p.Set.Find(purpose, StateNext)
	return next != nil && (purpose == PurposeMaster || next.Requested != 0)
}

// ConfigureAlgorithm requests a rotation of the access key if the configured algorithm differs
// from the one that was last applied.
func (p *Plan) ConfigureAlgorithm() error {
	active, next, want := p.Set.Find(PurposeAccess, StateActive), p.Set.Find(PurposeAccess, StateNext), p.Policy.Algorithm
	done := next.Algorithm == want && (next.Requested != 0 || active.Algorithm == want)
	if cmp.Or(p.Set.Configured, active.Algorithm) != want && !done {
		if _, err := p.Rotate(PurposeAccess, want, active.KID); err != nil {
			return err
		}
	}
	if p.Set.Configured != want {
		p.Set.Configured, p.changed = want, true
	}
	return nil
}

// Compromise marks a signing key as compromised. An active key is replaced by the next one, ready
// or not. changed is false if the key was compromised before. The error wraps [ErrUnknownKey] if
// there is no such signing key.
func (p *Plan) Compromise(kid string) (changed bool, err error) {
	if slices.Contains(p.Set.Compromised, kid) {
		return false, nil
	}
	i := slices.IndexFunc(p.Set.Keys, func(k Key) bool { return k.KID == kid })
	if i < 0 {
		return false, fmt.Errorf("%w %q", ErrUnknownKey, kid)
	}
	k := &p.Set.Keys[i]
	before := *k
	if before.State == StateActive {
		p.stopSigning(k)
	}
	k.State, k.Ready, k.Requested = StateCompromised, false, 0
	p.Set.Compromised = append(p.Set.Compromised, kid)
	p.note(ChangeCompromised, k)
	switch before.State {
	case StateActive:
		return true, p.promoteNext(before.Purpose)
	case StateNext:
		return true, p.addNext(before.Purpose, before.Algorithm, before.Requested)
	}
	return true, nil
}

// addNext adds a new next key of the purpose. requested is when a rotation to it was requested,
// zero if none was.
func (p *Plan) addNext(purpose Purpose, algorithm Algorithm, requested int64) error {
	k, err := p.take(KeyType{purpose, algorithm})
	if err != nil {
		return err
	}
	k.Requested = requested
	p.Set.Keys = append(p.Set.Keys, k)
	p.note(ChangeMade, &k)
	return nil
}

// activateNext retires the active key and makes the next one active.
func (p *Plan) activateNext(purpose Purpose) error {
	active := p.Set.Find(purpose, StateActive)
	p.stopSigning(active)
	active.State = StateRetiring
	p.note(ChangeRetiring, active)
	return p.promoteNext(purpose)
}

// promoteNext makes the next key active and adds a new next one.
func (p *Plan) promoteNext(purpose Purpose) error {
	next := p.Set.Find(purpose, StateNext)
	next.State, next.Activates, next.Ready, next.Requested = StateActive, p.Now.Unix(), false, 0
	p.note(ChangeActivated, next)
	return p.addNext(purpose, next.Algorithm, 0)
}

// stopSigning notes when the last token of an active key expires.
func (p *Plan) stopSigning(active *Key) {
	last := p.Now.Add(p.longestTokenLife())
	if p.LastExpiry.After(last) {
		last = p.LastExpiry
	}
	active.Retires, active.LastTokenDies = p.Now.Unix(), last.Add(clockLeeway).Unix()
}

// discardNext retires a next key, which never signed anything.
func (p *Plan) discardNext(next *Key) {
	next.State, next.Ready, next.Requested, next.Retires = StateRetired, false, 0, p.Now.Unix()
	p.note(ChangeRetired, next)
}

// request notes that the next key is to become active when it is ready.
func (p *Plan) request(next *Key) {
	next.Requested = p.Now.Unix()
	p.note(ChangeScheduled, next)
}

func (p *Plan) rotateIfDue(purpose Purpose) error {
	next := p.Set.Find(purpose, StateNext)
	if due := p.rotationDue(purpose); next.Requested == 0 && (due.IsZero() || p.Now.Before(due)) {
		return nil
	}
	if next.Ready {
		return p.activateNext(purpose)
	}
	if next.Requested == 0 {
		p.request(next)
	}
	return nil
}

// markReady notes which next keys have been published for a cache life. A noted key stays ready
// across clock changes and restarts.
func (p *Plan) markReady() {
	for _, purpose := range signingPurposes {
		if next := p.Set.Find(purpose, StateNext); !next.Ready && p.readyIn(next) <= 0 {
			next.Ready, p.changed = true, true
		}
	}
}

// removeRetiring retires the keys whose last token has expired.
func (p *Plan) removeRetiring() {
	for i := range p.Set.Keys {
		if k := &p.Set.Keys[i]; k.State == StateRetiring && !p.removal(k).After(p.Now) {
			k.State = StateRetired
			p.note(ChangeRetired, k)
		}
	}
}

// trimHistory forgets the oldest retired and compromised keys. The ids of compromised keys stay.
func (p *Plan) trimHistory() {
	count := map[State]int{}
	for i := len(p.Set.Keys) - 1; i >= 0; i-- {
		state := p.Set.Keys[i].State
		if state != StateRetired && state != StateCompromised {
			continue
		}
		if count[state]++; count[state] > maxHistory {
			p.Set.Keys = slices.Delete(p.Set.Keys, i, i+1)
			p.changed = true
		}
	}
}

// checkClock returns an error if the clock is behind a key that signs or will sign.
func (p *Plan) checkClock() error {
	for _, purpose := range signingPurposes {
		for _, state := range []State{StateActive, StateNext} {
			k := p.Set.Find(purpose, state)
			if at := unix(max(k.Created, k.Activates)); p.Now.Add(clockLeeway).Before(at) {
				return fmt.Errorf("%w: it says %s, and the %s is of %s", ErrClockBehind,
					p.Now.Format(time.RFC3339), k, at.Format(time.RFC3339))
			}
		}
	}
	return nil
}
