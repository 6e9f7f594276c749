package keyring

import (
	"fmt"
	"slices"
	"time"
)

// askMaster puts a new master secret beside the active one: accepted at once, and used when
// every broker of the store has had the time to read it.
func (p *plan) askMaster(was string) (changed bool, err error) {
	if p.rec.master(StateActive).ID != was || p.rec.master(StateNext) != nil {
		return false, nil
	}
	if len(p.rec.Masters) >= maxMasters {
		return false, fmt.Errorf("%w: one is dropped %s", ErrTooManyMasters, p.masterRoom().UTC().Format(time.RFC3339))
	}
	if len(p.stock.masters) == 0 {
		return false, &lackError{need{purpose: PurposeMaster}}
	}
	m := p.stock.masters[0]
	m.State, m.Created = StateNext, p.now.Unix()
	p.rec.Masters = append([]masterRecord{m}, p.rec.Masters...)
	p.note(ChangeMade, m.info())
	p.note(ChangeScheduled, m.info())
	return true, nil
}

func (p *plan) rotateMasterDue() error {
	active, next := p.rec.master(StateActive), p.rec.master(StateNext)
	if next == nil {
		if due := p.masterPlanned(active); due.IsZero() || p.now.Before(due) {
			return nil
		}
		_, err := p.askMaster(active.ID)
		return err
	}
	if p.masterSigns().After(p.now) {
		return nil
	}
	active.State, active.Retires = StateRetiring, p.now.Unix()
	next.State, next.Activates = StateActive, p.now.Unix()
	p.note(ChangeMasterRotated, next.info())
	return nil
}

// dropMasters forgets secrets that no session can hold a token of any more.
func (p *plan) dropMasters() {
	p.rec.Masters = slices.DeleteFunc(p.rec.Masters, func(m masterRecord) bool {
		if m.State != StateRetiring || p.masterDropped(&m).After(p.now) {
			return false
		}
		p.note(ChangeMasterDropped, m.info())
		return true
	})
}

// masterSigns is when tokens are made under the next master secret; without one, when it
// is planned to be made; zero if nothing is planned.
func (p *plan) masterSigns() time.Time {
	if next := p.rec.master(StateNext); next != nil {
		return p.now.Add(max(0, p.limits.margin-p.ran(next.mark())))
	}
	return p.masterPlanned(p.rec.master(StateActive))
}

// masterPlanned is when the successor of the active secret is to be made, zero for no plan.
// While there are too many it waits for one to be dropped.
func (p *plan) masterPlanned(active *masterRecord) time.Time {
	at := p.planned(active.Activates, active.Jitter)
	if !at.IsZero() && len(p.rec.Masters) >= maxMasters {
		if room := p.masterRoom(); room.After(at) {
			return room
		}
	}
	return at
}

// masterRoom is when the first of the secrets that are still accepted is dropped.
func (p *plan) masterRoom() time.Time {
	var first time.Time
	for i := range p.rec.Masters {
		m := &p.rec.Masters[i]
		if m.State != StateRetiring {
			continue
		}
		if at := p.masterDropped(m); first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first
}

func (p *plan) masterDropped(m *masterRecord) time.Time {
	byClock := unix(m.Retires).Add(p.limits.masterLife + clockLeeway)
	proven := p.now.Add(min(p.limits.masterLife, masterProof) - p.ran(m.mark()))
	if proven.After(byClock) {
		return proven
	}
	return byClock
}

func (p *plan) masterStep(m *masterRecord) (string, time.Time) {
	switch m.State {
	case StateRetiring:
		return StepRemoved, p.masterDropped(m)
	case StateNext:
		return StepSigns, p.masterSigns()
	}
	if at := p.masterSigns(); !at.IsZero() {
		return StepRetires, at
	}
	return "", time.Time{}
}
