package origins_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/store"
	"tokenbroker/store/memstore"
	"tokenbroker/store/origins"
)

// slow is an engine whose views are taken at once and returned when the test lets them pass.
type slow struct {
	*memstore.Handle
	pass chan struct{} // a read takes one token; nil: none is needed
	read int
}

func (s *slow) Snapshot() (store.Reader, func(), error) {
	r, release, err := s.Handle.Snapshot()
	return slowReader{r, s}, release, err
}

type slowReader struct {
	store.Reader
	engine *slow
}

func (r slowReader) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	records, err := r.Reader.List(ctx, prefix, after, limit)
	if r.engine.pass != nil {
		r.engine.read++
		select {
		case <-r.engine.pass:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return records, err
}

// shared is a broker whose engine is slow, and another broker.
func shared(t *testing.T) (engine *slow, a, other *broker) {
	w := newWorld(t)
	engine = &slow{Handle: w.engine.Open(nil)}
	a = w.add("a")
	wantErr(t, a.joinOn(engine), nil)
	other = w.join("b")
	engine.pass = make(chan struct{})
	return engine, a, other
}

func TestAViewBeginsAfterTheCallAndIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, a, other := shared(t)
		views := make(chan *origins.View, 9)
		read := func() {
			v, err := a.View(t.Context())
			if err != nil {
				t.Error(err)
			}
			views <- v
		}
		go read()
		synctest.Wait() // its read has seen no batch
		wantErr(t, other.revoke("s"), nil)
		for range 3 {
			go read()
		}
		synctest.Wait()
		if engine.read != 1 {
			t.Fatalf("%d reads at a time", engine.read)
		}
		engine.pass <- struct{}{}
		if v := <-views; v.Heads()[other.Origin()] != 0 {
			t.Errorf("the first view: %v", v.Heads())
		}
		engine.pass <- struct{}{}
		first := <-views
		for range 2 {
			if v := <-views; v != first || v.Heads()[other.Origin()] != 1 {
				t.Errorf("a later view: %v", v.Heads())
			}
		}
		if engine.read != 2 {
			t.Errorf("%d reads", engine.read)
		}
	})
}

func TestAViewOutlivesTheCallerThatReadsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, a, _ := shared(t)
		cancelled, cancel := context.WithCancel(t.Context())
		errs := make(chan error, 2)
		go func() { _, err := a.View(t.Context()); errs <- err }()
		synctest.Wait() // a read that both of the others wait for
		reads := func(ctx context.Context) { _, err := a.View(ctx); errs <- err }
		go reads(cancelled)
		synctest.Wait()
		go reads(t.Context())
		synctest.Wait()
		engine.pass <- struct{}{}
		wantErr(t, <-errs, nil)
		synctest.Wait()
		cancel()
		wantErr(t, <-errs, context.Canceled)
		close(engine.pass)
		wantErr(t, <-errs, nil)
	})
}

func TestViewHasTheLedgersRecords(t *testing.T) {
	w := newWorld(t)
	a := w.join("a")
	if v := w.view(a); v.Store != "" || v.TimeFloor != 0 || v.FloorRevision != 0 || len(v.Origins) != 1 {
		t.Errorf("empty: %+v", v)
	}
	w.write(write("ledger.store", `{"v":1,"id":"store"}`))
	w.write(write("ledger.time_floor", `{"v":1,"time_floor":77}`))
	w.now = time.Minute
	if v := w.view(a); v.Store != "store" || v.TimeFloor != 77 || v.FloorRevision == 0 || v.Read != time.Minute {
		t.Errorf("view: %+v", v)
	}
	w.write(store.Write{Key: "ledger.time_floor", Value: []byte(`{"v":2,"time_floor":78}`), Blind: true})
	if v, err := a.View(t.Context()); err == nil {
		t.Errorf("a record of another version: %+v", v)
	}
}

func TestManyOriginsAreListedInPages(t *testing.T) {
	w := newWorld(t)
	a := w.join("a")
	var changes []store.Change
	for i := range 700 {
		r := origins.Record{V: origins.Version, N: 1, Head: 1, Ended: true, Name: "old", KEK: "kek"}
		changes = append(changes, store.Change{Writes: []store.Write{write(origins.Key(time.Duration(i).String()), string(r.Encode()))}})
	}
	w.engine.Open(nil).CommitFenced(t.Context(), store.Fence{}, changes, nil)
	if v := w.view(a); len(v.Origins) != 701 || len(v.Live()) != 1 {
		t.Errorf("%d origins, %d live", len(v.Origins), len(v.Live()))
	}
}

