package ledger_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/revocation/ledger"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
	"tokenbroker/store/origins"
)

// batchKeys are the batches on the engine.
func (m *member) batchKeys() []string { return m.keys("ledger.batch.") }

// passes lets time pass while all brokers tick.
func (c *cluster) passes(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		c.tick()
	}
}

func (m *member) collected(t *testing.T, want int) {
	t.Helper()
	before := m.Collected()
	if n, err := m.Collect(t.Context()); err != nil || n != want {
		t.Errorf("collected %d, want %d: %v", n, want, err)
	}
	if n := m.Collected() - before; n != uint64(want) {
		t.Errorf("counted %d, want %d", n, want)
	}
}

func TestOneBrokerCollectsForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := c.join(), c.join()
		for i := range 60 {
			a.revoke(sid(fmt.Sprint("a", i)))
			b.revoke(sid(fmt.Sprint("b", i)))
		}
		long := sid("long")
		long.ExpiresAt += 3600
		b.revoke(long)
		last := long.At + 60
		a.collected(t, 0)
		b.collected(t, 0)
		c.passes(50 * time.Second)
		a.collected(t, 0)
		c.passes(20 * time.Second)
		b.collected(t, 0) // a collects
		if got := values(b.answer("").Events); got == "long" {
			t.Error("a broker dropped what the collector has not deleted")
		}
		a.collected(t, 120)
		b.collected(t, 0)
		if keys := a.batchKeys(); len(keys) != 1 || a.TimeFloor() != last || b.TimeFloor() != last {
			t.Errorf("left %v, floors %d and %d, want %d", keys, a.TimeFloor(), b.TimeFloor(), last)
		}
		for _, m := range []*member{a, b} {
			got := m.answer(at(a, 3, b, 0)) // what was collected is left out of a delta
			if got.Full || values(got.Events) != "long" || !maps.Equal(headsOf(got), map[string]uint64{a.Origin(): 60, b.Origin(): 61}) {
				t.Errorf("full %v, %q, heads %v", got.Full, values(got.Events), headsOf(got))
			}
		}
		d := c.join()
		if got := d.answer(""); values(got.Events) != "long" || headsOf(got)[a.Origin()] != 60 || got.TimeFloor != last {
			t.Errorf("a new broker: %+v", got)
		}
	})
}

// TestASlowClockDelaysAndAFastOneDoesNotCollect: the smallest clock of the live brokers decides.
func TestASlowClockDelaysAndAFastOneDoesNotCollect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := c.joinWith(1500*time.Millisecond), c.join()
		a.collected(t, 0)
		e := sid("s1")
		a.revoke(e)
		if err := b.Barrier(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.passes(50 * time.Second)
		time.Sleep(time.Until(time.Unix(e.ExpiresAt, 0).Add(time.Millisecond)))
		_ = b.run.Tick(t.Context())
		if a.Now().Unix() <= e.ExpiresAt || b.Now().Unix() > e.ExpiresAt {
			t.Fatalf("this test sees nothing: clocks %v and %v", a.Now(), b.Now())
		}
		a.collected(t, 0) // the event has ended by its clock, and was held for its length
		c.passes(14 * time.Second)
		a.collected(t, 1)
	})
}

// TestABatchIsHeldForItsLengthAfterItWasLoaded: the collector does not know how long it was in force before.
func TestABatchIsHeldForItsLengthAfterItWasLoaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		b := c.join()
		b.revoke(sid("s1"))
		c.passes(50 * time.Second)
		a := c.join() // loads it
		ends(t, c, b)
		c.passes(45 * time.Second)
		a.collected(t, 0)
		c.passes(15 * time.Second)
		a.collected(t, 1)
	})
}

// TestAnEngineWithSmallTransactions: it does not accept the deletion of a whole page.
func TestAnEngineWithSmallTransactions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.join()
		for i := range 60 {
			a.revoke(sid(fmt.Sprint("s", i)))
		}
		c.passes(70 * time.Second)
		c.engine.Limit(20)
		a.collected(t, 60)
	})
}

func TestTwoCollectorsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := c.join(), c.join()
		for i := range 120 {
			a.revoke(sid(fmt.Sprint("a", i)))
		}
		if err := b.Barrier(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.passes(70 * time.Second)
		done := 0
		a.fault = func(op memstore.Op) memstore.Fault {
			if op.Kind == memstore.OpCommit && deletes(op) && done == 0 {
				// The collector pauses in a commit; another one takes over and finishes.
				done = 1
				c.takeOver(t, b)
				b.collected(t, 120)
			}
			return memstore.OK
		}
		if _, err := a.Collect(t.Context()); err != nil {
			t.Error(err)
		}
		if keys := a.batchKeys(); len(keys) > 0 || done == 0 {
			t.Errorf("left %d batches", len(keys))
		}
		for _, m := range []*member{a, b} {
			if got := m.answer(""); len(got.Events) > 0 {
				t.Errorf("%q", values(got.Events))
			}
		}
	})
}

// TestACollectorThatPausedDoesNotLowerTheFloor: another one took over and moved it in the meantime.
func TestACollectorThatPausedDoesNotLowerTheFloor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.join()
		first := sid("first")
		a.revoke(first)
		c.passes(28 * time.Second)
		b := c.join() // holds the first batch until its length has run again
		second := sid("second")
		second.ExpiresAt = first.ExpiresAt + 2
		a.revoke(second)
		if err := b.Barrier(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Until(time.Unix(first.ExpiresAt+1, 0)))
		b.revoke(sid("other")) // its clock on record is past the first end and not past the second
		time.Sleep(2 * time.Second)
		paused := false
		a.fault = func(op memstore.Op) memstore.Fault {
			if op.Kind == memstore.OpCommit && deletes(op) && !paused {
				paused = true
				c.passes(14 * time.Second)
				c.takeOver(t, b)
				b.collected(t, 1)
			}
			return memstore.OK
		}
		a.collected(t, 1)
		r, err := a.store.Get(t.Context(), "ledger.time_floor")
		if want := fmt.Sprintf(`{"v":1,"time_floor":%d}`, second.ExpiresAt); err != nil || string(r.Value) != want || !paused {
			t.Errorf("the floor is %s, want %s: %v", r.Value, want, err)
		}
	})
}

// deletes reports whether a commit deletes batches.
func deletes(op memstore.Op) bool {
	for _, change := range op.Changes {
		for _, w := range change.Writes {
			if w.Delete {
				return true
			}
		}
	}
	return false
}

// takeOver makes a member the collector, as if the last one had been silent for long.
func (c *cluster) takeOver(t *testing.T, m *member) {
	t.Helper()
	handle := c.engine.Open(nil)
	w := store.Write{Key: "collector", Delete: true, Blind: true}
	if _, errs := handle.CommitFenced(t.Context(), store.Fence{}, []store.Change{{Writes: []store.Write{w}}}, nil); errs[0] != nil {
		t.Fatal(errs[0])
	}
}

// TestACollectorDeletesWhatItForgotBefore: it dropped from memory what the one before it has not deleted.
func TestACollectorDeletesWhatItForgotBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := c.join(), c.join()
		for i := range 60 {
			a.revoke(sid(fmt.Sprint("s", i)))
		}
		if err := b.Barrier(t.Context()); err != nil {
			t.Fatal(err)
		}
		a.collected(t, 0)
		c.passes(70 * time.Second)
		commits := 0
		a.fault = func(op memstore.Op) memstore.Fault {
			if op.Kind == memstore.OpCommit && deletes(op) {
				if commits++; commits > 1 {
					return memstore.Refuse
				}
			}
			return memstore.OK
		}
		n, err := a.Collect(t.Context())
		if n == 0 || n == 60 || err == nil {
			t.Fatalf("collected %d, %v", n, err)
		}
		b.collected(t, 0) // drops all
		c.takeOver(t, b)
		b.collected(t, 60-n)
		if keys := a.batchKeys(); len(keys) > 0 {
			t.Errorf("left %v", keys)
		}
	})
}

