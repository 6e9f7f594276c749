package origins_test

import (
	"strings"
	"testing"
	"time"

	"tokenbroker/store"
	"tokenbroker/store/memstore"
	"tokenbroker/store/origins"
)

func TestJoinCreatesAnOriginAndEndsThePredecessor(t *testing.T) {
	w := newWorld(t)
	a := w.join("a")
	first := a.Origin()
	wantErr(t, a.revoke("s1"), nil)
	a.stopped = true // crashed
	again := w.join("a")
	if waited := w.now; waited < 5*time.Second || waited > 10*time.Second {
		t.Errorf("waited %v for the record of a broker with the same name", waited)
	}
	if r, ok := w.record(first); !ok || !r.Ended || r.Head != 1 || r.Last == 0 {
		t.Errorf("predecessor: %+v %v", r, ok)
	}
	if r, _ := w.record(again.Origin()); r.Joined != 2 || r.Name != "a" || r.Address != "a.example" || r.KEK != "kek" {
		t.Errorf("record: %+v", r)
	}
	wantErr(t, a.put("k", 0), store.ErrFenced)
	wantErr(t, again.put("k", 0), nil)
}

func TestAfterLeaveJoinDoesNotWait(t *testing.T) {
	w := newWorld(t)
	a := w.join("a")
	wantErr(t, a.Leave(t.Context()), nil)
	wantErr(t, a.put("k", 0), store.ErrClosed)
	wantErr(t, a.Tick(t.Context()), store.ErrClosed)
	wantErr(t, a.Rejoin(t.Context()), store.ErrClosed)
	wantErr(t, a.put("k", 0), store.ErrClosed)
	a.stopped = true
	w.join("a")
	if w.now != 0 {
		t.Errorf("waited %v", w.now)
	}
}

func TestJoinIsRefusedByARunningBroker(t *testing.T) {
	for _, tt := range []struct {
		name  string
		a     func(*broker)
		b     func(*broker)
		other string
		want  error
	}{
		{"same name", func(*broker) {}, func(*broker) {}, "a", origins.ErrNameTaken},
		{"another KEK", func(*broker) {}, func(b *broker) { b.kek = "other" }, "b", origins.ErrOtherKEK},
		{"another issuer", func(a *broker) { a.issuer = "https://a.example" }, func(b *broker) { b.issuer = "https://b.example" }, "b", origins.ErrOtherIssuer},
		{"an issuer, and one of an earlier version", func(*broker) {}, func(b *broker) { b.issuer = "https://b.example" }, "b", nil},
		{"outdated services", func(a *broker) { a.outdated = []string{"shop"} }, func(*broker) {}, "b", origins.ErrOutdated},
		{"outdated services, forced", func(a *broker) { a.outdated = []string{"shop"} }, func(b *broker) { b.force = true }, "b", nil},
		{"own outdated services", func(*broker) {}, func(b *broker) { b.outdated = []string{"shop"} }, "b", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			a := w.add("a")
			tt.a(a)
			wantErr(t, a.join(), nil)
			b := w.add(tt.other)
			tt.b(b)
			err := b.join()
			wantErr(t, err, tt.want)
			if w.now > 6*time.Second {
				t.Errorf("decided after %v", w.now)
			}
			if r, _ := w.record(a.Origin()); r.Ended {
				t.Error("the running broker was ended")
			}
			wantErr(t, a.put("k", 0), nil)
		})
	}
}

func TestJoinIsRefusedByABrokerThatCannotReadItsRecords(t *testing.T) {
	w := newWorld(t)
	other := origins.Record{V: origins.Version, Name: "other", KEK: "kek", Speaks: [2]int{origins.Version + 1, origins.Version + 2}}
	w.write(write(origins.Key("other"), string(other.Encode())))
	w.each = func() {
		other.N++
		w.write(store.Write{Key: origins.Key("other"), Value: other.Encode(), Blind: true})
	}
	wantErr(t, w.add("a").join(), origins.ErrOtherVersion)
}

func TestAnOriginThatIsEndedAtOnceIsNotUsed(t *testing.T) {
	w := newWorld(t)
	a := w.add("a")
	ended := ""
	a.faults = func(op memstore.Op) memstore.Fault {
		if id, ok := strings.CutPrefix(op.Key, origins.Prefix); ok && op.Kind == memstore.OpGet && ended == "" {
			ended = id
			stored, _ := w.engine.Open(nil).Get(t.Context(), op.Key)
			r, _ := origins.Decode(stored)
			r.Ended, r.Last = true, stored.Revision
			w.write(store.Write{Key: op.Key, Value: r.Encode(), Expect: stored.Revision})
		}
		return memstore.OK
	}
	wantErr(t, a.join(), nil)
	if ended == "" || a.Origin() == ended {
		t.Errorf("origin %q, ended %q", a.Origin(), ended)
	}
	wantErr(t, a.put("k", 0), nil)
}

