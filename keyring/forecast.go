package keyring

import (
	"time"
)

// cacheLife is how long a service may go on with a JWK set, also with one that was served
// under another configuration.
func (p *plan) cacheLife() time.Duration {
	return max(p.limits.cacheLife, seconds(p.rec.CacheLife))
}

// rememberCacheLife keeps the longest cache life that may still be out there.
func (p *plan) rememberCacheLife() {
	want := int64(p.limits.cacheLife / time.Second)
	if want > p.rec.CacheLife || want < p.rec.CacheLife && p.ran(p.rec.cacheMark()) >= p.cacheLife() {
		p.rec.CacheLife, p.changed = want, true
	}
}

// longestTokenLife is the longest that an access token may have been given.
func (p *plan) longestTokenLife() time.Duration {
	return max(p.limits.tokenLife, seconds(p.rec.TokenLife.Published))
}

// ripeIn is how long a next key is still to be published before it signs. It counts this
// process's monotonic clock alone: what the wall clock says of a time when nobody is known
// to have served the key proves nothing.
func (p *plan) ripeIn(next *keyRecord) time.Duration {
	if next.Ripe {
		return 0
	}
	return max(0, p.cacheLife()+p.limits.margin-p.ran(next.mark()))
}

// due is when the active key of the purpose has signed as long as was planned, zero for no plan.
func (p *plan) due(purpose Purpose) time.Time {
	k := p.find(purpose, StateActive)
	return p.planned(k.Activates, k.Jitter)
}

func (p *plan) planned(activates, jitter int64) time.Time {
	if p.limits.rotateEvery == 0 {
		return time.Time{}
	}
	return unix(activates).Add(p.limits.rotateEvery / thousandths * time.Duration(thousandths+jitter))
}

// signs is when the next key of the purpose becomes active, zero if nothing is planned.
func (p *plan) signs(purpose Purpose) time.Time {
	if purpose == PurposeMaster {
		return p.masterSigns()
	}
	next := p.find(purpose, StateNext)
	ripe := p.now.Add(p.ripeIn(next))
	if next.Asked != 0 {
		return ripe
	}
	due := p.due(purpose)
	if !due.IsZero() && due.Before(ripe) {
		return ripe
	}
	return due
}

// removed returns when a retiring key leaves the JWK set: when its last token has expired by the
// wall clock, and a full token life after this process learned that the key retires. A process that
// could not read the store signed with the key until then, so the tokens signed until then count as
// the key's. A key that very many have followed leaves when its tokens have lived their lives,
// whatever exp a clock that was ahead gave them.
func (p *plan) removed(k *keyRecord) time.Time {
	lastDies := unix(k.LastTokenDies)
	if at := p.expiryAtSight(k.mark()).Add(clockLeeway); at.After(lastDies) {
		lastDies = at
	}
	byClock := lastDies.Add(p.limits.margin)
	proven := p.now.Add(p.longestTokenLife() + clockLeeway + p.limits.margin - p.ran(k.mark()))
	if proven.After(byClock) || p.followers(k) >= maxRetiring {
		return proven
	}
	return byClock
}

// followers counts the retiring keys of the purpose that are younger; the record has the
// keys in the order in which they were made.
func (p *plan) followers(k *keyRecord) int {
	n := 0
	for i := len(p.rec.Keys) - 1; i >= 0 && p.rec.Keys[i].KID != k.KID; i-- {
		if other := &p.rec.Keys[i]; other.Purpose == k.Purpose && other.State == StateRetiring {
			n++
		}
	}
	return n
}

// nextStep is what becomes of the key of its own accord.
func (p *plan) nextStep(k *keyRecord) (string, time.Time) {
	switch k.State {
	case StateNext:
		if at := p.signs(k.Purpose); !at.IsZero() {
			return StepSigns, at
		}
	case StateActive:
		if at := p.signs(k.Purpose); !at.IsZero() {
			return StepRetires, at
		}
	case StateRetiring:
		return StepRemoved, p.removed(k)
	}
	return "", time.Time{}
}

// next is when advance has something to do again, zero for never.
func (p *plan) next() time.Time {
	var first time.Time
	sooner := func(at time.Time) {
		if !at.IsZero() && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	for i := range p.rec.Keys {
		k := &p.rec.Keys[i]
		if k.State == StateNext && !k.Ripe {
			sooner(p.now.Add(p.ripeIn(k)))
		}
		_, at := p.nextStep(k)
		sooner(at)
	}
	for i := range p.rec.Masters {
		_, at := p.masterStep(&p.rec.Masters[i])
		sooner(at)
	}
	return first
}

// list is what may be told of all keys and master secrets.
func (p *plan) list() []KeyInfo {
	all := make([]KeyInfo, 0, len(p.rec.Keys)+len(p.rec.Masters))
	for i := range p.rec.Keys {
		info := p.rec.Keys[i].info()
		info.NextStep, info.NextStepAt = p.nextStep(&p.rec.Keys[i])
		all = append(all, info)
	}
	for i := range p.rec.Masters {
		info := p.rec.Masters[i].info()
		if info.State == StateRetiring {
			info.LastTokenDies = info.Retires.Add(p.limits.masterLife)
		}
		info.NextStep, info.NextStepAt = p.masterStep(&p.rec.Masters[i])
		all = append(all, info)
	}
	return all
}

// promised is when the rotation of the purpose should have been made at the latest by what
// the record says, zero for no plan. Unlike signs it does not move on with the clock.
func (p *plan) promised(purpose Purpose) time.Time {
	if purpose == PurposeMaster {
		if next := p.rec.master(StateNext); next != nil {
			return unix(next.Created).Add(p.limits.margin)
		}
		return p.masterPlanned(p.rec.master(StateActive))
	}
	next := p.find(purpose, StateNext)
	at := p.due(purpose)
	if next.Asked != 0 {
		at = unix(next.Asked)
	}
	if at.IsZero() {
		return at
	}
	// Ripe at the latest a full cache life after this process began to count.
	ripe := p.now.Add(p.cacheLife() + p.limits.margin - p.ran(next.mark()))
	if !next.Ripe && ripe.After(at) {
		return ripe
	}
	return at
}

// twice is when the key that signs for the purpose has done so twice as long as planned.
func (p *plan) twice(purpose Purpose) time.Time {
	if p.limits.rotateEvery == 0 {
		return time.Time{}
	}
	activates := p.rec.master(StateActive).Activates
	if purpose != PurposeMaster {
		activates = p.find(purpose, StateActive).Activates
	}
	return unix(activates).Add(2 * p.limits.rotateEvery)
}