// TestAnEventCollectedBeforeItWasFollowed: the batch is absent at or below the head, and no broker waits for it.
func TestAnEventCollectedBeforeItWasFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := c.join(), c.join()
		a.collected(t, 0)
		for i := range 3 {
			a.revoke(sid(fmt.Sprint("s", i)))
		}
		end := time.Now().Unix() + 60
		c.passes(70 * time.Second)
		collected := false
		b.fault = func(op memstore.Op) memstore.Fault {
			if op.Kind == memstore.OpList && op.Key != origins.Prefix && !collected { // after its view
				collected = true
				a.collected(t, 3)
			}
			return memstore.OK
		}
		got := b.answer("")
		if !collected || len(got.Events) > 0 || headsOf(got)[a.Origin()] != 3 || got.TimeFloor < end {
			t.Errorf("%q, heads %v, floor %d, want %d", values(got.Events), headsOf(got), got.TimeFloor, end)
		}
	})
}

func TestSilentBrokersDoNotCollect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := c.join(), c.join()
		a.revoke(sid("s1"))
		c.passes(70 * time.Second)
		ends(t, c, a)
		c.tick()
		if n, err := a.Collect(t.Context()); n != 0 || !errors.Is(err, ledger.ErrSilent) {
			t.Errorf("collected %d, %v", n, err)
		}
		if got := values(b.answer("").Events); got != "s1" {
			t.Errorf("left %q", got)
		}
	})
}

// TestWhatAnotherCollectorDeletedIsDroppedUnderItsFloor: this one was about to delete the same batches.
func TestWhatAnotherCollectorDeletedIsDroppedUnderItsFloor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := c.join(), c.join()
		e := sid("s1")
		a.revoke(e)
		if err := b.Barrier(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.passes(70 * time.Second)
		paused, last := false, memstore.OpList
		a.fault = func(op memstore.Op) memstore.Fault {
			if op.Kind == memstore.OpGetMany && last == memstore.OpGetMany && !paused { // the one after its view's own
				paused = true
				c.takeOver(t, b)
				b.collected(t, 1)
			}
			last = op.Kind
			return memstore.OK
		}
		a.collected(t, 0)
		if !paused || a.TimeFloor() < e.ExpiresAt {
			t.Errorf("the floor %d is below the end %d of what was dropped", a.TimeFloor(), e.ExpiresAt)
		}
	})
}

// TestABatchCollectedBetweenOthersBeforeItWasFollowed: the later batches of its origin are there, so that only the gap
// shows it.
func TestABatchCollectedBetweenOthersBeforeItWasFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := c.join(), c.join()
		a.collected(t, 0)
		short, long := sid("short"), sid("long")
		long.ExpiresAt += 3600
		a.revoke(short)
		a.revoke(long)
		c.passes(70 * time.Second)
		collected := false
		b.fault = func(op memstore.Op) memstore.Fault {
			if op.Kind == memstore.OpList && op.Key != origins.Prefix && !collected { // after its view
				collected = true
				a.collected(t, 1)
			}
			return memstore.OK
		}
		got := b.answer("")
		if !collected || values(got.Events) != "long" || got.TimeFloor < short.ExpiresAt {
			t.Errorf("%q, floor %d, want %d", values(got.Events), got.TimeFloor, short.ExpiresAt)
		}
	})
}

// TestAClockThatIsSetBackDuringACollection: by that clock a batch that is due has not expired.
func TestAClockThatIsSetBackDuringACollection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := c.join(), c.join()
		for i := range 3 {
			a.revoke(sid(fmt.Sprint("s", i)))
		}
		c.passes(70 * time.Second)
		views := 0
		a.fault = func(op memstore.Op) memstore.Fault {
			if op.Kind == memstore.OpList && op.Key == origins.Prefix {
				if views++; views == 3 { // the one before the deletion
					b.skew = -30 * time.Second
					b.revoke(sid("late"))
				}
			}
			return memstore.OK
		}
		if n, err := a.Collect(t.Context()); n != 0 || err == nil || !strings.Contains(err.Error(), "behind") || len(a.batchKeys()) != 4 {
			t.Errorf("collected %d, left %v: %v", n, a.batchKeys(), err)
		}
		if got := a.answer(""); len(got.Events) != 4 {
			t.Errorf("%q is left in memory", values(got.Events))
		}
		c.passes(42 * time.Second)
		a.collected(t, 3)
	})
}
