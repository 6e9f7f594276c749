package storetest

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/revocation"
	"tokenbroker/store"
)

func testRevisions(t *testing.T, s store.Store) {
	mustCommit(t, s, []store.Change{change(set("a", "1", 0))}, nil, nil)
	first := mustGet(t, s, "a")
	if first.Revision == 0 || string(first.Value) != "1" || first.Key != "a" {
		t.Fatalf("got %+v", first)
	}
	for _, wrong := range []store.Revision{0, first.Revision + 1, first.Revision - 1} {
		mustCommit(t, s, []store.Change{change(set("a", "2", wrong))}, nil, store.ErrConflict)
	}
	mustCommit(t, s, []store.Change{change(set("a", "2", first.Revision))}, nil, nil)
	second := mustGet(t, s, "a")
	if second.Revision <= first.Revision {
		t.Fatalf("revision went from %d to %d", first.Revision, second.Revision)
	}
	mustCommit(t, s, []store.Change{change(store.Write{Key: "a", Delete: true, Expect: first.Revision})}, nil, store.ErrConflict)
	mustCommit(t, s, []store.Change{change(store.Write{Key: "a", Delete: true, Expect: second.Revision})}, nil, nil)
	if _, err := s.Get(t.Context(), "a"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("a deleted record: %v", err)
	}
	mustCommit(t, s, []store.Change{change(set("a", "3", second.Revision))}, nil, store.ErrConflict)
	mustCommit(t, s, []store.Change{change(set("a", "3", 0))}, nil, nil)
	if third := mustGet(t, s, "a"); third.Revision <= second.Revision {
		t.Fatalf("a key made again has revision %d, had %d", third.Revision, second.Revision)
	}
	mustCommit(t, s, []store.Change{change(store.Write{Key: "a", Value: []byte("4"), Blind: true})}, nil, nil)
	mustCommit(t, s, []store.Change{change(store.Write{Key: "gone", Delete: true, Blind: true})}, nil, nil)
	mustCommit(t, s, []store.Change{change(store.Write{Key: "gone", Delete: true})}, nil, nil)
	wantContents(t, s, map[string]string{"a": "4"})
}

func testAllOrNothing(t *testing.T, s store.Store) {
	mustCommit(t, s, []store.Change{change(set("taken", "x", 0))}, nil, nil)
	mustCommit(t, s, []store.Change{
		change(set("a", "1", 0), set("taken", "y", 0), set("b", "1", 0)),
		change(set("c", "1", 0)),
		change(set("d", "1", 0), set("d", "2", 0)),
	}, nil, store.ErrConflict, nil, store.ErrConflict)
	wantContents(t, s, map[string]string{"taken": "x", "c": "1"})
}

func testOrder(t *testing.T, s store.Store) {
	mustCommit(t, s, []store.Change{change(set("old", "0", 0), set("doomed", "0", 0))}, nil, nil)
	old, doomed := mustGet(t, s, "old").Revision, mustGet(t, s, "doomed").Revision
	mustCommit(t, s, []store.Change{
		change(set("new", "1", 0)),
		change(set("new", "2", 0)), // exists now
		change(set("old", "1", old)),
		change(set("old", "2", old)), // was written by the change before
		change(store.Write{Key: "old", Value: []byte("3"), Blind: true}),
		change(store.Write{Key: "doomed", Delete: true, Expect: doomed}),
		change(set("doomed", "1", doomed)), // was deleted by the change before
		change(set("doomed", "2", 0)),
	}, nil, nil, store.ErrConflict, nil, store.ErrConflict, nil, nil, store.ErrConflict, nil)
	wantContents(t, s, map[string]string{"new": "1", "old": "3", "doomed": "2"})
	if a, b := mustGet(t, s, "new").Revision, mustGet(t, s, "old").Revision; a != b && !judgesBefore(s) {
		t.Errorf("one commit gave revisions %d and %d", a, b)
	}
}

