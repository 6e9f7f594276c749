package node

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/broker"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
	"tokenbroker/store/origins"
)

// TestFailuresOfTheSharedStoreAre503 checks that failures of the engine are refusals that a client repeats, that an unknown
// outcome does not end the process, and that results by which callers decide stay as they are.
func TestFailuresOfTheSharedStoreAre503(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fault := memstore.OK
		engine := memstore.NewEngine(nil).Open(func(op memstore.Op) memstore.Fault {
			if fault == memstore.LoseAnswer && op.Kind != memstore.OpCommit {
				return memstore.Refuse
			}
			return fault
		})
		run, err := origins.Join(t.Context(), origins.Config{Engine: engine, Name: "a", KEK: "k", Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		s := sharedStore{run, newPauses(func() time.Duration { return 0 }, time.Now)}
		put := []store.Change{{Writes: []store.Write{{Key: "key", Value: []byte("1")}}}}
		if errs := s.Commit(t.Context(), put, nil); errs[0] != nil {
			t.Fatal(errs[0])
		}
		if errs := s.Commit(t.Context(), put, nil); !errors.Is(errs[0], store.ErrConflict) {
			t.Errorf("a stale change: %v", errs[0])
		}
		if _, err := s.Get(t.Context(), "none"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a missing record: %v", err)
		}
		wantRefused := func(what string, err error) {
			t.Helper()
			if app, ok := errors.AsType[*broker.Error](err); !ok || app.Code != broker.CodeUnavailable || errors.Is(err, store.ErrUncertain) {
				t.Errorf("%s: %v", what, err)
			}
		}
		fault = memstore.Refuse
		_, err = s.Get(t.Context(), "key")
		wantRefused("Get", err)
		_, err = s.GetMany(t.Context(), []string{"key"})
		wantRefused("GetMany", err)
		_, err = s.List(t.Context(), "", "", 1)
		wantRefused("List", err)
		view, release, err := s.Snapshot()
		if err == nil {
			_, err = view.Get(t.Context(), "key")
			release()
		}
		wantRefused("a view", err)
		wantRefused("Commit", s.Commit(t.Context(), put, nil)[0])

		fault = memstore.LoseAnswer
		ctx, cancel := context.WithTimeout(t.Context(), readTimeout)
		defer cancel()
		wantRefused("a commit of unknown outcome", s.Commit(ctx, put, nil)[0])
	})
}

// TestSessionsAreNotDecidedAfterAPause checks that a request which was admitted before the process was stopped is not decided on
// what other brokers have written in the meantime.
func TestSessionsAreNotDecidedAfterAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		run, err := origins.Join(t.Context(), origins.Config{
			Engine: memstore.NewEngine(nil).Open(nil), Name: "a", KEK: "k", Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		now := &clocks{mono: time.Minute, wall: time.Unix(1_700_000_000, 0)}
		p := newPauses(func() time.Duration { return now.mono }, func() time.Time { return now.wall })
		s := sharedStore{run, p}
		snapshot := func() error {
			_, release, err := s.Snapshot()
			if err == nil {
				release()
			}
			return err
		}
		now.run(time.Minute) // the start
		p.begin()
		if err := snapshot(); err != nil {
			t.Errorf("after a slow start: %v", err)
		}
		now.run(pauseAfter + time.Millisecond)
		for _, when := range []func(){func() {}, func() { p.pulse() }} {
			when()
			if app, ok := errors.AsType[*broker.Error](snapshot()); !ok || app.Code != broker.CodeUnavailable {
				t.Errorf("after a pause: %v", app)
			}
		}
		now.run(time.Millisecond)
		p.stored(now.mono)
		if err := snapshot(); err != nil {
			t.Errorf("after the store was read: %v", err)
		}
	})
}
