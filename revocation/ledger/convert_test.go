package ledger_test

import (
	"context"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
	"tokenbroker/store/origins"
)

// convert writes the records of a ledger, in the form that conversion makes, to a store.
func convert(t *testing.T, from ledger.Records, to *memstore.Handle, conversion func(write func(store.Write) error) error) {
	t.Helper()
	write := func(w store.Write) error {
		w.Blind = true
		_, errs := to.CommitFenced(t.Context(), store.Fence{}, []store.Change{{Writes: []store.Write{w}}}, nil)
		return errs[0]
	}
	err := from.Each(t.Context(), "", func(w store.Write) error {
		if ledger.Converted(w.Key) {
			return nil
		}
		return write(w)
	})
	if err == nil {
		err = conversion(write)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// toShared returns the engine with the ledger of a single broker that has ended.
func toShared(t *testing.T, from ledger.Records, storeID string) *cluster {
	t.Helper()
	c := newCluster(t)
	convert(t, from, c.engine.Open(nil), func(write func(store.Write) error) error {
		return ledger.ToShared(t.Context(), from, storeID, "k", time.Now(), write)
	})
	return c
}

// single is a single broker on an engine that can be read with Each.
type single struct{ *memstore.Handle }

// Commit implements [store.Store].
func (s single) Commit(ctx context.Context, changes []store.Change, seal store.Seal) []error {
	_, errs := s.CommitFenced(ctx, store.Fence{}, changes, seal)
	return errs
}

func newSingle() single { return single{memstore.NewEngine(nil).Open(nil)} }

// events returns the strongest events, with the operators and without their begin, which may be that of an older event of the same
// value.
func (p *process) events() map[string]revocation.Event {
	p.t.Helper()
	all := map[string]revocation.Event{}
	list, _, err := p.List(p.t.Context(), "", 1000)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, e := range list {
		e.At = 0
		all[string(e.Kind)+" "+e.Value] = e
	}
	return all
}

func (p *process) wantEvents(want map[string]revocation.Event) {
	p.t.Helper()
	if got := p.events(); !maps.Equal(got, want) {
		p.t.Errorf("the events are\n%v, want\n%v", got, want)
	}
}

// lasting returns an event that ends after d.
func lasting(value string, d time.Duration) revocation.Event {
	e := sid(value)
	e.ExpiresAt = e.At + int64(d/time.Second)
	return e
}

// TestASingleBrokersRevocationsAreThoseOfItsSuccessors moves the ledger of a single broker to an engine that brokers share and
// back: no event is lost or changed.
func TestASingleBrokersRevocationsAreThoseOfItsSuccessors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSingle()
		one := start(t, s)
		byOperator := lasting("s1", time.Hour)
		byOperator.By = "uid 0"
		one.revoke(byOperator, sub("u1", 3))
		one.revoke(lasting("short", time.Minute))
		merged := sub("u3", 5)
		merged.ExpiresAt += 3600
		one.revoke(merged)
		one.revoke(sub("u3", 9))
		one.Close()
		// This run collects the batches with the ends of the short ones, among them that with the higher epoch of u3.
		time.Sleep(2 * time.Minute)
		two := start(t, s)
		time.Sleep(2 * time.Minute)
		if two.collect() == 0 {
			t.Fatal("nothing was collected")
		}
		// The end of the merged event is in no batch.
		two.revoke(sub("u1", 4))
		weaker := sub("u2", 9)
		two.revoke(weaker)
		later := sub("u2", 5)
		later.ExpiresAt += 600
		two.revoke(later, lasting("s2", time.Hour))
		want := two.events()
		two.Close()

		c := toShared(t, s, two.StoreID())
		a := c.join()
		if a.StoreID() != two.StoreID() || a.TimeFloor() != two.TimeFloor() || a.TimeFloor() == 0 {
			t.Errorf("store %s at %d, want %s at %d", a.StoreID(), a.TimeFloor(), two.StoreID(), two.TimeFloor())
		}
		a.wantEvents(want)
		for _, sid := range []string{"s1", "s2"} {
			if !a.denylist.Revoked(revocation.Subject{SID: sid}) {
				t.Errorf("the session %s is valid", sid)
			}
		}
		a.revoke(lasting("s3", time.Hour))
		want = a.events()
		heads, err := a.Heads(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		a.Close()
		if err := a.run.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}

		back := newSingle()
		from := c.engine.Open(nil)
		convert(t, from, back.Handle, func(write func(store.Write) error) error { return ledger.ToSingle(t.Context(), from, write) })
		three := start(t, back)
		defer three.Close()
		three.wantEvents(want)

		// The heads of all former origins are known to the next shared store.
		d := toShared(t, back, three.StoreID())
		b := d.join()
		b.wantEvents(want)
		again, err := b.Heads(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(again, heads) {
			t.Errorf("the heads are %v, they were %v", again, heads)
		}
	})
}

