package origins_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/store"
	"tokenbroker/store/memstore"
	"tokenbroker/store/origins"
)

// onPrimary is a broker on a primary that can be replaced, and another broker.
type onPrimary struct {
	*broker
	primary  *memstore.Primary
	other    *broker
	confirms int
	fault    memstore.Fault // of confirmations
}

func joinPrimary(t *testing.T) *onPrimary {
	w := newWorld(t)
	p := &onPrimary{broker: w.add("a")}
	p.primary = w.engine.OpenPrimary(func(op memstore.Op) memstore.Fault {
		if op.Kind != memstore.OpConfirm {
			return memstore.OK
		}
		p.confirms++
		return p.fault
	})
	wantErr(t, p.joinOn(p.primary), nil)
	p.other = w.join("b")
	w.run(10 * time.Second)
	return p
}

func TestReadsOfARunAreConfirmed(t *testing.T) {
	for name, read := range map[string]func(context.Context, *origins.Run) error{
		"Get": func(ctx context.Context, r *origins.Run) error {
			_, err := r.Get(ctx, origins.Key(r.Origin()))
			return err
		},
		"GetMany": func(ctx context.Context, r *origins.Run) error { _, err := r.GetMany(ctx, []string{"k"}); return err },
		"List":    func(ctx context.Context, r *origins.Run) error { _, err := r.List(ctx, "", "", 1); return err },
		"a snapshot": func(ctx context.Context, r *origins.Run) error {
			view, release, err := r.Snapshot()
			if err != nil {
				return err
			}
			defer release()
			_, err = view.GetMany(ctx, []string{"k"})
			return err
		},
		"a view": func(ctx context.Context, r *origins.Run) error { _, err := r.View(ctx); return err },
		"the claim of the collector": func(ctx context.Context, r *origins.Run) error {
			_, _, err := r.Collector(ctx)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := joinPrimary(t)
			a.confirms = 0
			wantErr(t, read(t.Context(), a.Run), nil)
			if a.confirms != 1 {
				t.Errorf("%d confirmations", a.confirms)
			}
			a.primary.Replace()
			wantErr(t, read(t.Context(), a.Run), store.ErrUnavailable)
			a.primary.Reconnect()
			wantErr(t, read(t.Context(), a.Run), nil)
			a.fault = memstore.Keep
			late, cancel := context.WithCancel(t.Context())
			cancel()
			if err := read(late, a.Run); err == nil {
				t.Error("answered without its confirmation")
			}
		})
	}
}

// An old primary has less than the run has seen already. The engine was not rewound, and another broker is not silent.
func TestAnOldPrimaryIsNotARewoundEngine(t *testing.T) {
	a := joinPrimary(t)
	a.primary.Replace()
	a.world.run(2 * time.Minute)
	wantErr(t, a.Tick(t.Context()), store.ErrUnavailable)
	if r, _ := a.world.record(a.other.Origin()); r.Ended {
		t.Error("the other broker was ended")
	}
	a.primary.Reconnect()
	err := a.Tick(t.Context())
	if r, ok := a.world.record(a.Origin()); ok && !r.Ended {
		t.Error("the broker of the old primary was not ended")
	}
	wantErr(t, err, store.ErrFenced)
	wantErr(t, a.Rejoin(t.Context()), nil)
	wantErr(t, a.Tick(t.Context()), nil)
}

// A commit whose wait for the standby ended is visible at the old primary and nowhere else.
func TestACommitOfAnOldPrimaryIsNotSettledThere(t *testing.T) {
	a := joinPrimary(t)
	a.primary.Replace()
	pauses := 0
	a.slept = func(time.Duration) {
		if pauses++; pauses == 3 {
			a.primary.Reconnect()
		}
	}
	wantErr(t, a.put("k", 0), nil)
	if pauses < 3 {
		t.Errorf("settled after %d pauses", pauses)
	}
	if r, err := a.other.Get(t.Context(), "k"); err != nil || string(r.Value) != "a" {
		t.Errorf("on the new primary: %q, %v", r.Value, err)
	}
}

func TestARunDoesNotJoinAtAnOldPrimary(t *testing.T) {
	w := newWorld(t)
	b := w.add("a")
	primary := w.engine.OpenPrimary(nil)
	primary.Replace()
	wantErr(t, b.joinOn(primary), store.ErrUnavailable)
}

