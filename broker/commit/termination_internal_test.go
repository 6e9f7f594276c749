package commit

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/revocation"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
)

// countedStore counts the commits. If refuse is set, it refuses them all with that error.
type countedStore struct {
	store.Store
	commits int
	refuse  error
}

func (s *countedStore) Commit(ctx context.Context, changes []store.Change, seal store.Seal) []error {
	s.commits++
	if s.refuse != nil {
		errs := make([]error, len(changes))
		for i := range errs {
			errs[i] = s.refuse
		}
		return errs
	}
	return s.Store.Commit(ctx, changes, seal)
}

// listLedger lists the recorded events. It refuses events with the value "unsealable".
type listLedger struct {
	broker.Ledger
	pending, events []revocation.Event
}

func (l *listLedger) Seal(accepted []revocation.Event) ([]store.Write, error) {
	for _, e := range accepted {
		if e.Value == "unsealable" {
			return nil, errors.New("cannot be encoded")
		}
	}
	l.pending = append([]revocation.Event(nil), accepted...)
	return nil, nil
}

func (l *listLedger) Committed() uint64 {
	l.events = append(l.events, l.pending...)
	return uint64(len(l.events))
}

type fixedClock struct{ now time.Time }

func (c fixedClock) Now() time.Time { return c.now }

// RecordedTimeFloor implements [broker.Clock].
func (fixedClock) RecordedTimeFloor() int64 { return 0 }

// newTestCommitter returns a committer on the in-memory store.
func newTestCommitter() (*committer, *countedStore, *listLedger) {
	disk, ledger := &countedStore{Store: memstore.New(nil)}, &listLedger{}
	return &committer{
		maxExp: new(atomic.Int64),
		store:  disk, ledger: ledger, fatal: func(error) {}, observe: noObserver{},
		clock: fixedClock{time.UnixMilli(1_800_000_000_000)}, accessLife: 5 * time.Minute,
	}, disk, ledger
}

// ends returns a request with a termination for value, which writes its record. The record must be new.
func ends(value string, plain ...store.Write) commitRequest {
	return commitRequest{changes: []change{{
		Change: store.Change{Writes: plain},
		termination: &Termination{Kind: revocation.KindSub, Value: value, Reason: revocation.ReasonRevoked,
			Writes: func(context.Context, int64) ([]store.Write, error) {
				if value == "unreadable" {
					return nil, errors.New("cannot be read")
				}
				return []store.Write{{Key: "user." + value}}, nil
			}},
	}}}
}

// TestTerminationsShareACommitButNotTheirErrors: all terminations that can be committed are, each with its own
// epoch, in order. A refused change leaves nothing.
func TestTerminationsShareACommitButNotTheirErrors(t *testing.T) {
	other := errors.New("another error")
	for name, row := range map[string]struct {
		request commitRequest
		want    error // or other: any error
		commits int
	}{
		"one meets a conflict":                        {ends("b", store.Write{Key: "session", Expect: 7}), store.ErrConflict, 4},
		"one's event cannot be recorded":              {ends("unsealable"), other, 4},
		"one's record cannot be read":                 {ends("unreadable"), other, 1},
		"one's record was written by one":             {ends("a"), store.ErrConflict, 2}, // it waits, and then finds the record
		"one meets a conflict and terminates nothing": {commitRequest{changes: []change{{Change: store.Change{Writes: []store.Write{{Key: "x", Expect: 7}}}}}}, store.ErrConflict, 2},
	} {
		t.Run(name, func(t *testing.T) {
			c, disk, ledger := newTestCommitter()
			results := c.handle(t.Context(), []commitRequest{ends("a"), row.request, ends("c", store.Write{Key: "session.c"})})
			switch err := results[1].Value.errs[0]; {
			case err == nil, !errors.Is(row.want, other) && !errors.Is(err, row.want):
				t.Errorf("got %v, want %v", err, row.want)
			case results[1].Value.epochs[0] != 0 || results[1].Value.seq != 0:
				t.Errorf("a refused change has an epoch: %+v", results[1].Value)
			}
			a, last := results[0].Value, results[2].Value
			if a.errs[0] != nil || last.errs[0] != nil || a.seq == 0 || last.seq == 0 || a.epochs[0] >= last.epochs[0] || a.epochs[0] < 1_800_000_000_000 {
				t.Fatalf("the others: %+v, %+v", a, last)
			}
			if len(ledger.events) != 2 || ledger.events[0].Epoch != a.epochs[0] || ledger.events[1].Epoch != last.epochs[0] {
				t.Errorf("events %+v", ledger.events)
			}
			if disk.commits != row.commits {
				t.Errorf("%d commits, want %d", disk.commits, row.commits)
			}
			floor, _, err := ReadFloor(t.Context(), disk)
			if err != nil || floor.Last != last.epochs[0] || floor.Epoch != 0 {
				t.Errorf("floor %+v, %v", floor, err)
			}
			if _, err := disk.Get(t.Context(), "session.c"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTerminationsRefusedByTheStoreAreNotTriedOneByOne(t *testing.T) {
	for _, refuse := range []error{store.ErrReadOnly, store.ErrUncertain, store.ErrClosed, store.ErrUnavailable, store.ErrFenced} {
		c, disk, ledger := newTestCommitter()
		disk.refuse = refuse
		for _, r := range c.handle(t.Context(), []commitRequest{ends("a"), ends("b"), ends("c")}) {
			if !errors.Is(r.Value.errs[0], refuse) || r.Value.epochs[0] != 0 {
				t.Errorf("%v: %+v", refuse, r.Value)
			}
		}
		if disk.commits != 1 || len(ledger.events) != 0 {
			t.Errorf("%v: %d commits, %d events", refuse, disk.commits, len(ledger.events))
		}
	}
}

// TestAnEpochIsAboveAllEarlierOnes, even after the clock was set back.
func TestAnEpochIsAboveAllEarlierOnes(t *testing.T) {
	c, disk, _ := newTestCommitter()
	ask := func(kind revocation.Kind) int64 {
		t.Helper()
		results := c.handle(t.Context(), []commitRequest{{changes: []change{{termination: &Termination{Kind: kind}}}}})
		if err := results[0].Value.errs[0]; err != nil {
			t.Fatal(err)
		}
		return results[0].Value.epochs[0]
	}
	first := ask(revocation.KindAll)
	c.clock = fixedClock{time.UnixMilli(1_700_000_000_000)}
	second := ask(revocation.KindClient)
	floor, _, err := ReadFloor(t.Context(), disk)
	if err != nil || second != first+1 || floor.Last != second || floor.Epoch != first {
		t.Errorf("%d, then %d; floor %+v, %v", first, second, floor, err)
	}
}
