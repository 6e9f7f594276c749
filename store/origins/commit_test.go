package origins_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
	"tokenbroker/store/origins"
)

// faultOnce makes the next commit of the run's fence fail with fault and then calls then, before anything else is read.
func (b *broker) faultOnce(fault memstore.Fault, then func()) {
	fired, done := false, then == nil
	b.faults = func(op memstore.Op) memstore.Fault {
		switch {
		case op.Kind == memstore.OpCommit && op.Key != "" && !fired:
			fired = true
			return fault
		case fired && !done:
			done = true
			then()
		}
		return memstore.OK
	}
}

// end ends the origin of b as another broker does.
func (w *world) end(b *broker) {
	w.t.Helper()
	engine := w.engine.Open(nil)
	stored, err := engine.Get(w.t.Context(), origins.Key(b.Origin()))
	wantErr(w.t, err, nil)
	r, err := origins.Decode(stored)
	wantErr(w.t, err, nil)
	r.Ended = true
	if r.Last == 0 {
		r.Last = stored.Revision
	}
	w.write(store.Write{Key: stored.Key, Value: r.Encode(), Expect: stored.Revision})
}

// write writes a record as another broker does.
func (w *world) write(write store.Write) {
	w.t.Helper()
	_, errs := w.engine.Open(nil).CommitFenced(w.t.Context(), store.Fence{}, []store.Change{{Writes: []store.Write{write}}}, nil)
	wantErr(w.t, errs[0], nil)
}

func (w *world) value(key string) string {
	w.t.Helper()
	r, err := w.engine.Open(nil).Get(w.t.Context(), key)
	if errors.Is(err, store.ErrNotFound) {
		return ""
	}
	wantErr(w.t, err, nil)
	return string(r.Value)
}

func write(key, value string) store.Write { return store.Write{Key: key, Value: []byte(value)} }

func ends(sid string) store.Change {
	return store.Change{
		Writes: []store.Write{{Key: "session." + sid, Value: []byte("ended"), Blind: true}},
		Events: []revocation.Event{{Kind: revocation.KindSID, Value: sid, At: 1, ExpiresAt: 2}},
	}
}

var (
	fresh    = store.Change{Writes: []store.Write{write("fresh", "new")}}
	taken    = store.Change{Writes: []store.Write{write("taken", "new")}}
	deletes  = store.Change{Writes: []store.Write{{Key: "gone", Delete: true, Blind: true}}}
	nothing  = store.Change{}
	refused  = store.Change{Writes: []store.Write{write("taken", "new")}, Events: ends("x").Events}
	putsTwo  = store.Change{Writes: []store.Write{write("two.a", "new"), write("two.b", "new")}}
	repeated = store.Change{Writes: []store.Write{write("fresh", "newer")}}
)

