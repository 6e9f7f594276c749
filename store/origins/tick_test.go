package origins_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tokenbroker/store"
	"tokenbroker/store/memstore"
	"tokenbroker/store/origins"
)

func TestAnIdleBrokerKeepsItsRecordFresh(t *testing.T) {
	w := newWorld(t)
	a, b := w.join("a"), w.join("b")
	w.run(10 * time.Minute)
	if got := a.Live(); got != 2 {
		t.Errorf("%d live origins", got)
	}
	r, _ := w.record(b.Origin())
	if r.N < 100 || r.N > 125 {
		t.Errorf("%d commits in ten minutes", r.N)
	}
	if age := start.Add(w.now).UnixMilli() - r.ClockMS; age > 5000 {
		t.Errorf("the clock is %d ms old", age)
	}
}

func TestASilentBrokerIsEnded(t *testing.T) {
	w := newWorld(t)
	a, b := w.join("a"), w.join("b")
	wantErr(t, b.revoke("s"), nil)
	w.run(10 * time.Second)
	b.stopped = true
	r, _ := w.record(b.Origin())
	w.run(24 * time.Second)
	if got := a.Live(); got != 2 {
		t.Errorf("%d live origins after 24 s", got)
	}
	w.run(10 * time.Second)
	if got := a.Live(); got != 1 {
		t.Errorf("%d live origins after 34 s", got)
	}
	ended, _ := w.record(b.Origin())
	if !ended.Ended || ended.Head != r.Head || ended.N != r.N || ended.Last == 0 {
		t.Errorf("ended: %+v", ended)
	}
	// It wakes up.
	old := b.Origin()
	wantErr(t, b.revoke("late"), store.ErrFenced)
	wantErr(t, b.Tick(t.Context()), store.ErrFenced)
	if _, silent := b.Silent(); !silent {
		t.Error("a fenced broker speaks")
	}
	wantErr(t, b.Rejoin(t.Context()), nil)
	wantErr(t, b.revoke("again"), nil)
	if got := w.value(batch(old, 2)); got != "" {
		t.Errorf("batch %q after the end", got)
	}
	w.run(3 * time.Second)
	b.stopped = false
	w.run(3 * time.Second)
	if reason, silent := b.Silent(); silent {
		t.Error(reason)
	}
}

func TestAnOutageOfTheEngineEndsNoBroker(t *testing.T) {
	w := newWorld(t)
	a, b := w.join("a"), w.join("b")
	w.run(7 * time.Second)
	down := func(memstore.Op) memstore.Fault { return memstore.Refuse }
	a.faults, b.faults = down, down
	w.run(5 * time.Minute)
	a.faults = nil // b is a little later
	w.run(2 * time.Second)
	for range 20 { // hints
		w.now += 50 * time.Millisecond
		wantErr(t, a.Tick(t.Context()), nil)
	}
	b.faults = nil
	w.run(20 * time.Second)
	for _, of := range []*broker{a, b} {
		if r, ok := w.record(of.Origin()); !ok || r.Ended {
			t.Errorf("%s was ended", of.name)
		}
	}
}

// Hints make a broker read more often than each second, so an idle broker's record can have been read many times when
// an outage begins.
func TestReadsBeforeAnOutageDoNotEndABroker(t *testing.T) {
	w := newWorld(t)
	a, b := w.join("a"), w.join("b")
	w.run(5 * time.Second)
	for range 9 {
		w.now += 500 * time.Millisecond
		wantErr(t, a.Tick(t.Context()), nil)
	}
	down := func(memstore.Op) memstore.Fault { return memstore.Refuse }
	a.faults, b.faults = down, down
	w.run(time.Minute)
	a.faults = nil // b is a little later
	w.run(3 * time.Second)
	b.faults = nil
	w.run(20 * time.Second)
	for _, of := range []*broker{a, b} {
		if r, ok := w.record(of.Origin()); !ok || r.Ended {
			t.Errorf("%s was ended", of.name)
		}
	}
}

// Between the read and the ending the broker commits.
func TestABrokerThatCommitsIsNotEnded(t *testing.T) {
	w := newWorld(t)
	a, b := w.join("a"), w.join("b")
	b.stopped = true
	woke := false
	a.faults = func(op memstore.Op) memstore.Fault {
		if op.Kind == memstore.OpCommit && op.Key == "" && !woke {
			woke = true
			wantErr(t, b.revoke("s"), nil)
		}
		return memstore.OK
	}
	w.run(32 * time.Second)
	if r, _ := w.record(b.Origin()); !woke || r.Ended || r.Head != 1 {
		t.Errorf("woke %v: %+v", woke, r)
	}
	wantErr(t, b.revoke("t"), nil)
}