func testSeal(t *testing.T, s store.Store) {
	mustCommit(t, s, []store.Change{change(set("taken", "x", 0))}, nil, nil)
	calls := 0
	var sealed []revocation.Event
	seal := func(accepted []revocation.Event) ([]store.Write, error) {
		calls++
		sealed = accepted
		// A seal may read the store, and sees nothing of the commit in progress.
		if _, err := s.Get(t.Context(), "a"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Get inside the seal: %v", err)
		}
		return []store.Write{{Key: "sealed", Value: []byte("3"), Blind: true}}, nil
	}
	mustCommit(t, s, []store.Change{
		{Writes: []store.Write{set("a", "1", 0)}, Events: []revocation.Event{event("1"), event("2")}},
		{Writes: []store.Write{set("taken", "1", 0)}, Events: []revocation.Event{event("3")}},
		{Events: []revocation.Event{event("4")}},
	}, seal, nil, store.ErrConflict, nil)
	if diff := cmp.Diff([]revocation.Event{event("1"), event("2"), event("4")}, sealed); diff != "" {
		t.Errorf("accepted (-want +got):\n%s", diff)
	}
	if calls != 1 && !judgesBefore(s) {
		t.Errorf("the seal ran %d times", calls)
	}
	wantContents(t, s, map[string]string{"taken": "x", "a": "1", "sealed": "3"})
	if a, b := mustGet(t, s, "a").Revision, mustGet(t, s, "sealed").Revision; a != b {
		t.Errorf("one commit gave revisions %d and %d", a, b)
	}
}

func testNoSeal(t *testing.T, s store.Store) {
	mayRun := false
	seal := func([]revocation.Event) ([]store.Write, error) {
		if !mayRun {
			t.Error("the seal ran")
		}
		return nil, nil
	}
	mustCommit(t, s, []store.Change{change(set("a", "1", 0))}, seal, nil)
	mayRun = judgesBefore(s) // whose engine may seal what it then refuses
	mustCommit(t, s, []store.Change{
		{Writes: []store.Write{set("a", "2", 0)}, Events: []revocation.Event{event("1")}},
	}, seal, store.ErrConflict)
	errs := s.Commit(t.Context(), []store.Change{{Writes: []store.Write{set("b", "1", 0)}, Events: []revocation.Event{event("1")}}}, nil)
	if errs[0] == nil {
		t.Error("events without a seal were accepted")
	}
	wantContents(t, s, map[string]string{"a": "1"})
}

func testSealError(t *testing.T, s store.Store) {
	broken := errors.New("broken")
	mustCommit(t, s, []store.Change{change(set("taken", "x", 0))}, nil, nil)
	stale := store.ErrConflict
	if judgesBefore(s) { // nothing was judged
		stale = oneOf{stale, broken}
	}
	mustCommit(t, s, []store.Change{
		{Writes: []store.Write{set("a", "1", 0)}},
		{Writes: []store.Write{set("taken", "1", 0)}},
		{Writes: []store.Write{set("b", "1", 0)}, Events: []revocation.Event{event("1")}},
	}, func([]revocation.Event) ([]store.Write, error) { return nil, broken }, broken, stale, broken)
	wantContents(t, s, map[string]string{"taken": "x"})
}

func testCancelled(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range s.Commit(ctx, []store.Change{change(set("a", "1", 0)), change(set("b", "1", 0))}, nil) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	}
	wantContents(t, s, map[string]string{})
}

func testBadKeys(t *testing.T, s store.Store) {
	errs := s.Commit(t.Context(), []store.Change{change(set("a", "1", 0), set("", "1", 0)), change(set("b", "1", 0))}, nil)
	if errs[0] == nil || errs[1] != nil {
		t.Errorf("got %v", errs)
	}
	wantContents(t, s, map[string]string{"b": "1"})
}

func testConcurrency(t *testing.T, s store.Store) { testWriters(t, s, s) }

// testWriters increments a counter through two stores on the same records.
func testWriters(t *testing.T, first, second store.Store) {
	const writers, rounds = 8, 25
	mustCommit(t, first, []store.Change{change(set("n", "", 0))}, nil, nil)
	var wg sync.WaitGroup
	for i := range writers {
		s := first
		if i%2 == 1 {
			s = second
		}
		wg.Go(func() {
			for won := 0; won < rounds; {
				r, err := s.Get(t.Context(), "n")
				if err != nil {
					t.Error(err)
					return
				}
				next := set("n", string(r.Value)+".", r.Revision)
				switch err := s.Commit(t.Context(), []store.Change{change(next)}, nil)[0]; {
				case err == nil:
					won++
				case !errors.Is(err, store.ErrConflict):
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if got := len(mustGet(t, first, "n").Value); got != writers*rounds {
		t.Errorf("%d increments survived of %d", got, writers*rounds)
	}
}