func TestJoinEndsABrokerThatDoesNotRunAndHasAnotherKEK(t *testing.T) {
	w := newWorld(t)
	a := w.join("a")
	a.stopped = true
	b := w.add("b")
	b.kek = "other"
	wantErr(t, b.join(), nil)
	if w.now < 30*time.Second {
		t.Errorf("ended after %v", w.now)
	}
	wantErr(t, a.put("k", 0), store.ErrFenced)
}

func TestTheCreationOfAnOriginIsNotSentTwice(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault memstore.Fault
		want  int // origins on record
	}{
		{"it was written", memstore.LoseAnswer, 1},
		{"it was not written", memstore.Keep, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			b := w.add("a")
			sent := map[string]int{}
			b.faults = func(op memstore.Op) memstore.Fault {
				if op.Kind != memstore.OpCommit {
					return memstore.OK
				}
				sent[op.Changes[0].Writes[0].Key]++
				if len(sent) == 1 {
					return tt.fault
				}
				return memstore.OK
			}
			wantErr(t, b.join(), nil)
			b.faults = nil
			for key, n := range sent {
				if n != 1 {
					t.Errorf("%s was sent %d times", key, n)
				}
			}
			if got := len(w.view(b).Origins); got != tt.want {
				t.Errorf("%d origins", got)
			}
			w.engine.Retransmit() // a record that no broker uses
			w.run(40 * time.Second)
			if got := w.view(b).Origins; len(got) != 1 || got[0].ID != b.Origin() {
				t.Errorf("origins: %v", got)
			}
		})
	}
}

func TestJoinIsRefusedWithTooManyOrigins(t *testing.T) {
	w := newWorld(t)
	var writes []store.Change
	for range 1008 {
		r := origins.Record{V: origins.Version, N: 1, Head: 1, Ended: true, Name: "old", KEK: "kek"}
		writes = append(writes, store.Change{Writes: []store.Write{{Key: origins.Key(string(rune('a'+len(writes)%26)) + time.Duration(len(writes)).String()), Value: r.Encode()}}})
	}
	_, errs := w.engine.Open(nil).CommitFenced(t.Context(), store.Fence{}, writes, nil)
	for _, err := range errs {
		wantErr(t, err, nil)
	}
	wantErr(t, w.add("a").join(), origins.ErrFull)
}

func TestEndedOriginsWithoutBatchesAreRemoved(t *testing.T) {
	w := newWorld(t)
	for range 5 { // a crash loop
		w.join("a").stopped = true
	}
	b := w.join("a")
	if got := len(w.view(b).Origins); got > 2 {
		t.Errorf("%d origins after five crashes", got)
	}
	w.run(2 * time.Second)
	if got := len(w.view(b).Origins); got != 1 {
		t.Errorf("%d origins after a tick", got)
	}
}

// TestACrashLoopLeavesFewRecords: of 200 runs, those that recorded nothing are removed by the next one, and those that
// recorded something an hour after their batches were collected.
func TestACrashLoopLeavesFewRecords(t *testing.T) {
	w := newWorld(t)
	other := w.join("b")
	most, recorded := 0, 0
	for i := range 200 {
		a := w.join("a")
		if i%20 == 0 {
			wantErr(t, a.revoke("s"), nil)
			recorded++
		}
		a.stopped = true
		most = max(most, len(w.view(other).Origins)-recorded)
	}
	if most > 3 { // of b, of the last run, and of the one before
		t.Errorf("%d origins without batches", most)
	}
	if got := other.Live(); got > 2 {
		t.Errorf("%d live origins", got)
	}
	for _, o := range w.view(other).Origins {
		w.write(store.Write{Key: batch(o.ID, 1), Delete: true, Blind: true})
	}
	w.run(61 * time.Minute)
	if got := len(w.view(other).Origins); got != 1 {
		t.Errorf("%d origins an hour after the batches were collected", got)
	}
}

func TestOfTwoBrokersThatJoinWithOneNameTheLaterEnds(t *testing.T) {
	w := newWorld(t)
	b := w.add("a")
	a := w.add("a")
	joined := false
	b.faults = func(op memstore.Op) memstore.Fault { // a joins after b has looked
		if op.Kind == memstore.OpCommit && !joined {
			joined = true
			wantErr(t, a.join(), nil)
		}
		return memstore.OK
	}
	wantErr(t, b.join(), nil)
	later, earlier := a, b
	if b.Origin() > a.Origin() {
		later, earlier = b, a
	}
	for range 6 {
		w.now += time.Second
		wantErr(t, earlier.Tick(t.Context()), nil)
		if err := later.Tick(t.Context()); err != nil {
			wantErr(t, err, origins.ErrNameTaken)
			return
		}
	}
	t.Error("both run")
}
