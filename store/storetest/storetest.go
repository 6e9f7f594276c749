// Package storetest is the conformance suite of [store.Store] and [store.Engine], which every engine's own test
// runs by [Run] and [RunEngine]. It also has a store that injects conflicts, for tests of code that uses a store.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/revocation"
	"tokenbroker/store"
)

// Run checks that the stores that open returns keep the contract of package store. Each
// sub-test opens its own store, which must be empty and use the machine's clock.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	tests := []struct {
		name string
		run  func(t *testing.T, s store.Store)
	}{
		{"a record that was never written is not found", testNotFound},
		{"revisions", testRevisions},
		{"the caller owns the values that it passes and receives", testOwnership},
		{"a change is all or nothing", testAllOrNothing},
		{"changes see the earlier ones of their commit", testOrder},
		{"the seal runs once, with the accepted events in order", testSeal},
		{"no seal without events", testNoSeal},
		{"a failing seal refuses everything", testSealError},
		{"list pages in key order", testList},
		{"expired records are not found and their keys can be written", testExpiry},
		{"a cancelled commit writes nothing", testCancelled},
		{"invalid keys are refused", testBadKeys},
		{"one of many concurrent writers of a revision wins", testConcurrency},
		{"a snapshot does not change", testSnapshot},
		{"every record is read for another store, as of one view", testEach},
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

// mustCommit commits and fails the test unless each change gets its error of want, or nil.
func mustCommit(t *testing.T, s store.Store, changes []store.Change, seal store.Seal, want ...error) {
	t.Helper()
	wantErrors(t, s.Commit(t.Context(), changes, seal), want...)
}

// contents returns what List returns for prefix, without the revisions.
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

func mustGet(t *testing.T, s store.Reader, key string) store.Record {
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
	if judgesBefore(s) { // the view of an engine may be that of its first read
		mustGet(t, view, "a")
	}
	mustCommit(t, s, []store.Change{change(set("a", "new", was.Revision), set("b", "new", 0))}, nil, nil)
	if got, err := view.Get(t.Context(), "a"); err != nil || !cmp.Equal(got, was) {
		t.Errorf("got %v, %v from the snapshot, want %v", got, err, was)
	}
	if _, err := view.Get(t.Context(), "b"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a record written after the snapshot: %v, want ErrNotFound", err)
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
