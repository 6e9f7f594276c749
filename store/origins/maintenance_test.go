package origins_test

import (
	"errors"
	"testing"
	"time"

	"tokenbroker/store"
	"tokenbroker/store/memstore"
	"tokenbroker/store/origins"
)

// program adds a program that needs the store for itself.
func (w *world) program(what string) *broker {
	b := w.add(what)
	b.maintenance = what
	return b
}

// marked reports whether the store is taken.
func (w *world) marked() bool {
	w.t.Helper()
	_, err := w.engine.Open(nil).Get(w.t.Context(), origins.MaintenanceKey)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		w.t.Fatal(err)
	}
	return err == nil
}

func TestAProgramThatNeedsTheStoreIsRefusedByARunningBroker(t *testing.T) {
	w := newWorld(t)
	a := w.join("a")
	w.run(10 * time.Second)
	before := w.now
	wantErr(t, w.program("restore").join(), origins.ErrRunning)
	if w.now-before > 7*time.Second || w.marked() {
		t.Errorf("refused after %v, marked: %v", w.now-before, w.marked())
	}
	wantErr(t, a.put("k", 0), nil)
	wantErr(t, a.Leave(t.Context()), nil)
	a.stopped, before = true, w.now
	wantErr(t, w.program("restore").join(), nil)
	if w.now != before || !w.marked() {
		t.Errorf("after the broker has ended: joined after %v, marked: %v", w.now-before, w.marked())
	}
}

// TestAProgramEndsABrokerThatDoesNotRun also checks that no broker joins until the program has finished, neither a new one nor
// the one that was stopped.
func TestAProgramEndsABrokerThatDoesNotRun(t *testing.T) {
	w := newWorld(t)
	a := w.join("a")
	wantErr(t, a.revoke("s1"), nil)
	a.stopped = true
	p := w.program("restore")
	wantErr(t, p.join(), nil)
	if w.now < 30*time.Second || w.now > 40*time.Second {
		t.Errorf("ended a broker after %v", w.now)
	}
	p.stopped = true // it does not tick
	w.run(time.Minute)
	wantErr(t, a.put("k", 0), store.ErrFenced)
	wantErr(t, a.Rejoin(t.Context()), origins.ErrMaintenance)
	wantErr(t, w.add("b").join(), origins.ErrMaintenance)
	wantErr(t, p.put("k", 0), nil)
	before := w.now
	wantErr(t, p.Finish(t.Context()), nil)
	if r, ok := w.record(p.Origin()); w.marked() || ok && !r.Ended {
		t.Errorf("after the program: marked %v, %+v", w.marked(), r)
	}
	wantErr(t, p.put("k2", 0), store.ErrClosed)
	wantErr(t, a.Rejoin(t.Context()), nil)
	w.join("b")
	if w.now != before {
		t.Errorf("brokers waited for %v", w.now-before)
	}
}

// TestABrokerAndAProgramThatJoinAtTheSameTime lets one join at each commit of the other: only one of them joins.
func TestABrokerAndAProgramThatJoinAtTheSameTime(t *testing.T) {
	for _, first := range []string{"the broker", "the program"} {
		for at := range 4 {
			w := newWorld(t)
			a, p := w.add("a"), w.program("restore")
			one, other := a, p
			if first == "the program" {
				one, other = p, a
			}
			n, done := 0, false
			var otherErr error
			one.faults = func(op memstore.Op) memstore.Fault {
				if op.Kind == memstore.OpCommit || op.Kind == memstore.OpGet {
					if n++; n == at+1 {
						done = true
						otherErr = other.join()
					}
				}
				return memstore.OK
			}
			oneErr := one.join()
			if !done {
				continue
			}
			aErr, pErr := oneErr, otherErr
			if first == "the program" {
				aErr, pErr = otherErr, oneErr
			}
			switch {
			case aErr == nil && errors.Is(pErr, origins.ErrRunning) && !w.marked():
			case pErr == nil && errors.Is(aErr, origins.ErrMaintenance) && w.marked():
				if a.Run != nil {
					t.Error("a run and an error")
				}
			default:
				t.Errorf("%s first, at %d: broker %v, program %v, marked %v", first, at, aErr, pErr, w.marked())
			}
		}
	}
}

// TestTwoProgramsThatJoinAtTheSameTime lets one join at each read and commit of the other: at most one of them has the
// store, even if both do the same.
func TestTwoProgramsThatJoinAtTheSameTime(t *testing.T) {
	for at := range 12 {
		w := newWorld(t)
		one, other := w.program("restore"), w.program("restore")
		other.name = "restore2"
		n := 0
		var otherErr error
		one.faults = func(op memstore.Op) memstore.Fault {
			if op.Kind != memstore.OpHint {
				if n++; n == at+1 {
					otherErr = other.join()
				}
			}
			return memstore.OK
		}
		oneErr := one.join()
		if n > at && oneErr == nil && otherErr == nil {
			t.Errorf("at %d: both have the store", at)
		}
		if (oneErr == nil || n > at && otherErr == nil) && !w.marked() {
			t.Errorf("at %d: the store is not marked", at)
		}
	}
}

func TestAnInterruptedProgramHasToBeRunAgain(t *testing.T) {
	w := newWorld(t)
	p := w.program("restore")
	wantErr(t, p.join(), nil)
	if m, err := origins.ReadMaintenance(t.Context(), p); m.What != "restore" || m.Replaces || err != nil {
		t.Errorf("at first: %+v %v", m, err)
	}
	wantErr(t, p.Replace(t.Context(), ""), nil)
	p.stopped = true
	wantErr(t, w.add("a").join(), origins.ErrMaintenance)
	wantErr(t, w.program("floor raise").join(), origins.ErrMaintenance)
	again := w.program("restore")
	wantErr(t, again.join(), nil)
	if w.now < 5*time.Second || w.now > 10*time.Second {
		t.Errorf("waited %v for the interrupted one", w.now)
	}
	if m, err := origins.ReadMaintenance(t.Context(), again); !m.Replaces || err != nil {
		t.Errorf("after an interruption: %+v %v", m, err)
	}
	wantErr(t, p.put("k", 0), store.ErrFenced)
	wantErr(t, p.Finish(t.Context()), store.ErrFenced)
	again.faults = func(op memstore.Op) memstore.Fault {
		if op.Kind == memstore.OpCommit {
			return memstore.LoseAnswer
		}
		return memstore.OK
	}
	wantErr(t, again.Finish(t.Context()), nil)
	w.join("a")
}

// TestAProgramThatCannotJoinLeavesNothing refuses each of its commits in turn.
func TestAProgramThatCannotJoinLeavesNothing(t *testing.T) {
	for at := range 2 {
		w := newWorld(t)
		p := w.program("restore")
		n := 0
		p.faults = func(op memstore.Op) memstore.Fault {
			if op.Kind == memstore.OpCommit {
				if n++; n == at+1 {
					return memstore.Refuse
				}
			}
			return memstore.OK
		}
		wantErr(t, p.join(), store.ErrUnavailable)
		if w.marked() {
			t.Errorf("the record is left after commit %d failed", at)
		}
		w.join("a")
	}
}
