package simtest_test

import (
	"errors"
	"slices"
	"testing/synctest"
	"time"

	"tokenbroker/store"
	"tokenbroker/store/origins"
)

// request waits for the committer of a process.
type request struct {
	change store.Change
	done   chan struct{}

	// The result.
	err    error
	origin string // of the batch, if the change has events
	seq    uint64
}

// commit merges the change with others that wait and returns the result.
func (p *task) commit(change store.Change) *request {
	r := &request{change: change, done: make(chan struct{})}
	p.mu.Lock()
	p.waiting = append(p.waiting, r)
	p.mu.Unlock()
	select {
	case p.work <- struct{}{}:
	default:
	}
	if err := p.wait(p.ctx, r.done); err != nil {
		return &request{err: err}
	}
	return r
}

// maxMerged is how many changes one commit has at most.
const maxMerged = 6

// committer commits what waits, as package commit does: to the engine, to the own denylist, to the head, to the callers.
func (p *task) committer() {
	for p.wait(p.ctx, p.work) == nil {
		for p.turn() {
			p.mu.Lock()
			n := min(len(p.waiting), maxMerged)
			batch := slices.Clone(p.waiting[:n])
			p.waiting = p.waiting[n:]
			p.mu.Unlock()
			if n == 0 {
				break
			}
			p.commitAll(batch)
		}
	}
}

func (p *task) commitAll(batch []*request) {
	n := p.n
	changes := make([]store.Change, len(batch))
	for i, r := range batch {
		changes[i] = r.change
	}
	origin := p.run.Origin()
	errs := p.run.Commit(p.ctx, changes, p.ledger.Seal)
	if !p.turn() {
		return
	}
	seq, fenced := uint64(0), false
	for i, err := range errs {
		if err == nil && len(changes[i].Events) > 0 && seq == 0 {
			seq = p.ledger.Committed()
			n.announce(origin, seq)
		}
	}
	for i, r := range batch {
		err := errs[i]
		n.c.audit.told(n, r.change, err, errors.Is(err, store.ErrUncertain) || errors.Is(err, origins.ErrRemoved))
		if errors.Is(err, store.ErrRetry) {
			again := r.change // it is another one in the audit
			again.Writes, again.Events = slices.Clone(r.change.Writes), slices.Clone(r.change.Events)
			r.change = again
			p.mu.Lock()
			p.waiting = append(p.waiting, r)
			p.mu.Unlock()
			continue
		}
		fenced = fenced || errors.Is(err, store.ErrFenced)
		r.err = err
		if err == nil && len(r.change.Events) > 0 {
			r.origin, r.seq = origin, seq
		}
		n.w.after(0, func() { // one by one
			n.do(func() {
				close(r.done)
				synctest.Wait()
			})
		})
	}
	for fenced {
		n.w.say("%s finds that its origin %.4s was ended", n.name, origin)
		err := p.ledger.Rejoin(p.ctx)
		if !p.turn() {
			return
		}
		if err == nil {
			n.c.runs[p.run.Origin()] = true
			n.w.say("%s joins again as %.4s", n.name, p.run.Origin())
			counts["rejoins"]++
			return
		}
		n.w.say("%s cannot join again: %v", n.name, err)
		if p.sleep(p.ctx, time.Second) != nil {
			return
		}
	}
}