// TestAServiceFollowsASingleBrokersStoreToItsSuccessors lets a service that follows a single broker catch up with a broker of the
// shared store: it neither sees a rewound store nor asks for a full answer.
func TestAServiceFollowsASingleBrokersStoreToItsSuccessors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSingle()
		one := start(t, s)
		began := time.Now()
		instant := func() revocation.Instant {
			return revocation.Instant{Mono: time.Since(began), WallMS: time.Now().UnixMilli()}
		}
		tracker := revocation.NewTracker(instant(), revocation.TrackerConfig{})
		catchUp := func(p *process) (full bool) {
			t.Helper()
			eff := tracker.Gap(instant())
			for ; eff.CatchUp == nil; eff = tracker.Tick(instant()) {
				time.Sleep(time.Second)
			}
			a := p.answer(eff.CatchUp.After)
			tracker.CatchUpDone(instant(), eff.CatchUp.ID, &a, nil)
			if state := tracker.State(instant()); !state.Proved {
				t.Errorf("the state is not proved: %s", state.Reason)
			}
			return a.Full
		}
		catchUp(one)
		long := lasting("long", time.Hour)
		short := lasting("short", time.Minute)
		for i, e := range []revocation.Event{long, short} {
			one.revoke(e)
			tracker.Message(instant(), time.Since(began), revocation.Message{Batch: &revocation.Batch{
				V: 1, Store: one.StoreID(), Origin: one.Origin(), Seq: uint64(i + 1), At: e.At, Events: []revocation.Event{e},
			}})
		}
		one.Close()
		two := start(t, s) // a run that the service does not hear
		time.Sleep(5 * time.Minute)
		if two.collect() == 0 {
			t.Fatal("nothing was collected")
		}
		two.Close()

		c := toShared(t, s, two.StoreID())
		a := c.join()
		a.revoke(lasting("new", time.Hour))
		if catchUp(a.process) {
			t.Error("the answer to the service's position is a full one")
		}
		if catchUp(a.process) {
			t.Error("the next answer is a full one")
		}
	})
}

// TestOnlyTheLastRunsBecomeOrigins keeps the number of origins below the limit of a shared store.
func TestOnlyTheLastRunsBecomeOrigins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSingle()
		var p *process
		for i := range 300 {
			time.Sleep(time.Second)
			p = start(t, s)
			p.revoke(lasting(strings.Repeat("x", i+1), time.Hour))
			p.Close()
		}
		want := p.events()
		c := toShared(t, s, p.StoreID())
		all, err := origins.List(t.Context(), c.engine.Open(nil))
		if err != nil || len(all) != 257 {
			t.Errorf("%d origins, want 256 and that of the other events: %v", len(all), err)
		}
		c.join().wantEvents(want)
	})
}

func TestARecordThatCannotBeReadIsNotConverted(t *testing.T) {
	for _, key := range []string{"ledger.event.sid.s1", "ledger.batch.o1.0000000000000001", "origin.o1"} {
		s := newSingle()
		start(t, s).Close()
		if err := s.Commit(t.Context(), []store.Change{{Writes: []store.Write{{Key: key, Value: []byte("{")}}}}, nil)[0]; err != nil {
			t.Fatal(err)
		}
		none := func(store.Write) error { return nil }
		if err := ledger.ToShared(t.Context(), s, "store", "k", time.Now(), none); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s to a shared store: %v", key, err)
		}
		if err := ledger.ToSingle(t.Context(), s, none); !strings.HasPrefix(key, "ledger.event") && (err == nil || !strings.Contains(err.Error(), key)) {
			t.Errorf("%s to a single broker's store: %v", key, err)
		}
	}
}
