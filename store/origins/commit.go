package origins

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tokenbroker/store"
)

// Pauses between attempts.
const (
	firstWait = 10 * time.Millisecond
	maxWait   = time.Second
)

// outdatedEvery is how often Config.Outdated is called at most.
const outdatedEvery = time.Second

// Commit implements [store.Store] under the run's fence. It settles a commit whose outcome the engine does not know:
// it finds out whether the commit was written, and makes it impossible if it was not; then it commits the changes again,
// for which it may call seal again. It waits for an engine that cannot be read, until ctx ends.
//
// The results are those of [store.Engine], with these differences:
//   - [store.ErrUncertain] means that ctx ended before the commit was settled. The next Commit, Tick or Rejoin
//     settles it before anything else is sealed, so that a sequence number never names two batches; a caller learns from the
//     store whether the last batch that it sealed was recorded.
//   - [store.ErrFenced] means that another broker has ended the origin: call [Run.Rejoin]. Nothing of the change was
//     written, unless the error is [ErrRemoved].
//   - After a settlement, a change without events that only deletes, or whose records others have written again since,
//     may have been written although its result is [store.ErrConflict].
//
// If ctx ends before an earlier commit was settled, nothing is written and the result is the reason.
func (r *Run) Commit(ctx context.Context, changes []store.Change, seal store.Seal) []error {
	errs := make([]error, len(changes))
	if len(changes) == 0 {
		return errs
	}
	if err := r.take(ctx); err != nil {
		return store.FailRest(errs, err)
	}
	defer r.release()
	if err := r.settleOpen(ctx); err != nil {
		return store.FailRest(errs, err)
	}
	return r.commit(ctx, changes, seal)
}

// commit commits until the outcome is known or ctx has ended. The caller has the turn, and no attempt is open.
func (r *Run) commit(ctx context.Context, changes []store.Change, seal store.Seal) []error {
	for wait := firstWait; ; wait = min(2*wait, maxWait) {
		a := &attempt{own: r.self()}
		a.next = r.stamp(a.own.Record)
		a.next.N++
		a.next.Last = 0
		r.open = a // until the outcome is known, also if the engine panics
		// The result of an empty change is that of the fence.
		write := r.beginWrite()
		revision, errs := r.engine.CommitFenced(ctx, a.fence(), append([]store.Change{{}}, changes...), seal)
		fate, errs := errs[0], errs[1:]
		if fate == nil {
			r.succeeded(write)
			r.open = nil
			r.setOwn(a.written(revision, recorded(changes, errs)))
			return errs
		}
		if store.FailRest(errs, fate); !inDoubt(fate) {
			r.open = nil
			return errs
		}
		now, happened, err := r.settle(ctx, a)
		switch {
		case err != nil && r.open != nil:
			return failDoubts(errs, fmt.Errorf("%w: %w", store.ErrUncertain, err))
		case err != nil:
			return failDoubts(errs, err)
		case happened:
			r.open = nil
			return r.judge(ctx, a, now, changes, errs)
		case now.Ended:
			r.open = nil
			return failDoubts(errs, store.ErrFenced)
		}
		r.open = nil
		if err := r.config.Sleep(ctx, wait); err != nil {
			return failDoubts(errs, err)
		}
	}
}

// attempt is one commit as it was sent to the engine.
type attempt struct {
	own  Origin // the fence that it expects
	next Record // what it writes, without the head
}

func (a *attempt) fence() store.Fence {
	sealed := a.next
	sealed.Head++
	return store.Fence{Key: Key(a.own.ID), Expect: a.own.Revision, Value: a.next.Encode(), Sealed: sealed.Encode()}
}

// written returns the fence after the attempt.
func (a *attempt) written(revision store.Revision, recorded bool) Origin {
	o := Origin{ID: a.own.ID, Record: a.next, Revision: revision}
	if recorded {
		o.Head++
	}
	return o
}

// stamp returns the record with what changes while the broker runs. The caller has the turn, or the run is new.
func (r *Run) stamp(rec Record) Record {
	rec.ClockMS = r.config.Wall().UnixMilli()
	if now := r.config.Mono(); now >= r.askAgain {
		r.askAgain, r.outdated = now+outdatedEvery, nil
		for _, name := range r.config.Outdated() {
			if len(r.outdated) < maxOutdated {
				r.outdated = append(r.outdated, name[:min(len(name), maxText)])
			}
		}
	}
	rec.Outdated = r.outdated
	r.mu.Lock()
	defer r.mu.Unlock()
	rec.V = r.version
	if r.last != nil {
		rec.EngineMS = float64((r.last.done - r.last.Read).Microseconds()) / 1000
	}
	return rec
}

// recorded reports whether the events of the changes were recorded.
func recorded(changes []store.Change, errs []error) bool {
	for i, change := range changes {
		if errs[i] == nil && len(change.Events) > 0 {
			return true
		}
	}
	return false
}

// inDoubt reports whether an engine's result says that the commit may have been written: a fence that has moved may have been moved
// by a first copy of the same commit.
func inDoubt(err error) bool {
	return errors.Is(err, store.ErrUncertain) || errors.Is(err, store.ErrFenced)
}

// failDoubts replaces the results that are in doubt.
func failDoubts(errs []error, err error) []error {
	for i := range errs {
		if inDoubt(errs[i]) {
			errs[i] = err
		}
	}
	return errs
}