func TestCommitSettles(t *testing.T) {
	type script struct {
		name    string
		fault   memstore.Fault
		then    func(w *world, a *broker)
		changes []store.Change
		want    []error
		head    uint64
		written map[string]string
	}
	for _, tt := range []script{
		{name: "nothing fails", changes: []store.Change{fresh, taken, ends("s"), deletes},
			want: []error{nil, store.ErrConflict, nil, nil}, head: 1, written: map[string]string{"fresh": "new", "taken": "old"}},
		{name: "a refused change with events refuses the group", changes: []store.Change{refused, ends("s"), fresh},
			want: []error{store.ErrConflict, store.ErrRetry, nil}, head: 0, written: map[string]string{"fresh": "new", "session.s": ""}},
		{name: "the engine refuses before it begins", fault: memstore.Refuse, changes: []store.Change{fresh},
			want: []error{store.ErrUnavailable}, written: map[string]string{"fresh": ""}},
		{name: "it was written", fault: memstore.LoseAnswer, changes: []store.Change{fresh, taken, ends("s"), deletes, nothing, putsTwo, repeated},
			want: []error{nil, store.ErrConflict, nil, store.ErrConflict, nil, nil, store.ErrRetry}, head: 1,
			written: map[string]string{"fresh": "new", "taken": "old", "session.s": "ended", "gone": ""}},
		{name: "it was written without its group", fault: memstore.LoseAnswer, changes: []store.Change{refused, ends("s"), fresh},
			want: []error{store.ErrConflict, store.ErrConflict, nil}, head: 0, written: map[string]string{"fresh": "new", "session.s": ""}},
		{name: "it was not written", fault: memstore.Keep, changes: []store.Change{fresh, taken, ends("s"), deletes},
			want: []error{nil, store.ErrConflict, nil, nil}, head: 1, written: map[string]string{"fresh": "new", "taken": "old"}},
		{name: "it is written while it is settled", fault: memstore.Keep, then: func(w *world, _ *broker) { w.engine.Retransmit() },
			changes: []store.Change{fresh, taken, ends("s")}, want: []error{nil, store.ErrConflict, nil}, head: 1,
			written: map[string]string{"fresh": "new", "taken": "old"}},
		{name: "it was written and one record was written again", fault: memstore.LoseAnswer,
			then: func(w *world, _ *broker) {
				w.write(store.Write{Key: "fresh", Value: []byte("newer"), Blind: true})
				w.write(store.Write{Key: "two.a", Value: []byte("newer"), Blind: true})
			},
			changes: []store.Change{fresh, putsTwo}, want: []error{store.ErrConflict, nil}, written: map[string]string{"fresh": "newer"}},
		{name: "it was written and the origin ended", fault: memstore.LoseAnswer, then: func(w *world, a *broker) { w.end(a) },
			changes: []store.Change{fresh, taken, ends("s")}, want: []error{nil, store.ErrConflict, nil}, head: 1,
			written: map[string]string{"fresh": "new"}},
		{name: "it was written without its group and the origin ended", fault: memstore.LoseAnswer, then: func(w *world, a *broker) { w.end(a) },
			changes: []store.Change{refused, ends("s"), fresh}, want: []error{store.ErrConflict, store.ErrConflict, nil}, written: map[string]string{"session.s": ""}},
		{name: "it was not written and the origin ended", fault: memstore.Keep, then: func(w *world, a *broker) { w.end(a) },
			changes: []store.Change{fresh, ends("s")}, want: []error{store.ErrFenced, store.ErrFenced}, written: map[string]string{"fresh": ""}},
		{name: "the record was removed", fault: memstore.LoseAnswer,
			then: func(w *world, a *broker) {
				w.write(store.Write{Key: origins.Key(a.Origin()), Delete: true, Blind: true})
			},
			changes: []store.Change{fresh}, want: []error{origins.ErrRemoved}, written: map[string]string{"fresh": "new"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.write(write("taken", "old"))
			w.write(write("gone", "old"))
			a := w.join("a")
			origin := a.Origin()
			if tt.fault != memstore.OK {
				var then func()
				if tt.then != nil {
					then = func() { tt.then(w, a) }
				}
				a.faultOnce(tt.fault, then)
			}
			errs := a.Commit(t.Context(), tt.changes, a.seal)
			a.faults = nil
			for i, err := range errs {
				if !errors.Is(err, tt.want[i]) || tt.want[i] == nil && err != nil {
					t.Errorf("change %d: %v, want %v", i, err, tt.want[i])
				}
			}
			w.engine.Retransmit() // finds that the fence has moved
			for key, value := range tt.written {
				if got := w.value(key); got != value {
					t.Errorf("%s is %q, want %q", key, got, value)
				}
			}
			r, there := w.record(origin)
			if there && r.Head != tt.head {
				t.Errorf("head %d, want %d", r.Head, tt.head)
			}
			if there && !r.Ended {
				wantErr(t, a.put("next", 0), nil)
				return
			}
			wantErr(t, a.put("next", 0), store.ErrFenced)
			wantErr(t, a.Rejoin(t.Context()), nil)
			wantErr(t, a.put("next", 0), nil)
			if a.Origin() == origin || a.Head() != 0 {
				t.Errorf("origin %s with head %d", a.Origin(), a.Head())
			}
		})
	}
}

