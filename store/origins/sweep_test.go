package origins_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"tokenbroker/store"
	"tokenbroker/store/memstore"
	"tokenbroker/store/origins"
)

// sweeps returns a sweep of a broker that collects.
func (b *broker) sweeps() *origins.Sweep {
	b.world.t.Helper()
	if _, ok, err := b.Collector(b.world.t.Context()); !ok || err != nil {
		b.world.t.Fatal(ok, err)
	}
	return b.NewSweep(b.handle)
}

// putUntil writes records that expire at a time after the start.
func (b *broker) putUntil(at time.Duration, keys ...string) {
	b.world.t.Helper()
	for _, key := range keys {
		w := store.Write{Key: key, Value: []byte("v"), Blind: true, ExpiresAt: start.Add(at).Unix()}
		wantErr(b.world.t, b.Commit(b.world.t.Context(), []store.Change{{Writes: []store.Write{w}}}, nil)[0], nil)
	}
}

// kept returns the number of records that have an expiry.
func (w *world) kept() int {
	w.t.Helper()
	records, _, err := w.engine.Open(nil).Expired(w.t.Context(), 1<<60, "", 1<<20)
	wantErr(w.t, err, nil)
	return len(records)
}

func mustPass(t *testing.T, s *origins.Sweep, want bool) {
	t.Helper()
	if done, err := s.Pass(t.Context()); done != want || err != nil {
		t.Fatalf("done: %v, %v; want %v", done, err, want)
	}
}

func TestASweepWaitsForTheSmallestClock(t *testing.T) {
	w := newWorld(t)
	a, b := w.join("a"), w.join("b")
	a.putUntil(time.Hour, "k")
	wantErr(t, a.put("without", 0), nil)
	b.skew = -1500 * time.Millisecond
	w.run(10 * time.Second)
	s := a.sweeps()
	w.now = 2 * time.Hour // the clock of a is an hour past the expiry, that of b is not
	w.run(time.Second)
	wantErr(t, b.put("other", 0), nil)
	mustPass(t, s, true)
	if w.kept() != 1 || s.Deleted() != 0 {
		t.Fatalf("%d records, %d deleted", w.kept(), s.Deleted())
	}
	w.run(10 * time.Second)
	mustPass(t, s, true)
	if w.kept() != 0 || s.Deleted() != 1 || s.Completed() != start.Add(w.now).Unix() {
		t.Errorf("%d records, %d deleted, completed at %d", w.kept(), s.Deleted(), s.Completed())
	}
	if w.value("without") != "a" || w.value("other") != "b" {
		t.Error("a record without expiry was deleted")
	}
}

func TestOnlyTheCollectorSweeps(t *testing.T) {
	w := newWorld(t)
	a, b := w.join("a"), w.join("b")
	a.putUntil(0, "k")
	w.now = 2 * time.Hour
	w.run(10 * time.Second)
	s, other := b.sweeps(), a.NewSweep(a.handle)
	mustPass(t, other, false)
	b.skew = time.Minute // the younger one of two is silent
	w.run(10 * time.Second)
	mustPass(t, s, false)
	if w.kept() != 1 || s.Completed() != 0 {
		t.Fatal("a broker swept that does not collect")
	}
	b.skew = 0
	w.run(30 * time.Second)
	mustPass(t, s, true)
	if w.kept() != 0 {
		t.Error("the collector did not sweep")
	}
}

// TestASweepLeavesTimeToTheOthers: operations of the engine take ten milliseconds.
func TestASweepLeavesTimeToTheOthers(t *testing.T) {
	w := newWorld(t)
	a := w.join("a")
	const records = 1300
	for i := range records {
		a.putUntil(0, fmt.Sprintf("k%04d", i))
	}
	w.now = 2 * time.Hour
	w.run(10 * time.Second)
	s := a.sweeps()
	used, largest, pages := time.Duration(0), 0, 0
	a.faults = func(op memstore.Op) memstore.Fault {
		if op.Kind == memstore.OpCommit {
			largest = max(largest, len(op.Changes)-1) // one is the run's
		}
		if op.Kind == memstore.OpList && op.Key == "" {
			pages++
		}
		w.now += 10 * time.Millisecond
		used += 10 * time.Millisecond
		return memstore.OK
	}
	began := w.now
	mustPass(t, s, true)
	if s.Deleted() != records || w.kept() != 0 {
		t.Errorf("deleted %d, left %d", s.Deleted(), w.kept())
	}
	if took := w.now - began; took < 20*used {
		t.Errorf("the pass took %v, of which the engine %v", took, used)
	}
	if largest != 60 || pages != 3 {
		t.Errorf("%d records in a commit, %d pages", largest, pages)
	}
}