func TestEndedOriginsAreRemovedWithTheirBatches(t *testing.T) {
	w := newWorld(t)
	a, b := w.join("a"), w.join("b")
	old := b.Origin()
	wantErr(t, b.revoke("s"), nil)
	wantErr(t, b.Leave(t.Context()), nil)
	b.stopped = true
	w.run(61 * time.Minute)
	looks := 0
	a.faults = func(op memstore.Op) memstore.Fault {
		if op.Kind == memstore.OpList && strings.HasPrefix(op.Key, "ledger.batch.") {
			looks++
		}
		return memstore.OK
	}
	w.run(10 * time.Minute)
	if _, ok := w.record(old); !ok || looks < 9 || looks > 11 {
		t.Fatalf("there %v before its batches are collected, after %d looks", ok, looks)
	}
	w.write(store.Write{Key: batch(old, 1), Delete: true, Blind: true})
	w.run(2 * time.Minute)
	if _, ok := w.record(old); ok {
		t.Error("not removed after its batches")
	}
	// Its batches are collected within the hour.
	wantErr(t, a.revoke("s"), nil)
	again := w.join("b")
	old = again.Origin()
	wantErr(t, again.revoke("t"), nil)
	wantErr(t, again.Leave(t.Context()), nil)
	again.stopped = true
	w.write(store.Write{Key: batch(old, 1), Delete: true, Blind: true})
	w.run(59 * time.Minute)
	if _, ok := w.record(old); !ok {
		t.Error("removed within an hour")
	}
	w.run(3 * time.Minute)
	if _, ok := w.record(old); ok {
		t.Error("not removed after an hour")
	}
	if r, ok := w.record(a.Origin()); !ok || r.Ended {
		t.Error("the running broker's record is missing")
	}
}

func TestACommitThatRunsIsABeat(t *testing.T) {
	w := newWorld(t)
	a := w.joinAs("a", thisRelease) // which does not raise the version
	for i := range 10 {
		w.now += 3 * time.Second
		wantErr(t, a.put(fmt.Sprint(i), 0), nil)
		wantErr(t, a.Tick(t.Context()), nil)
	}
	if r, _ := w.record(a.Origin()); r.N != 10 {
		t.Errorf("%d commits, want only those of the ten changes", r.N)
	}
}

func TestOneBrokerCollects(t *testing.T) {
	w := newWorld(t)
	a, b, c := w.join("a"), w.join("b"), w.join("c")
	c.skew = -time.Second
	collects := func(b *broker) bool {
		clock, ok, err := b.Collector(t.Context())
		wantErr(t, err, nil)
		slowest := start.Add(w.now + c.skew).UnixMilli()
		if r, _ := w.record(c.Origin()); ok && !r.Ended && (clock > slowest || clock < slowest-6000) {
			t.Errorf("the smallest clock is %d, want at most %d", clock, slowest)
		}
		return ok
	}
	w.run(10 * time.Second)
	want := func(what string, wantA, wantB bool) {
		t.Helper()
		if gotA, gotB := collects(a), collects(b); gotA != wantA || gotB != wantB {
			t.Errorf("%s: a %v, b %v", what, gotA, gotB)
		}
	}
	want("at first", true, false)
	for range 10 {
		w.run(time.Minute)
		want("later", true, false)
	}
	w.run(170 * time.Second) // a does not collect, but it is alive
	if collects(b) {
		t.Error("taken over early")
	}
	w.run(20 * time.Second)
	if !collects(b) || collects(a) {
		t.Error("not taken over after the silence")
	}
	b.stopped = true
	w.run(40 * time.Second)
	if !collects(a) {
		t.Error("not taken over from an origin that ended")
	}
	for _, m := range a.Members() {
		if m.Collector && m.Name != "b" { // at the view before the claim
			t.Errorf("%s collects", m.Name)
		}
	}
}

func TestClaimAgeIsTheTimeSinceTheLastClaim(t *testing.T) {
	w := newWorld(t)
	a, b := w.join("a"), w.join("b")
	want := func(what string, of *broker, least, most time.Duration) {
		t.Helper()
		if age := of.ClaimAge(); age < least || age > most {
			t.Errorf("%s: %v, want %v to %v", what, age, least, most)
		}
	}
	want("before a view", b, 0, 0)
	w.run(10 * time.Minute)
	want("without a collector", b, 9*time.Minute, 10*time.Minute)
	if _, ok, err := a.Collector(t.Context()); !ok || err != nil {
		t.Fatal(ok, err)
	}
	w.run(time.Second)
	want("after a claim", a, 0, time.Second)
	want("after the claim of another broker", b, 0, time.Second)
	w.run(10 * time.Minute)
	want("after a silence", b, 10*time.Minute, 10*time.Minute+time.Second)
	b.stopped = true
	w.run(40 * time.Second) // a ends b's origin
	wantErr(t, b.Tick(t.Context()), store.ErrFenced)
	wantErr(t, b.Rejoin(t.Context()), nil)
	want("after a rejoin", b, 0, 0)
}