func TestTheFirstViewIsComparedWithTheOwnCommits(t *testing.T) {
	w := newWorld(t)
	a := w.join("a")
	wantErr(t, a.revoke("s"), nil)
	r, _ := w.record(a.Origin())
	r.Head--
	w.write(store.Write{Key: origins.Key(a.Origin()), Value: r.Encode(), Blind: true})
	wantErr(t, a.Tick(t.Context()), origins.ErrRewound)
}

// A record without batches is removed at once after its end. A late copy of its creation is not a rewound engine. A copy that
// expects the record of the version as it was before does not create it.
func TestARecordThatIsCreatedAgainIsNotARewind(t *testing.T) {
	for name, find := range map[string]func(a *broker) error{
		"by a commit": func(a *broker) error { return a.put("k", 0) },
		"by a tick":   func(a *broker) error { return a.Tick(a.world.t.Context()) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a := w.add("a")
			a.faults = func(op memstore.Op) memstore.Fault {
				if op.Kind == memstore.OpCommit {
					return memstore.Duplicate
				}
				return memstore.OK
			}
			wantErr(t, a.join(), nil)
			a.faults = nil
			created, _ := w.record(a.Origin())
			wantErr(t, a.put("before", 0), nil)
			a.stopped = true
			w.join("b")
			w.run(40 * time.Second)
			if _, ok := w.record(a.Origin()); ok {
				t.Fatal("the record was not removed")
			}
			w.engine.Retransmit()
			if _, ok := w.record(a.Origin()); ok {
				t.Fatal("a late copy created the record again")
			}
			w.write(store.Write{Key: origins.Key(a.Origin()), Value: created.Encode()})
			wantErr(t, find(a), store.ErrFenced)
			wantErr(t, a.Rejoin(t.Context()), nil)
			wantErr(t, a.put("after", 0), nil)
		})
	}
}

func TestARewoundEngineIsNoticed(t *testing.T) {
	change := func(w *world, id string, change func(*origins.Record)) {
		r, _ := w.record(id)
		change(&r)
		w.write(store.Write{Key: origins.Key(id), Value: r.Encode(), Blind: true})
	}
	for _, tt := range []struct {
		name   string
		rewind func(w *world, a, b *broker)
		want   error
	}{
		{"nothing", func(*world, *broker, *broker) {}, nil},
		{"a head that moves on", func(w *world, _, b *broker) { wantErr(w.t, b.revoke("u"), nil) }, nil},
		{"a head that goes back", func(w *world, _, b *broker) { change(w, b.Origin(), func(r *origins.Record) { r.Head-- }) }, origins.ErrRewound},
		{"the own head", func(w *world, a, _ *broker) { change(w, a.Origin(), func(r *origins.Record) { r.Head-- }) }, origins.ErrRewound},
		{"the own record is missing", func(w *world, a, _ *broker) {
			w.write(store.Write{Key: origins.Key(a.Origin()), Delete: true, Blind: true})
		}, origins.ErrRewound},
		{"the own record is missing after an hour", func(w *world, a, _ *broker) {
			w.now += time.Hour
			w.write(store.Write{Key: origins.Key(a.Origin()), Delete: true, Blind: true})
		}, store.ErrFenced},
		{"the own record has ended", func(w *world, a, _ *broker) { w.end(a) }, store.ErrFenced},
		{"another record is missing", func(w *world, _, b *broker) {
			w.write(store.Write{Key: origins.Key(b.Origin()), Delete: true, Blind: true})
		}, nil},
		{"another store", func(w *world, _, _ *broker) {
			w.write(store.Write{Key: "ledger.store", Value: []byte(`{"v":1,"id":"other"}`), Blind: true})
		}, origins.ErrRewound},
		{"no time floor", func(w *world, _, _ *broker) {
			w.write(store.Write{Key: "ledger.time_floor", Delete: true, Blind: true})
		}, origins.ErrRewound},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.write(write("ledger.store", `{"v":1,"id":"store"}`))
			w.write(write("ledger.time_floor", `{"v":1,"time_floor":77}`))
			a, b := w.join("a"), w.join("b")
			wantErr(t, a.revoke("s"), nil)
			wantErr(t, b.revoke("t"), nil)
			w.run(2 * time.Second)
			a.stopped, b.stopped = true, true
			tt.rewind(w, a, b)
			err := a.Tick(t.Context())
			wantErr(t, err, tt.want)
			if !errors.Is(tt.want, origins.ErrRewound) {
				return
			}
			_, err = a.View(t.Context())
			wantErr(t, err, origins.ErrRewound)
			wantErr(t, a.put("k", 0), origins.ErrRewound)
			if _, silent := a.Silent(); !silent {
				t.Error("it still speaks")
			}
		})
	}
}