// TestASweepKeepsWhatWasWrittenSince the record was found to have expired.
func TestASweepKeepsWhatWasWrittenSince(t *testing.T) {
	w := newWorld(t)
	a, b := w.join("a"), w.join("b")
	a.putUntil(0, "gone", "prolonged")
	w.now = 2 * time.Hour
	w.run(10 * time.Second)
	s := a.sweeps()
	a.faults = func(op memstore.Op) memstore.Fault {
		if op.Kind == memstore.OpCommit {
			b.putUntil(0, "prolonged")
		}
		return memstore.OK
	}
	mustPass(t, s, true)
	if s.Deleted() != 1 || w.kept() != 1 {
		t.Errorf("deleted %d, left %d", s.Deleted(), w.kept())
	}
}

// TestASweepFitsItsCommits: the engine accepts seven operations.
func TestASweepFitsItsCommits(t *testing.T) {
	w := newWorld(t)
	a := w.join("a")
	for i := range 100 {
		a.putUntil(0, fmt.Sprint("k", i))
	}
	w.now = 2 * time.Hour
	w.run(10 * time.Second)
	s := a.sweeps()
	w.engine.Limit(7)
	mustPass(t, s, true)
	if s.Deleted() != 100 || w.kept() != 0 {
		t.Errorf("deleted %d, left %d", s.Deleted(), w.kept())
	}
}

// TestAFailedPassContinues where it was, and skips the batches of revocations.
func TestAFailedPassContinues(t *testing.T) {
	w := newWorld(t)
	a := w.join("a")
	for i := range 600 {
		a.putUntil(0, fmt.Sprintf("a%03d", i))
		wantErr(t, a.put(batch("o", uint64(i)), 0), nil)
		wantErr(t, a.put(batch("p", uint64(i)), 0), nil)
	}
	a.putUntil(0, "z")
	w.now = 2 * time.Hour
	w.run(10 * time.Second)
	s := a.sweeps()
	var pages int
	fail := true
	a.faults = func(op memstore.Op) memstore.Fault {
		if op.Kind == memstore.OpList && op.Key == "" {
			if pages++; pages == 2 && fail {
				return memstore.Refuse
			}
		}
		return memstore.OK
	}
	if done, err := s.Pass(t.Context()); done || !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("%v, %v", done, err)
	}
	if s.Deleted() != 500 {
		t.Errorf("deleted %d", s.Deleted())
	}
	mustPass(t, s, true)
	if s.Deleted() != 601 || pages != 4 {
		t.Errorf("deleted %d in %d pages", s.Deleted(), pages)
	}
}

// TestASweepRunsUntilItsContextEnds and waits an hour after a complete pass, five seconds after one that was not.
func TestASweepRunsUntilItsContextEnds(t *testing.T) {
	w := newWorld(t)
	a := w.join("a")
	a.putUntil(0, "k")
	w.now = 2 * time.Hour
	w.run(10 * time.Second)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var waits []time.Duration
	a.slept = func(d time.Duration) {
		switch waits = append(waits, d); len(waits) {
		case 2:
			a.sweeps()
		case 6:
			cancel()
		}
	}
	s := a.NewSweep(a.handle)
	s.Run(ctx)
	want := []time.Duration{0, 0, 5 * time.Second, 0, 0, time.Hour} // a page, then a page with a commit
	if !slices.Equal(waits, want) || s.Deleted() != 1 {
		t.Errorf("waits: %v, want %v; %d deleted", waits, want, s.Deleted())
	}
}
