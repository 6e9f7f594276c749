// Package storetest is the one conformance suite of [store.Store]: an engine's own test
// calls [Run]. It also has the store that injects conflicts, for tests of its users.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/revocation"
	"tokenbroker/store"
)

// Run checks that the stores that open gives keep the contract of the port. Each
// sub-test asks for a store of its own, empty and on the machine's clock.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	tests := []struct {
		name string
		run  func(t *testing.T, s store.Store)
	}{
		{"a record that was never written is not found", testNotFound},
		{"revisions", testRevisions},
		{"the caller owns what it gives and gets", testOwnership},
		{"a change is all or nothing", testAllOrNothing},
		{"changes see the earlier ones of their commit", testOrder},
		{"the seal runs once, with the accepted events in order", testSeal},
		{"no seal without events", testNoSeal},
		{"a failing seal refuses everything", testSealError},
		{"list pages in key order", testList},
		{"expired records are gone, their keys free", testExpiry},
		{"a cancelled commit writes nothing", testCancelled},
		{"bad keys are refused", testBadKeys},
		{"one of many writers wins", testConcurrency},
		{"a snapshot stays as it was", testSnapshot},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, open(t)) })
	}
}

func set(key, value string, expect store.Revision) store.Write {
	return store.Write{Key: key, Value: []byte(value), Expect: expect}
}

func change(writes ...store.Write) store.Change { return store.Change{Writes: writes} }

func event(value string) revocation.Event {
	return revocation.Event{Kind: revocation.KindSID, Value: value, At: 1, ExpiresAt: 2}
}

// mustCommit commits and wants want for each change (nil, or an error to match).
func mustCommit(t *testing.T, s store.Store, changes []store.Change, seal store.Seal, want ...error) {
	t.Helper()
	errs := s.Commit(t.Context(), changes, seal)
	if len(errs) != len(want) {
		t.Fatalf("Commit gave %d results for %d changes: %v", len(errs), len(want), errs)
	}
	for i, err := range errs {
		if !errors.Is(err, want[i]) || want[i] == nil && err != nil {
			t.Fatalf("change %d: got %v, want %v", i, err, want[i])
		}
	}
}

// contents is what List shows of prefix, without the revisions.
func contents(t *testing.T, s store.Store, prefix string) map[string]string {
	t.Helper()
	records, err := s.List(t.Context(), prefix, "", 10_000)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for _, r := range records {
		got[r.Key] = string(r.Value)
	}
	return got
}

func wantContents(t *testing.T, s store.Store, want map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, contents(t, s, "")); diff != "" {
		t.Fatalf("contents (-want +got):\n%s", diff)
	}
}

func mustGet(t *testing.T, s store.Store, key string) store.Record {
	t.Helper()
	r, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatalf("Get(%q): %v", key, err)
	}
	return r
}

func testNotFound(t *testing.T, s store.Store) {
	for _, key := range []string{"nothing", ""} {
		if _, err := s.Get(t.Context(), key); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Get(%q): %v", key, err)
		}
	}
	wantContents(t, s, map[string]string{})
	if errs := s.Commit(t.Context(), nil, nil); len(errs) != 0 {
		t.Errorf("an empty commit: %v", errs)
	}
}

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

func testOwnership(t *testing.T, s store.Store) {
	value := []byte("mine")
	mustCommit(t, s, []store.Change{change(store.Write{Key: "a", Value: value}, store.Write{Key: "empty"})}, nil, nil)
	copy(value, "over")
	copy(mustGet(t, s, "a").Value, "YYYY")
	wantContents(t, s, map[string]string{"a": "mine", "empty": ""})
	if v := mustGet(t, s, "empty").Value; v == nil {
		t.Error("an empty value came back as nil")
	}
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
		change(set("new", "2", 0)),   // exists by now
		change(set("old", "1", old)), //
		change(set("old", "2", old)), // written by now
		change(store.Write{Key: "old", Value: []byte("3"), Blind: true}),
		change(store.Write{Key: "doomed", Delete: true, Expect: doomed}),
		change(set("doomed", "1", doomed)), // deleted by now
		change(set("doomed", "2", 0)),
	}, nil, nil, store.ErrConflict, nil, store.ErrConflict, nil, nil, store.ErrConflict, nil)
	wantContents(t, s, map[string]string{"new": "1", "old": "3", "doomed": "2"})
	if a, b := mustGet(t, s, "new").Revision, mustGet(t, s, "old").Revision; a != b {
		t.Errorf("one commit gave revisions %d and %d", a, b)
	}
}

