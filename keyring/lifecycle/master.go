package lifecycle

import (
	"fmt"
	"slices"
	"time"
)

// masterType is the type of new master secrets.
var masterType = KeyType{PurposeMaster, HKDFSHA256}

// addNextMaster adds a new master secret. It is accepted at once, and used when every broker of
// the store has had the time to read it.
func (p *Plan) addNextMaster(replaces string) (changed bool, err error) {
	if p.Set.Find(PurposeMaster, StateActive).KID != replaces || p.Set.Find(PurposeMaster, StateNext) != nil {
		return false, nil
	}
	if len(p.Set.Masters) >= maxMasters {
		return false, fmt.Errorf("%w: one is dropped %s", ErrTooManyMasters, p.firstMasterRemoval().Format(time.RFC3339))
	}
	m, err := p.take(masterType)
	if err != nil {
		return false, err
	}
	p.Set.Masters = append([]Key{m}, p.Set.Masters...)
	p.note(ChangeMade, &m)
	p.note(ChangeScheduled, &m)
	return true, nil
}

func (p *Plan) rotateMasterIfDue() error {
	active, next := p.Set.Find(PurposeMaster, StateActive), p.Set.Find(PurposeMaster, StateNext)
	if next == nil {
		if due := p.masterRotationDue(); due.IsZero() || p.Now.Before(due) {
			return nil
		}
		_, err := p.addNextMaster(active.KID)
		return err
	}
	if p.masterActivation().After(p.Now) {
		return nil
	}
	active.State, active.Retires = StateRetiring, p.Now.Unix()
	next.State, next.Activates = StateActive, p.Now.Unix()
	p.note(ChangeMasterRotated, next)
	return nil
}

// dropMasters forgets secrets when no session can hold a token of theirs any more.
func (p *Plan) dropMasters() {
	p.Set.Masters = slices.DeleteFunc(p.Set.Masters, func(m Key) bool {
		if m.State != StateRetiring || p.masterRemoval(&m).After(p.Now) {
			return false
		}
		p.note(ChangeMasterDropped, &m)
		return true
	})
}

// masterActivation returns when tokens are first made under the next master secret. Without a
// next one it returns when that will be made, zero if nothing is scheduled.
func (p *Plan) masterActivation() time.Time {
	if next := p.Set.Find(PurposeMaster, StateNext); next != nil {
		return p.Now.Add(max(0, p.Policy.Margin-p.observedFor(next.fact())))
	}
	return p.masterRotationDue()
}

// masterRotationDue returns when the successor of the active secret is to be made, zero if there
// is no schedule. While there are too many secrets it waits until one is dropped.
func (p *Plan) masterRotationDue() time.Time {
	at := p.rotationDue(PurposeMaster)
	if !at.IsZero() && len(p.Set.Masters) >= maxMasters {
		if room := p.firstMasterRemoval(); room.After(at) {
			return room
		}
	}
	return at
}

// firstMasterRemoval returns when the first of the old secrets is dropped, zero if there is none.
func (p *Plan) firstMasterRemoval() time.Time {
	var first time.Time
	for i := range p.Set.Masters {
		m := &p.Set.Masters[i]
		if m.State != StateRetiring {
			continue
		}
		if at := p.masterRemoval(m); first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first
}

// masterRemoval returns when a retiring secret is dropped: by the wall clock, and not before this
// process has known that it retires for a day or a session's life.
func (p *Plan) masterRemoval(m *Key) time.Time {
	byClock := unix(m.Retires).Add(p.Policy.MasterLife + clockLeeway)
	proven := p.Now.Add(min(p.Policy.MasterLife, masterProof) - p.observedFor(m.fact()))
	if proven.After(byClock) {
		return proven
	}
	return byClock
}
