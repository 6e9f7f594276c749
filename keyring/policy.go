package keyring

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

var signingPurposes = []Purpose{PurposeAccess, PurposeFeed}

// advance does what is due. A clock that is behind the keys' own times is an error wrapping
// [ErrClockBehind]: nothing is rotated by such a clock, and the present keys sign on.
func (p *plan) advance() error {
	p.rememberCacheLife()
	p.ripen()
	p.removeRetiring()
	p.dropMasters()
	p.trim()
	if err := p.clockBehind(); err != nil {
		return err
	}
	for _, purpose := range signingPurposes {
		if err := p.rotateDue(purpose); err != nil {
			return err
		}
	}
	return p.rotateMasterDue()
}

// rotate asks for a rotation. was is the active key (master secret) that it is to replace:
// if that is so no longer, somebody else's rotation did it. changed tells whether anything
// new was asked for.
func (p *plan) rotate(purpose Purpose, algorithm Algorithm, was string) (changed bool, err error) {
	if err := p.clockBehind(); err != nil {
		return false, err
	}
	if purpose == PurposeMaster {
		return p.askMaster(was)
	}
	active, next := p.find(purpose, StateActive), p.find(purpose, StateNext)
	if algorithm == "" {
		algorithm = next.Algorithm
	}
	if active.KID != was && active.Algorithm == algorithm {
		return false, nil
	}
	p.ripen()
	switch {
	case next.Algorithm != algorithm:
		p.discard(next)
		if err := p.addNext(purpose, algorithm, p.now.Unix()); err != nil {
			return false, err
		}
		p.note(ChangeScheduled, p.find(purpose, StateNext).info())
		return true, nil
	case next.Asked != 0:
		return false, nil
	case next.Ripe:
		return true, p.activate(purpose)
	default:
		p.schedule(next)
		return true, nil
	}
}

// configure asks for a rotation when the configured algorithm is another one than it was.
func (p *plan) configure() error {
	active, next, want := p.find(PurposeAccess, StateActive), p.find(PurposeAccess, StateNext), p.limits.algorithm
	there := next.Algorithm == want && (next.Asked != 0 || active.Algorithm == want)
	if cmp.Or(p.rec.Configured, active.Algorithm) != want && !there {
		if _, err := p.rotate(PurposeAccess, want, active.KID); err != nil {
			return err
		}
	}
	if p.rec.Configured != want {
		p.rec.Configured, p.changed = want, true
	}
	return nil
}

// compromise marks the key dead for ever and puts its successor in its place, ripe or not.
func (p *plan) compromise(kid string) (changed bool, err error) {
	if slices.Contains(p.rec.Compromised, kid) {
		return false, nil
	}
	i := slices.IndexFunc(p.rec.Keys, func(k keyRecord) bool { return k.KID == kid })
	if i < 0 {
		return false, fmt.Errorf("%w %q", ErrUnknownKey, kid)
	}
	k := &p.rec.Keys[i]
	was, asked := *k, k.Asked
	if was.State == StateActive {
		p.stopSigning(k)
	}
	k.State, k.Private, k.Ripe, k.Asked = StateCompromised, nil, false, 0
	p.rec.Compromised = append(p.rec.Compromised, kid)
	p.note(ChangeCompromised, k.info())
	switch was.State {
	case StateActive:
		return true, p.promote(was.Purpose)
	case StateNext:
		return true, p.addNext(was.Purpose, was.Algorithm, asked)
	}
	return true, nil
}

// activate ends the active key's signing and begins the next one's.
func (p *plan) activate(purpose Purpose) error {
	active := p.find(purpose, StateActive)
	p.stopSigning(active)
	active.State = StateRetiring
	p.note(ChangeRetiring, active.info())
	return p.promote(purpose)
}

// promote makes the next key active and a new next one.
func (p *plan) promote(purpose Purpose) error {
	next := p.find(purpose, StateNext)
	next.State, next.Activates, next.Ripe, next.Asked = StateActive, p.now.Unix(), false, 0
	p.note(ChangeActivated, next.info())
	return p.addNext(purpose, next.Algorithm, 0)
}

// stopSigning notes when the last token of an active key dies and erases its private part.
func (p *plan) stopSigning(active *keyRecord) {
	last := p.now.Add(p.longestTokenLife())
	if p.lastExpiry.After(last) {
		last = p.lastExpiry
	}
	active.Retires, active.Private = p.now.Unix(), nil
	active.LastTokenDies = last.Add(clockLeeway).Unix()
}

// discard retires a next key, which never signed anything.
func (p *plan) discard(next *keyRecord) {
	next.State, next.Private, next.Ripe, next.Asked, next.Retires = StateRetired, nil, false, 0, p.now.Unix()
	p.note(ChangeRetired, next.info())
}

func (p *plan) schedule(next *keyRecord) {
	next.Asked = p.now.Unix()
	p.note(ChangeScheduled, next.info())
}

func (p *plan) rotateDue(purpose Purpose) error {
	next := p.find(purpose, StateNext)
	if due := p.due(purpose); next.Asked == 0 && (due.IsZero() || p.now.Before(due)) {
		return nil
	}
	if next.Ripe {
		return p.activate(purpose)
	}
	if next.Asked == 0 {
		p.schedule(next)
	}
	return nil
}

// ripen notes which next keys have been published for a cache life. Once noted it holds,
// whatever clocks do and whoever restarts.
func (p *plan) ripen() {
	for _, purpose := range signingPurposes {
		if next := p.find(purpose, StateNext); !next.Ripe && p.ripeIn(next) <= 0 {
			next.Ripe, p.changed = true, true
		}
	}
}

// removeRetiring takes keys out of the JWK set whose last token is dead: by the clock, and
// by a full length on the monotonic clock, so that no jump removes one early.
func (p *plan) removeRetiring() {
	for i := range p.rec.Keys {
		k := &p.rec.Keys[i]
		if k.State == StateRetiring && !p.removed(k).After(p.now) {
			k.State, k.Private = StateRetired, nil
			p.note(ChangeRetired, k.info())
		}
	}
}

// trim forgets the oldest lines of dead keys.
func (p *plan) trim() {
	count := map[State]int{}
	for i := len(p.rec.Keys) - 1; i >= 0; i-- {
		state := p.rec.Keys[i].State
		if state != StateRetired && state != StateCompromised {
			continue
		}
		if count[state]++; count[state] > maxHistory {
			p.rec.Keys = slices.Delete(p.rec.Keys, i, i+1)
			p.changed = true
		}
	}
}

func (p *plan) clockBehind() error {
	for _, purpose := range signingPurposes {
		for _, state := range []State{StateActive, StateNext} {
			k := p.find(purpose, state)
			if at := unix(max(k.Created, k.Activates)); p.now.Add(clockLeeway).Before(at) {
				return fmt.Errorf("%w: it says %s, and the %s is of %s", ErrClockBehind,
					p.now.UTC().Format(time.RFC3339), k.info(), at.Format(time.RFC3339))
			}
		}
	}
	return nil
}
