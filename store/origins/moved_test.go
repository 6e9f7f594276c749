package origins_test

import (
	"errors"
	"strings"
	"testing"

	"tokenbroker/store"
	"tokenbroker/store/memstore"
	"tokenbroker/store/origins"
)

// moved has the records of a program's store moved, and returns what identifies the migration.
func moved(t *testing.T, w *world) string {
	t.Helper()
	p := w.program(origins.Migration)
	wantErr(t, p.join(), nil)
	wantErr(t, p.Move(t.Context(), origins.Moved{To: "the prefix other/", ID: "id"}), nil)
	if w.marked() {
		t.Error("the store of a finished program is marked")
	}
	return "id"
}

func TestNoBrokerJoinsAMovedStore(t *testing.T) {
	w := newWorld(t)
	id := moved(t, w)
	err := w.add("a").join()
	if !errors.Is(err, origins.ErrMoved) || !strings.Contains(err.Error(), "the prefix other/") || !strings.Contains(err.Error(), "tokenbroker migrate") {
		t.Errorf("a broker: %v, want ErrMoved with the other store and what to do", err)
	}
	wantErr(t, w.program("restore").join(), origins.ErrMoved)
	wantErr(t, w.program("floor raise").join(), origins.ErrMoved)
	engine := w.engine.Open(nil)
	wantErr(t, origins.Startable(t.Context(), engine), origins.ErrMoved)
	if m, err := origins.ReadMoved(t.Context(), engine); err != nil || m.ID != id || m.V != 1 {
		t.Errorf("the record is %+v, %v", m, err)
	}
	wantErr(t, w.program(origins.Migration).join(), nil)
	wantErr(t, origins.Startable(t.Context(), engine), origins.ErrMaintenance)
}

// TestABrokerThatJoinsWhileAStoreIsMoved lets a broker join at each operation of the end of a migration.
func TestABrokerThatJoinsWhileAStoreIsMoved(t *testing.T) {
	for at := range 8 {
		w := newWorld(t)
		p := w.program(origins.Migration)
		wantErr(t, p.join(), nil)
		a := w.add("a")
		n := 0
		// Each operation of the broker may be followed by the end of the migration.
		a.faults = func(op memstore.Op) memstore.Fault {
			if op.Kind != memstore.OpHint {
				if n++; n == at+1 {
					wantErr(t, p.Move(t.Context(), origins.Moved{To: "other", ID: "id"}), nil)
				}
			}
			return memstore.OK
		}
		if err := a.join(); err == nil {
			t.Errorf("at %d: a broker has joined a store that was moved", at)
		}
	}
}

// TestAMoveThatWasNotWrittenIsNotTakenForOne: the commit of a move does not arrive, and another program ends the run before it
// looks. If it took that end for its own, both stores could start.
func TestAMoveThatWasNotWrittenIsNotTakenForOne(t *testing.T) {
	w := newWorld(t)
	p := w.program(origins.Migration)
	wantErr(t, p.join(), nil)
	engine := w.engine.Open(nil)
	lost := false
	p.faults = func(op memstore.Op) memstore.Fault {
		switch {
		case op.Kind == memstore.OpCommit:
			lost = true
			return memstore.Keep
		case lost:
			lost = false
			all, err := origins.List(t.Context(), engine)
			if err != nil || len(all) != 1 {
				t.Fatalf("%d origins, %v", len(all), err)
			}
			ended := all[0].Record
			ended.Ended = true
			end := store.Change{Writes: []store.Write{{Key: origins.Key(all[0].ID), Value: ended.Encode(), Expect: all[0].Revision}}}
			_, errs := engine.CommitFenced(t.Context(), store.Fence{}, []store.Change{end}, nil)
			wantErr(t, errs[0], nil)
		}
		return memstore.OK
	}
	if err := p.Move(t.Context(), origins.Moved{To: "the prefix other/", ID: "id"}); err == nil {
		t.Error("the move succeeded")
	}
	if m, err := origins.ReadMoved(t.Context(), engine); err != nil || m.V != 0 {
		t.Errorf("the record is %+v, %v", m, err)
	}
}
