package origins

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"tokenbroker/store"
)

const (
	// sweepPage is how many records a sweep examines at once, and sweepCommit how many it deletes in one commit, for which
	// the other commits of the broker wait.
	sweepPage   = 500
	sweepCommit = 60
	// sweepRest is how many times as long as each operation of a sweep took it waits after it: it uses at most 5 % of
	// the engine's time.
	sweepRest = 19
	// sweepMargin is how long a record stays after the smallest clock of the live brokers has passed its expiry: for
	// a broker that joins later and whose clock is behind, and for clocks that are all ahead for a while.
	sweepMargin = time.Hour
	// sweepEvery is the time between two passes, and sweepCheck the time after which a broker tries again that has failed
	// or does not collect.
	sweepEvery = time.Hour
	sweepCheck = 5 * time.Second
	// sweepTimeout bounds one operation.
	sweepTimeout = 5 * time.Second
)

// batchEnd follows the keys of all batches.
var batchEnd = strings.TrimSuffix(batchPrefix, ".") + "/"

// Sweep deletes the expired records of an engine that keeps them. It runs on the broker that collects (see
// [Run.Collector]). A record is deleted by compare-and-set when the clocks of all live brokers have passed its
// ExpiresAt by an hour; one without ExpiresAt is never deleted. The batches of revocations have none, and
// are collected by the ledger.
type Sweep struct {
	run       *Run
	from      store.Sweeper
	after     string // the key after which the pass continues
	failing   bool   // an error was logged
	deleted   atomic.Uint64
	completed atomic.Int64 // Unix seconds
}

// NewSweep returns a sweep of the run's engine, which is from.
func (r *Run) NewSweep(from store.Sweeper) *Sweep { return &Sweep{run: r, from: from} }

// Deleted returns the number of records that were deleted.
func (s *Sweep) Deleted() uint64 { return s.deleted.Load() }

// Completed returns the wall clock at the end of the last complete pass over all records (Unix seconds), zero before
// the first.
func (s *Sweep) Completed() int64 { return s.completed.Load() }

// Run sweeps until ctx ends: a pass over all records, at most 5 % of the time, each hour. A pass that fails continues
// five seconds later where it was.
func (s *Sweep) Run(ctx context.Context) {
	for wait := time.Duration(0); s.run.config.Sleep(ctx, wait) == nil; {
		done, err := s.pass(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !s.failing:
			s.failing = true
			s.run.config.Logger.Warn("expired records cannot be deleted", "error", err)
		case done && s.failing:
			s.failing = false
			s.run.config.Logger.Info("expired records are deleted again")
		}
		if wait = sweepCheck; done {
			wait = sweepEvery
		}
	}
}

// pass deletes the expired records after s.after. It reports whether it reached the last record. It ends early if
// another broker collects.
func (s *Sweep) pass(ctx context.Context) (done bool, err error) {
	for {
		var expired []store.Record
		var next string
		collects := false
		err := s.paced(ctx, func(ctx context.Context) (err error) {
			var before int64
			if before, collects, err = s.before(ctx); err == nil && collects {
				expired, next, err = s.from.Expired(ctx, before, s.after, sweepPage)
			}
			return err
		})
		if err == nil && !collects {
			s.after = ""
			return false, nil
		}
		if err == nil {
			err = s.delete(ctx, expired)
		}
		switch {
		case err != nil:
			return false, err
		case next == "":
			s.after = ""
			s.completed.Store(s.run.config.Wall().Unix())
			return true, nil
		case strings.HasPrefix(next, batchPrefix):
			next = batchEnd // batches are many, and do not expire
		}
		s.after = next
	}
}

// before returns the time up to which records have expired for every broker. It reports whether this run collects.
func (s *Sweep) before(ctx context.Context) (before int64, collects bool, err error) {
	v, err := s.run.View(ctx)
	if err != nil {
		return 0, false, err
	}
	if _, silent := s.run.Silent(); silent || v.collector.Origin != s.run.Origin() {
		return 0, false, nil
	}
	return time.UnixMilli(s.run.SmallestClock(v)).Add(-sweepMargin).Unix(), true, nil
}

// paced calls do, and then waits so that the sweep uses only its share of the time.
func (s *Sweep) paced(ctx context.Context, do func(context.Context) error) error {
	began := s.run.config.Mono()
	limited, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	if err := do(limited); err != nil {
		return err
	}
	return s.run.config.Sleep(ctx, sweepRest*(s.run.config.Mono()-began))
}

// delete deletes records unless they were written since.
func (s *Sweep) delete(ctx context.Context, expired []store.Record) error {
	for len(expired) > 0 {
		some := expired[:min(sweepCommit, len(expired))]
		expired = expired[len(some):]
		err := s.paced(ctx, func(ctx context.Context) error {
			left, err := s.commit(ctx, some)
			expired = append(left, expired...)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// commit deletes records in one commit, each by itself. It returns those for which there was no room.
func (s *Sweep) commit(ctx context.Context, records []store.Record) (left []store.Record, err error) {
	changes := make([]store.Change, len(records))
	for i, r := range records {
		changes[i].Writes = []store.Write{{Key: r.Key, Delete: true, Expect: r.Revision}}
	}
	for i, err := range s.run.Commit(ctx, changes, nil) {
		switch {
		case err == nil:
			s.deleted.Add(1)
		case errors.Is(err, store.ErrConflict): // it was written or deleted since
		case i > 0 && (errors.Is(err, store.ErrTooBig) || errors.Is(err, store.ErrRetry)):
			left = append(left, records[i])
		default:
			return nil, err
		}
	}
	return left, nil
}
