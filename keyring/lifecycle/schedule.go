package lifecycle

import "time"

// readyIn returns how long a next key has still to be published before it signs. Only this
// process's monotonic clock counts: the wall clock cannot prove that any broker served the key.
func (p *Plan) readyIn(next *Key) time.Duration {
	if next.Ready {
		return 0
	}
	return max(0, p.cacheLife()+p.Policy.Margin-p.observedFor(next.fact()))
}

// rotationDue returns when the active key of the purpose has signed for its scheduled time, zero
// if there is no schedule.
func (p *Plan) rotationDue(purpose Purpose) time.Time {
	if p.Policy.RotateEvery == 0 {
		return time.Time{}
	}
	k := p.Set.Find(purpose, StateActive)
	return unix(k.Activates).Add(p.Policy.RotateEvery / thousandths * time.Duration(thousandths+k.Jitter))
}

// activation returns when the next key of the purpose becomes active, zero if nothing is
// scheduled. For a master secret that does not exist yet it is when it will be made.
func (p *Plan) activation(purpose Purpose) time.Time {
	if purpose == PurposeMaster {
		return p.masterActivation()
	}
	next := p.Set.Find(purpose, StateNext)
	ready := p.Now.Add(p.readyIn(next))
	if next.Requested != 0 {
		return ready
	}
	due := p.rotationDue(purpose)
	if !due.IsZero() && due.Before(ready) {
		return ready
	}
	return due
}

// removal returns when a retiring key leaves the JWK set: when its last token has expired by the wall
// clock, and a full token lifetime has passed since this process learned that the key retires. A process
// that could not read the store signed with the key until then, so the tokens signed until then count as
// the key's. A key with many successors leaves when the lifetime of its tokens has passed, even if a clock
// that was ahead gave them a later exp.
func (p *Plan) removal(k *Key) time.Time {
	lastExpires := unix(k.LastTokenDies)
	if at := p.Observed[k.fact()].lastExpiry.Add(clockLeeway); at.After(lastExpires) {
		lastExpires = at
	}
	byClock := lastExpires.Add(p.Policy.Margin)
	proven := p.Now.Add(p.longestTokenLife() + clockLeeway + p.Policy.Margin - p.observedFor(k.fact()))
	if proven.After(byClock) || p.newerRetiring(k) >= maxRetiring {
		return proven
	}
	return byClock
}

// newerRetiring counts the retiring keys of the same purpose that are newer.
func (p *Plan) newerRetiring(k *Key) int {
	n := 0
	for i := len(p.Set.Keys) - 1; i >= 0 && p.Set.Keys[i].KID != k.KID; i-- {
		if other := &p.Set.Keys[i]; other.Purpose == k.Purpose && other.State == StateRetiring {
			n++
		}
	}
	return n
}

// nextStep returns the next scheduled change of the key's state and its time; "" if there is none.
func (p *Plan) nextStep(k *Key) (string, time.Time) {
	switch k.State {
	case StateNext:
		if at := p.activation(k.Purpose); !at.IsZero() {
			return StepSigns, at
		}
	case StateActive:
		if at := p.activation(k.Purpose); !at.IsZero() {
			return StepRetires, at
		}
	case StateRetiring:
		if k.Purpose == PurposeMaster {
			return StepRemoved, p.masterRemoval(k)
		}
		return StepRemoved, p.removal(k)
	}
	return "", time.Time{}
}

// NextDue returns when [Plan.ApplyDue] has something to do again, zero if never.
func (p *Plan) NextDue() time.Time {
	var first time.Time
	consider := func(at time.Time) {
		if !at.IsZero() && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	for k := range p.Set.All() {
		if k.State == StateNext && !k.Ready && k.Purpose != PurposeMaster {
			consider(p.Now.Add(p.readyIn(k)))
		}
		_, at := p.nextStep(k)
		consider(at)
	}
	return first
}

// List describes all keys, then all master secrets, with their next steps. The caller owns the slice.
func (p *Plan) List() []KeyInfo {
	all := make([]KeyInfo, 0, len(p.Set.Keys)+len(p.Set.Masters))
	for k := range p.Set.All() {
		info := k.Info()
		if k.Purpose == PurposeMaster && k.State == StateRetiring {
			info.LastTokenDies = info.Retires.Add(p.Policy.MasterLife)
		}
		info.NextStep, info.NextStepAt = p.nextStep(k)
		all = append(all, info)
	}
	return all
}

// Overdue returns the purposes whose rotation should have been made by at. oldKeyUntil is the
// earliest time at which one of their active keys has signed for twice the scheduled time, zero
// without a schedule.
func (p *Plan) Overdue(at time.Time) (purposes []Purpose, oldKeyUntil time.Time) {
	for _, purpose := range []Purpose{PurposeAccess, PurposeFeed, PurposeMaster} {
		deadline := p.deadline(purpose)
		if deadline.IsZero() || at.Before(deadline) {
			continue
		}
		purposes = append(purposes, purpose)
		if p.Policy.RotateEvery == 0 {
			continue
		}
		until := unix(p.Set.Find(purpose, StateActive).Activates).Add(2 * p.Policy.RotateEvery)
		if oldKeyUntil.IsZero() || until.Before(oldKeyUntil) {
			oldKeyUntil = until
		}
	}
	return purposes, oldKeyUntil
}

// deadline returns when the rotation of the purpose should have been made at the latest, zero if
// there is no schedule. Unlike activation it does not move with the clock.
func (p *Plan) deadline(purpose Purpose) time.Time {
	if purpose == PurposeMaster {
		if next := p.Set.Find(PurposeMaster, StateNext); next != nil {
			return unix(next.Created).Add(p.Policy.Margin)
		}
		return p.masterRotationDue()
	}
	next := p.Set.Find(purpose, StateNext)
	at := p.rotationDue(purpose)
	if next.Requested != 0 {
		at = unix(next.Requested)
	}
	if at.IsZero() {
		return at
	}
	// The key is ready at the latest a full cache life after this process began to count.
	ready := p.Now.Add(p.cacheLife() + p.Policy.Margin - p.observedFor(next.fact()))
	if !next.Ready && ready.After(at) {
		return ready
	}
	return at
}