func TestASilentBrokerDoesNotCollect(t *testing.T) {
	w := newWorld(t)
	a := w.join("a")
	w.join("b")
	w.run(10 * time.Second)
	a.skew = time.Second // a step
	if _, ok, err := a.Collector(t.Context()); ok || err != nil {
		t.Errorf("collects: %v %v", ok, err)
	}
	w.run(10 * time.Second)
	if _, ok, err := a.Collector(t.Context()); !ok || err != nil {
		t.Errorf("collects after the comparison: %v %v", ok, err)
	}
}

// The view of a collector that was stopped in between does not have a broker that joined in the meantime, perhaps
// with a slower clock.
func TestACollectorThatWasStoppedUsesItsClockOfBeforeTheView(t *testing.T) {
	w := newWorld(t)
	a := w.join("a")
	w.run(10 * time.Second)
	before := start.Add(w.now).UnixMilli()
	a.faults = func(op memstore.Op) memstore.Fault {
		if op.Kind == memstore.OpCommit {
			w.now += 20 * time.Second
		}
		return memstore.OK
	}
	if clock, ok, err := a.Collector(t.Context()); !ok || err != nil || clock > before {
		t.Errorf("the smallest clock is %d, want at most %d: %v %v", clock, before, ok, err)
	}
}

func TestMembers(t *testing.T) {
	w := newWorld(t)
	a := w.join("a")
	w.now += time.Minute
	b := w.join("b")
	b.skew = 500 * time.Millisecond
	w.run(20 * time.Second)
	got := a.Members()
	if len(got) != 2 || got[0].Origin != a.Origin() || got[1].Origin != b.Origin() {
		t.Fatalf("members: %+v", got)
	}
	m := got[1]
	if m.Name != "b" || m.Address != "b.example" || m.Build != "test" || !m.Live || !m.Compared || !m.Since.Equal(start.Add(time.Minute)) {
		t.Errorf("member: %+v", m)
	}
	if off := m.Offset - b.skew; off.Abs() > time.Second {
		t.Errorf("offset %v", m.Offset)
	}
}

// TestABeatHasTheLatencyOfTheEngine: a record written with the latency of the broker's own view, without a commit for it.
func TestABeatHasTheLatencyOfTheEngine(t *testing.T) {
	w := newWorld(t)
	a := w.add("a")
	slowly := w.engine.Open(func(op memstore.Op) memstore.Fault {
		if op.Kind == memstore.OpList && op.Key == origins.Prefix {
			w.now += 1250 * time.Microsecond
		}
		return memstore.OK
	})
	wantErr(t, a.joinOn(slowly), nil)
	b := w.join("b")
	w.run(20 * time.Second)
	before, _ := w.record(a.Origin())
	w.run(4 * time.Second)
	after, _ := w.record(a.Origin())
	if got := b.Members(); got[0].EngineMS != 1.25 || got[1].EngineMS != 0 {
		t.Errorf("members: %+v", got)
	}
	if after.N-before.N > 1 {
		t.Errorf("%d commits within 4 s", after.N-before.N)
	}
}

// TestTheLongestLifeOfAccessTokensOfLiveBrokers also has a broker of an earlier version, which does not state one.
func TestTheLongestLifeOfAccessTokensOfLiveBrokers(t *testing.T) {
	w := newWorld(t)
	a, b, earlier := w.add("a"), w.add("b"), w.add("earlier")
	a.life, b.life = 4*time.Minute+time.Millisecond, 10*time.Minute
	for _, joining := range []*broker{a, earlier, b} {
		wantErr(t, joining.join(), nil)
	}
	const own = 4*time.Minute + time.Second // in whole seconds
	if got := a.AccessLife(); got != own {
		t.Errorf("before a view: %v", got)
	}
	w.run(2 * time.Second)
	for _, m := range []*broker{a, b, earlier} {
		if got := m.AccessLife(); got != b.life {
			t.Errorf("broker %s: %v", m.name, got)
		}
	}
	b.stopped = true
	w.run(20 * time.Second)
	if got := a.AccessLife(); got != b.life {
		t.Errorf("while broker b may run: %v", got)
	}
	w.run(20 * time.Second)
	if got := a.AccessLife(); got != own {
		t.Errorf("after its end: %v", got)
	}
}
