package storetest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/store"
)

func sweeperOf(t *testing.T, e store.Engine) store.Sweeper {
	t.Helper()
	s, ok := e.(store.Sweeper)
	if !ok {
		t.Skip("the engine deletes expired records by itself")
	}
	return s
}

func expiring(key string, at int64) store.Write {
	return store.Write{Key: key, Value: []byte("v"), ExpiresAt: at}
}

// expired returns what Expired finds in pages of a size.
func expired(t *testing.T, s store.Sweeper, before int64, limit int) (found []store.Record, pages int) {
	t.Helper()
	for after := ""; ; {
		records, next, err := s.Expired(t.Context(), before, after, limit)
		if err != nil {
			t.Fatal(err)
		}
		if next != "" && next <= after || len(records) > limit {
			t.Fatalf("%d records, and %q follows %q", len(records), next, after)
		}
		found, pages = append(found, records...), pages+1
		if after = next; next == "" {
			return found, pages
		}
	}
}

func testExpired(t *testing.T, h Harness) {
	s, now := unfenced(h.Engine), time.Now().Unix()
	sweeper := sweeperOf(t, h.Other)
	if found, _ := expired(t, sweeper, now, 3); len(found) != 0 {
		t.Errorf("found %v in an empty store", found)
	}
	mustCommit(t, s, []store.Change{change(
		expiring("a", now-10), set("b", "v", 0), expiring("c", now+3600), expiring("d", now-20), expiring("e", now-30),
		expiring("f", now+10), expiring("g", now-10), set("h", "v", 0),
	)}, nil, nil)
	revision := mustGet(t, s, "b").Revision // of the commit
	record := func(key string) store.Record { return store.Record{Key: key, Revision: revision} }
	for _, tt := range []struct {
		before int64
		limit  int
		want   []store.Record
	}{
		{now, 100, []store.Record{record("a"), record("d"), record("e"), record("g")}},
		{now, 1, []store.Record{record("a"), record("d"), record("e"), record("g")}},
		{now, 3, []store.Record{record("a"), record("d"), record("e"), record("g")}},
		{now - 20, 3, []store.Record{record("d"), record("e")}},
		{now - 21, 3, []store.Record{record("e")}},
		{now + 10, 3, []store.Record{record("a"), record("d"), record("e"), record("f"), record("g")}},
		{now - 31, 3, nil},
		{0, 3, nil},
	} {
		found, pages := expired(t, sweeper, tt.before, tt.limit)
		if diff := cmp.Diff(tt.want, found); diff != "" {
			t.Errorf("before %d, %d at a time (-want +got):\n%s", tt.before-now, tt.limit, diff)
		}
		examined := 8
		if h.ExpiryIndex {
			examined = len(tt.want)
		}
		if pages < examined/tt.limit {
			t.Errorf("%d records were examined in %d pages of %d", examined, pages, tt.limit)
		}
	}
}

// testSweep deletes expired records of which some have been written since they were found.
func testSweep(t *testing.T, h Harness) {
	a, b, now := unfenced(h.Engine), unfenced(h.Other), time.Now().Unix()
	sweeper := sweeperOf(t, h.Other)
	keys := []string{"created", "deleted", "expired", "expired2", "prolonged"}
	var writes []store.Write
	for _, key := range keys {
		writes = append(writes, expiring(key, now-10))
	}
	mustCommit(t, a, []store.Change{change(writes...)}, nil, nil)
	found, _ := expired(t, sweeper, now, 100)
	if len(found) != len(keys) {
		t.Fatalf("found %v", found)
	}
	// The broker that writes has read the expired records, as one does that decides about them.
	if records, err := a.GetMany(t.Context(), keys); err != nil || records[0].Revision != 0 {
		t.Fatalf("expired records are read: %v, %v", records, err)
	}
	prolonged := expiring("prolonged", now+3600)
	mustCommit(t, a, []store.Change{
		change(set("created", "new", 0)), change(prolonged), change(store.Write{Key: "deleted", Delete: true, Blind: true}),
	}, nil, nil, nil, nil)
	var deletes []store.Change
	for _, r := range found {
		deletes = append(deletes, change(store.Write{Key: r.Key, Delete: true, Expect: r.Revision}))
	}
	mustCommit(t, b, deletes, nil, store.ErrConflict, store.ErrConflict, nil, nil, store.ErrConflict)
	wantContents(t, a, map[string]string{"created": "new", "prolonged": "v"})
	mustCommit(t, b, deletes, nil, store.ErrConflict, store.ErrConflict, store.ErrConflict, store.ErrConflict, store.ErrConflict)
	if left, _ := expired(t, sweeper, now, 100); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	// A key whose record was swept can be created at once, or after it was read again.
	again := []store.Change{change(set("expired", "new", 0))}
	if errs := a.Commit(t.Context(), again, nil); errs[0] != nil {
		wantErrors(t, errs, store.ErrConflict)
		if _, err := a.Get(t.Context(), "expired"); err == nil {
			t.Error("a swept record is read")
		}
		mustCommit(t, a, again, nil, nil)
	}
	mustCommit(t, b, deletes, nil, store.ErrConflict, store.ErrConflict, store.ErrConflict, store.ErrConflict, store.ErrConflict)
	wantContents(t, b, map[string]string{"created": "new", "prolonged": "v", "expired": "new"})
}
