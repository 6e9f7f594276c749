package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/store"
)

func testHandles(t *testing.T, h Harness) {
	a, b := unfenced(h.Engine), unfenced(h.Other)
	mustCommit(t, a, []store.Change{change(set("k", "a", 0))}, nil, nil)
	first := mustGet(t, b, "k")
	if string(first.Value) != "a" {
		t.Fatalf("got %q through the other handle", first.Value)
	}
	mustCommit(t, b, []store.Change{change(set("k", "b", first.Revision))}, nil, nil)
	mustCommit(t, a, []store.Change{change(set("k", "c", first.Revision))}, nil, store.ErrConflict)
	wantContents(t, a, map[string]string{"k": "b"})
}

func testHandlesConcurrency(t *testing.T, h Harness) {
	testWriters(t, unfenced(h.Engine), unfenced(h.Other))
}

func testGetMany(t *testing.T, h Harness) {
	s := unfenced(h.Engine)
	const records = store.MaxMany + 20
	for part := range slices.Chunk(slices.Collect(countTo(records)), 50) {
		var writes []store.Write
		for _, i := range part {
			writes = append(writes, set(fmt.Sprintf("k%03d", i), fmt.Sprint(i), 0))
		}
		mustCommit(t, s, []store.Change{change(writes...)}, nil, nil)
	}
	var keys []string
	var want []store.Record
	for i := records - 1; i >= 0; i-- {
		present, absent := fmt.Sprintf("k%03d", i), fmt.Sprintf("absent%03d", i)
		keys = append(keys, present, absent)
		want = append(want, mustGet(t, s, present), store.Record{Key: absent})
	}
	keys, want = append(keys, "k000"), append(want, mustGet(t, s, "k000"))
	got, err := s.GetMany(t.Context(), keys)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	if got, err := s.GetMany(t.Context(), nil); err != nil || len(got) != 0 {
		t.Errorf("no keys: %v, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.GetMany(ctx, keys); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func countTo(n int) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}

// testGetManyView reads records that each commit writes together.
func testGetManyView(t *testing.T, h Harness) {
	writer, reader := unfenced(h.Engine), unfenced(h.Other)
	var keys []string
	for i := range store.MaxMany {
		keys = append(keys, fmt.Sprintf("k%03d", i))
	}
	write := func(value string) {
		first, last := set(keys[0], value, 0), set(keys[len(keys)-1], value, 0)
		first.Blind, last.Blind = true, true
		mustCommit(t, writer, []store.Change{change(first, last)}, nil, nil)
	}
	write("0")
	var reads sync.WaitGroup
	reads.Go(func() {
		for range 50 {
			records, err := reader.GetMany(t.Context(), keys)
			if err != nil {
				t.Error(err)
				return
			}
			if first, last := records[0], records[len(records)-1]; first.Revision != last.Revision {
				t.Errorf("read revisions %d and %d of one commit", first.Revision, last.Revision)
				return
			}
		}
	})
	for i := range 50 {
		write(fmt.Sprint(i))
	}
	reads.Wait()
}

// testFollow writes until there is a hint, because an engine may lose some.
func testFollow(t *testing.T, h Harness) {
	hints := h.Other.Follow(t.Context(), "followed.")
	s := unfenced(h.Engine)
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for i := range 500 {
		mustCommit(t, s, []store.Change{change(store.Write{Key: "followed.k", Value: fmt.Append(nil, i), Blind: true})}, nil, nil)
		select {
		case <-hints:
			return
		case <-again.C:
		}
	}
	t.Error("there was no hint")
}