// An engine's client that sends a commit again, whose first copy was written, sees a fence that has moved.
func TestAMovedFenceIsNotTakenForAnEnding(t *testing.T) {
	w := newWorld(t)
	a := w.add("a")
	wantErr(t, a.joinOn(twice{w.engine.Open(nil)}), nil)
	for i, err := range a.Commit(t.Context(), []store.Change{fresh, ends("s"), deletes}, a.seal) {
		want := []error{nil, nil, store.ErrConflict}[i]
		wantErr(t, err, want)
	}
	wantErr(t, a.revoke("t"), nil)
	if r, _ := w.record(a.Origin()); r.Head != 2 || r.N != 2 {
		t.Errorf("record: %+v", r)
	}
}

// twice sends each commit twice and returns the second answer.
type twice struct{ *memstore.Handle }

func (e twice) CommitFenced(ctx context.Context, fence store.Fence, changes []store.Change, seal store.Seal) (store.Revision, []error) {
	if fence.Key != "" {
		e.Handle.CommitFenced(ctx, fence, changes, seal)
	}
	return e.Handle.CommitFenced(ctx, fence, changes, seal)
}

// A commit that is still open when its caller leaves is settled before the next one seals.
func TestAnOpenCommitIsSettledFirst(t *testing.T) {
	for _, tt := range []struct {
		name    string
		fault   memstore.Fault
		tick    bool
		batches []string
	}{
		{"written, settled by a commit", memstore.LoseAnswer, false, []string{"first", "second"}},
		{"written, settled by a tick", memstore.LoseAnswer, true, []string{"first", "second"}},
		{"not written, settled by a commit", memstore.Keep, false, []string{"second"}},
		{"not written, settled by a tick", memstore.Keep, true, []string{"second"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			a := w.join("a")
			var cancel context.CancelFunc
			reads, failing := 0, true
			a.faults = func(op memstore.Op) memstore.Fault {
				switch {
				case !failing:
					return memstore.OK
				case op.Kind == memstore.OpCommit:
					return tt.fault
				}
				if reads++; reads%5 == 0 {
					cancel()
				}
				return memstore.Refuse
			}
			commit := func(change store.Change) error {
				var ctx context.Context
				ctx, cancel = context.WithCancel(t.Context())
				defer cancel()
				return a.Commit(ctx, []store.Change{change}, a.seal)[0]
			}
			wantErr(t, commit(ends("first")), store.ErrUncertain)
			if err := commit(fresh); !errors.Is(err, store.ErrUnavailable) && err == nil || errors.Is(err, store.ErrUncertain) {
				t.Errorf("a commit that was not sent: %v", err)
			}
			if reads != 10 {
				t.Errorf("%d reads", reads)
			}
			failing = false
			if tt.tick {
				wantErr(t, a.Tick(t.Context()), nil)
				if got := a.Head(); got != uint64(len(tt.batches)-1) {
					t.Errorf("head %d after the tick", got)
				}
			}
			wantErr(t, commit(ends("second")), nil)
			w.engine.Retransmit()
			for i, want := range tt.batches {
				if got := w.value(batch(a.Origin(), uint64(i+1))); got != want {
					t.Errorf("batch %d is %q, want %q", i+1, got, want)
				}
			}
			if got := a.Head(); got != uint64(len(tt.batches)) {
				t.Errorf("head %d", got)
			}
			if got := w.value("fresh"); got != "" {
				t.Errorf("the commit that was not sent wrote %q", got)
			}
		})
	}
}

