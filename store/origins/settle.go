package origins

import (
	"context"
	"errors"
	"fmt"

	"tokenbroker/store"
)

// outcome of an attempt.
type outcome int

const (
	undecided  outcome = iota // it may still be written
	never                     // it was not written and cannot be
	happened                  // it was written
	removed                   // unknown for good: the record was removed
	impossible                // the engine has lost commits of the run
)

// outcome returns the outcome of the attempt according to the record as it is now. N rises only by the run's commits, which
// are made one at a time; all other writes of the record leave N, and move the revision, which the attempt
// expects.
func (a *attempt) outcome(now Origin) outcome {
	switch {
	case now.N == a.own.N+1 && now.Revision > a.own.Revision:
		return happened
	case now.recreated(a.own):
		return removed
	case now.N != a.own.N || now.Revision < a.own.Revision:
		return impossible
	case now.Revision == a.own.Revision:
		return undecided
	}
	return never
}

// settle finds out whether an attempt was written; if it was not, it moves the fence, so that the attempt cannot be written
// any more. It returns the fence as it is then. The caller has the turn. If err is not nil, the outcome is unknown:
// permanently if the record was removed or the engine was rewound, otherwise ctx has ended and the attempt stays open.
func (r *Run) settle(ctx context.Context, a *attempt) (now Origin, happen bool, err error) {
	for wait := firstWait; ; wait = min(2*wait, maxWait) {
		now, err := readRecord(ctx, r, a.own.ID)
		switch {
		case err == nil, errors.Is(err, store.ErrNotFound):
			got := removed
			if err == nil {
				got = a.outcome(now)
			}
			if got == undecided {
				now, got = r.move(ctx, now)
			}
			switch got {
			case removed:
				r.count(func(s *Stats) { s.Unknown++ })
				r.open = nil
				r.fail(store.ErrFenced)
				return now, false, ErrRemoved
			case never, happened:
				r.count(func(s *Stats) {
					if got == happened {
						s.Written++
					} else {
						s.NotWritten++
					}
				})
				r.setOwn(now)
				if now.Ended {
					r.fail(store.ErrFenced)
				}
				return now, got == happened, nil
			case impossible:
				r.open = nil
				r.fail(ErrRewound)
				return now, false, fmt.Errorf("%w: origin %s is at commit %d, expected %d", ErrRewound, now.ID, now.N, a.own.N)
			}
		}
		if stopped := r.config.Sleep(ctx, wait); stopped != nil {
			return now, false, errors.Join(stopped, err)
		}
	}
}

// move writes the record without a commit of the run, so that no earlier attempt can be written.
func (r *Run) move(ctx context.Context, o Origin) (Origin, outcome) {
	o.Last = o.lastCommit()
	value := o.Encode()
	fence := store.Fence{Key: Key(o.ID), Expect: o.Revision, Value: value, Sealed: value}
	revision, _ := r.engine.CommitFenced(ctx, fence, []store.Change{{}}, nil)
	if revision == 0 { // the answer was lost, or the record has changed: it has to be read again
		return o, undecided
	}
	o.Revision = revision
	return o, never
}

// settleOpen settles the attempt that is open, if any, and returns why the run cannot commit. The caller has the turn. An
// attempt of an origin that has ended needs no settlement: it can no longer be written.
func (r *Run) settleOpen(ctx context.Context) error {
	if r.open != nil && r.failed() == nil {
		_, _, err := r.settle(ctx, r.open)
		if err != nil && r.failed() == nil {
			return fmt.Errorf("settling an earlier commit: %w", err)
		}
	}
	r.open = nil
	return r.failed()
}

// judge replaces the results that are in doubt of a commit that was written: the events are recorded if the head has moved, a
// change without events is written if a record that it puts has the revision of the commit.
func (r *Run) judge(ctx context.Context, a *attempt, now Origin, changes []store.Change, errs []error) []error {
	var keys []string
	puts := make([][]string, len(changes))
	writers := map[string]int{} // changes of the commit that write the key
	for i, change := range changes {
		if !inDoubt(errs[i]) { // it was not part of the commit
			continue
		}
		last := map[string]store.Write{}
		for _, w := range change.Writes {
			last[w.Key] = w
		}
		for key := range last {
			writers[key]++
		}
		switch {
		case len(change.Events) > 0 && now.Head > a.own.Head, len(change.Events)+len(change.Writes) == 0:
			errs[i] = nil
		case len(change.Events) > 0:
			errs[i] = store.ErrConflict
		default:
			for key, w := range last {
				if !w.Delete {
					puts[i] = append(puts[i], key)
				}
			}
			keys = append(keys, puts[i]...)
		}
	}
	records, err := r.readMany(ctx, keys)
	if err != nil {
		return failDoubts(errs, err)
	}
	written := map[string]bool{}
	for _, record := range records {
		written[record.Key] = record.Revision == now.lastCommit() && writers[record.Key] == 1
	}
	for i := range changes {
		for _, key := range puts[i] {
			if written[key] {
				errs[i] = nil
			}
		}
	}
	return failDoubts(errs, store.ErrConflict)
}

// readMany reads records, again after a failure until ctx ends.
func (r *Run) readMany(ctx context.Context, keys []string) ([]store.Record, error) {
	for wait := firstWait; len(keys) > 0; wait = min(2*wait, maxWait) {
		records, err := r.GetMany(ctx, keys)
		if err == nil {
			return records, nil
		}
		if stopped := r.config.Sleep(ctx, wait); stopped != nil {
			return nil, fmt.Errorf("%w: %w", store.ErrUncertain, errors.Join(stopped, err))
		}
	}
	return nil, nil
}

// readRecord reads the record of an origin.
func readRecord(ctx context.Context, from store.Reader, origin string) (Origin, error) {
	stored, err := from.Get(ctx, Key(origin))
	if err != nil {
		return Origin{}, err
	}
	return originOf(stored)
}