// TestProvisionalReads states what confirms reads without a write of its own.
func TestProvisionalReads(t *testing.T) {
	read := func(a *onPrimary, r store.Reader) {
		t.Helper()
		if _, err := r.GetMany(t.Context(), []string{"k"}); err != nil {
			t.Fatal(err)
		}
	}
	commit := func(a *onPrimary) { wantErr(t, a.Commit(t.Context(), []store.Change{{}}, nil)[0], nil) }
	for _, tt := range []struct {
		name     string
		do       func(a *onPrimary, r store.Reader)
		confirms int
		err      error
	}{
		{"a read", func(a *onPrimary, r store.Reader) { read(a, r) }, 1, nil},
		{"a read, then a commit", func(a *onPrimary, r store.Reader) { read(a, r); commit(a) }, 0, nil},
		{"a commit, then a read", func(a *onPrimary, r store.Reader) { commit(a); read(a, r) }, 1, nil},
		{"a read, a commit, a read", func(a *onPrimary, r store.Reader) { read(a, r); commit(a); read(a, r) }, 1, nil},
		{"a read, then a commit that refuses its change", func(a *onPrimary, r store.Reader) {
			read(a, r)
			wantErr(t, a.put(origins.CollectorKey, 999), store.ErrConflict)
		}, 0, nil},
		{"a read, then a commit to the successor", func(a *onPrimary, r store.Reader) {
			a.primary.Replace()
			read(a, r)
			a.primary.Reconnect()
			commit(a)
		}, 0, store.ErrUnavailable},
		{"a read, then a commit that is unknown at the old primary", func(a *onPrimary, r store.Reader) {
			a.primary.Replace()
			read(a, r)
			ctx, cancel := context.WithCancel(t.Context())
			a.slept = func(time.Duration) { cancel() }
			wantErr(t, a.Commit(ctx, []store.Change{{}}, nil)[0], store.ErrUncertain)
		}, 2, store.ErrUnavailable}, // one of the settlement
		{"a snapshot, then a commit", func(a *onPrimary, r store.Reader) {
			view, release, err := store.Snapshot(r)
			wantErr(t, err, nil)
			defer release()
			read(a, view)
			commit(a)
		}, 0, nil},
		{"a commit, then a snapshot", func(a *onPrimary, r store.Reader) {
			commit(a)
			view, release, err := store.Snapshot(r)
			wantErr(t, err, nil)
			defer release()
			read(a, view)
		}, 1, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := joinPrimary(t)
			a.confirms = 0
			r, confirm := a.Provisional()
			tt.do(a, r)
			wantErr(t, confirm(t.Context()), tt.err)
			if a.confirms != tt.confirms {
				t.Errorf("%d confirmations, want %d", a.confirms, tt.confirms)
			}
		})
	}
}

// Callers share the next write; one that runs already may have begun before their reads.
func TestConfirmationsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var pass chan struct{}
		confirms := 0
		primary := w.engine.OpenPrimary(func(op memstore.Op) memstore.Fault {
			if op.Kind == memstore.OpConfirm && pass != nil {
				confirms++
				<-pass
			}
			return memstore.OK
		})
		b := w.add("a")
		wantErr(t, b.joinOn(primary), nil)
		pass = make(chan struct{})
		errs := make(chan error, 65)
		read := func() { _, err := b.Get(t.Context(), origins.Key(b.Origin())); errs <- err }
		go read()
		synctest.Wait()
		for range 64 {
			go read()
		}
		synctest.Wait()
		close(pass)
		for range 65 {
			wantErr(t, <-errs, nil)
		}
		if confirms != 2 {
			t.Errorf("%d confirmations", confirms)
		}
	})
}

// The last batch of an ended origin may be missing at an old primary, and is on record nevertheless.
func TestAnOriginIsNotRemovedAtAnOldPrimary(t *testing.T) {
	a := joinPrimary(t)
	wantErr(t, a.other.revoke("s"), nil)
	id := a.other.Origin()
	wantErr(t, a.other.Leave(t.Context()), nil)
	a.other.stopped = true
	w := a.world
	w.run(2 * time.Minute)
	lists := 0
	b := w.add("c")
	wantErr(t, b.joinOn(&atBatches{primary: w.engine.OpenPrimary(nil), lists: &lists}), nil)
	a.stopped = true // only the new one looks
	w.run(2 * time.Hour)
	if _, ok := w.record(id); !ok || lists == 0 {
		t.Errorf("the origin is on record: %t, after %d looks", ok, lists)
	}
}

type primary = memstore.Primary

// atBatches lists the batches of origins at an old primary, which has none.
type atBatches struct {
	*primary
	lists *int
}

func (e *atBatches) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	if prefix != origins.Prefix {
		*e.lists++
		e.Reconnect() // before the read is confirmed
		return nil, nil
	}
	return e.primary.List(ctx, prefix, after, limit)
}