// An open commit of an origin that has ended is of no interest to the next origin.
func TestRejoinForgetsAnOpenCommit(t *testing.T) {
	w := newWorld(t)
	a := w.join("a")
	origin := a.Origin()
	ctx, cancel := context.WithCancel(t.Context())
	a.faults = func(op memstore.Op) memstore.Fault {
		if op.Kind == memstore.OpCommit {
			return memstore.LoseAnswer
		}
		cancel()
		return memstore.Refuse
	}
	wantErr(t, a.Commit(ctx, []store.Change{ends("s")}, a.seal)[0], store.ErrUncertain)
	a.faults = nil
	w.end(a)
	wantErr(t, a.Tick(t.Context()), store.ErrFenced)
	wantErr(t, a.Rejoin(t.Context()), nil)
	wantErr(t, a.revoke("t"), nil)
	if a.Origin() == origin || w.value(batch(a.Origin(), 1)) != "t" {
		t.Errorf("the next origin's first batch is %q", w.value(batch(a.Origin(), 1)))
	}
	if r, _ := w.record(origin); r.Head != 1 {
		t.Errorf("the old origin: %+v", r)
	}
}

// vague is an engine that says of no change that it was not part of the commit.
type vague struct{ *memstore.Handle }

func (e vague) CommitFenced(ctx context.Context, fence store.Fence, changes []store.Change, seal store.Seal) (store.Revision, []error) {
	revision, errs := e.Handle.CommitFenced(ctx, fence, changes, seal)
	if fence.Key == "" {
		return revision, errs
	}
	return 0, store.FailRest(make([]error, len(errs)), store.ErrUncertain)
}

// Which of two changes has written a record is unknown, so that neither is reported as written.
func TestTwoChangesOfOneRecordAreNotMistaken(t *testing.T) {
	w := newWorld(t)
	a := w.add("a")
	wantErr(t, a.joinOn(vague{w.engine.Open(nil)}), nil)
	want := []error{nil, store.ErrConflict, store.ErrConflict}
	for i, err := range a.Commit(t.Context(), []store.Change{ends("s"), fresh, repeated}, a.seal) {
		wantErr(t, err, want[i])
	}
}

func TestARecordThatHasGoneBackIsARewind(t *testing.T) {
	w := newWorld(t)
	a := w.join("a")
	wantErr(t, a.put("k", 0), nil)
	wantErr(t, a.put("l", 0), nil)
	r, _ := w.record(a.Origin())
	r.N--
	w.write(store.Write{Key: origins.Key(a.Origin()), Value: r.Encode(), Blind: true})
	wantErr(t, a.put("m", 0), origins.ErrRewound)
	wantErr(t, a.put("m", 0), origins.ErrRewound)
	wantErr(t, a.Tick(t.Context()), origins.ErrRewound)
	wantErr(t, a.Rejoin(t.Context()), origins.ErrRewound)
}

// Config.Outdated looks at each service that the broker hears, which is too much for each commit.
func TestServicesAreNotCountedForEachCommit(t *testing.T) {
	w := newWorld(t)
	a := w.join("a")
	a.outdated = []string{"shop"}
	w.now += 2 * time.Second
	before := a.asked
	for i := range 20 {
		w.now += 100 * time.Millisecond
		wantErr(t, a.put(fmt.Sprint(i), 0), nil)
	}
	if n := a.asked - before; n != 2 {
		t.Errorf("asked %d times in two seconds", n)
	}
	if r, _ := w.record(a.Origin()); len(r.Outdated) != 1 {
		t.Errorf("record: %+v", r)
	}
}

func TestOutcomesAndRejoinsAreCounted(t *testing.T) {
	w := newWorld(t)
	a := w.join("a")
	w.run(time.Second)
	wantErr(t, a.put("first", 0), nil)
	a.faultOnce(memstore.LoseAnswer, nil)
	wantErr(t, a.put("written", 0), nil)
	a.faultOnce(memstore.Keep, nil)
	wantErr(t, a.put("late", 0), nil)
	if got, want := a.Stats(), (origins.Stats{Written: 1, NotWritten: 1}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	w.end(a)
	wantErr(t, a.put("fenced", 0), store.ErrFenced)
	wantErr(t, a.Rejoin(t.Context()), nil)
	if got, want := a.Stats(), (origins.Stats{Written: 1, NotWritten: 2, Rejoins: 1}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