func testSeal(t *testing.T, s store.Store) {
	mustCommit(t, s, []store.Change{change(set("taken", "x", 0))}, nil, nil)
	calls := 0
	seal := func(accepted []revocation.Event) ([]store.Write, error) {
		calls++
		if diff := cmp.Diff([]revocation.Event{event("1"), event("2"), event("4")}, accepted); diff != "" {
			t.Errorf("accepted (-want +got):\n%s", diff)
		}
		// A seal may read, and sees nothing of the commit under way.
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
	if calls != 1 {
		t.Errorf("the seal ran %d times", calls)
	}
	wantContents(t, s, map[string]string{"taken": "x", "a": "1", "sealed": "3"})
	if a, b := mustGet(t, s, "a").Revision, mustGet(t, s, "sealed").Revision; a != b {
		t.Errorf("one commit gave revisions %d and %d", a, b)
	}
}

func testNoSeal(t *testing.T, s store.Store) {
	seal := func([]revocation.Event) ([]store.Write, error) {
		t.Error("the seal ran")
		return nil, nil
	}
	mustCommit(t, s, []store.Change{change(set("a", "1", 0))}, seal, nil)
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
	mustCommit(t, s, []store.Change{
		{Writes: []store.Write{set("a", "1", 0)}},
		{Writes: []store.Write{set("taken", "1", 0)}},
		{Writes: []store.Write{set("b", "1", 0)}, Events: []revocation.Event{event("1")}},
	}, func([]revocation.Event) ([]store.Write, error) { return nil, broken }, broken, store.ErrConflict, broken)
	wantContents(t, s, map[string]string{"taken": "x"})
}

func testList(t *testing.T, s store.Store) {
	var writes []store.Write
	for i := range 25 {
		writes = append(writes, set(fmt.Sprintf("p.%02d", i), "v", 0))
	}
	writes = append(writes, set("o", "v", 0), set("p", "v", 0), set("p/", "v", 0), set("q", "v", 0))
	mustCommit(t, s, []store.Change{change(writes...)}, nil, nil)
	var got []string
	for after := ""; ; {
		records, err := s.List(t.Context(), "p.", after, 7)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			got = append(got, r.Key)
			if r.Revision != mustGet(t, s, r.Key).Revision {
				t.Errorf("%s: List and Get differ in the revision", r.Key)
			}
		}
		if len(records) < 7 {
			break
		}
		after = got[len(got)-1]
	}
	var want []string
	for _, w := range writes[:25] {
		want = append(want, w.Key)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("pages (-want +got):\n%s", diff)
	}
	for _, tt := range []struct {
		prefix, after string
		limit, want   int
	}{
		{"", "", 100, 29}, {"p.", "p.24", 5, 0}, {"p.", "a", 100, 25}, {"p.", "p.23x", 5, 1},
		{"p.", "zzz", 5, 0}, {"nothing", "", 5, 0}, {"p.", "", 0, 0}, {"p.", "", -1, 0},
	} {
		records, err := s.List(t.Context(), tt.prefix, tt.after, tt.limit)
		if err != nil || len(records) != tt.want {
			t.Errorf("List(%q, %q, %d): %d records, %v; want %d", tt.prefix, tt.after, tt.limit, len(records), err, tt.want)
		}
	}
}

func testExpiry(t *testing.T, s store.Store) {
	now := time.Now().Unix()
	gone := store.Write{Key: "gone", Value: []byte("v"), ExpiresAt: now - 10}
	kept := store.Write{Key: "kept", Value: []byte("v"), ExpiresAt: now + 3600}
	mustCommit(t, s, []store.Change{change(gone, kept)}, nil, nil)
	wantContents(t, s, map[string]string{"kept": "v"})
	if _, err := s.Get(t.Context(), "gone"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an expired record: %v", err)
	}
	mustCommit(t, s, []store.Change{change(set("kept", "w", 0)), change(set("gone", "w", 0))}, nil, store.ErrConflict, nil)
	wantContents(t, s, map[string]string{"kept": "v", "gone": "w"})
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

func testConcurrency(t *testing.T, s store.Store) {
	const writers, rounds = 8, 25
	mustCommit(t, s, []store.Change{change(set("n", "", 0))}, nil, nil)
	var wg sync.WaitGroup
	for range writers {
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
	if got := len(mustGet(t, s, "n").Value); got != writers*rounds {
		t.Errorf("%d increments survived of %d", got, writers*rounds)
	}
}

func testSnapshot(t *testing.T, s store.Store) {
	if _, ok := s.(store.Snapshotter); !ok {
		t.Skip("the engine has none")
	}
	mustCommit(t, s, []store.Change{change(set("a", "old", 0))}, nil, nil)
	was, err := s.Get(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	view, release, err := store.Snapshot(s)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	mustCommit(t, s, []store.Change{change(set("a", "new", was.Revision), set("b", "new", 0))}, nil, nil)
	if got, err := view.Get(t.Context(), "a"); err != nil || !cmp.Equal(got, was) {
		t.Errorf("got %v, %v from the snapshot, want %v", got, err, was)
	}
	if _, err := view.Get(t.Context(), "b"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("what was written after the snapshot: %v, want ErrNotFound", err)
	}
	if records, err := view.List(t.Context(), "", "", 10); err != nil || len(records) != 1 {
		t.Errorf("%d records in the snapshot, %v, want 1", len(records), err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := view.Get(cancelled, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
