package badgerstore_test

import (
	"errors"
	"fmt"
	"testing"

	"tokenbroker/store"
	"tokenbroker/store/badgerstore"
)

func TestTheFenceSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	s := open(t, badgerstore.Config{Dir: dir})
	revision, _ := s.CommitFenced(t.Context(), store.Fence{Key: "origin.a", Value: []byte("1")}, nil, nil)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, badgerstore.Config{Dir: dir})
	change := []store.Change{{Writes: []store.Write{{Key: "k"}}}}
	if _, errs := s.CommitFenced(t.Context(), store.Fence{Key: "origin.a"}, change, nil); !errors.Is(errs[0], store.ErrFenced) {
		t.Errorf("the fence of another run: %v", errs[0])
	}
	moved, errs := s.CommitFenced(t.Context(), store.Fence{Key: "origin.a", Expect: revision, Value: []byte("2")}, change, nil)
	if errs[0] != nil || moved <= revision {
		t.Errorf("revision %d after %d, %v", moved, revision, errs[0])
	}
}

// The fence's record has its place in a transaction that its changes fill.
func TestTheFenceFitsIntoAFullTransaction(t *testing.T) {
	s := open(t, badgerstore.Config{Dir: t.TempDir()})
	fence := store.Fence{Key: "origin.a", Value: make([]byte, 256<<10)}
	changes := make([]store.Change, 400)
	for i := range changes {
		changes[i].Writes = []store.Write{{Key: fmt.Sprintf("k%05d", i), Value: make([]byte, 64<<10)}}
	}
	rounds := 0
	for len(changes) > 0 {
		rounds++
		revision, errs := s.CommitFenced(t.Context(), fence, changes, nil)
		fence.Expect = revision
		written := 0
		for ; written < len(errs) && errs[written] == nil; written++ {
		}
		if written < len(errs) && !errors.Is(errs[written], store.ErrTooBig) || written == 0 || revision == 0 {
			t.Fatalf("%d changes written at revision %d, then %v", written, revision, errs[written])
		}
		changes = changes[written:]
	}
	if rounds < 2 {
		t.Error("the transaction was not full")
	}
}

func TestNoChangeWritesTheFence(t *testing.T) {
	s := open(t, badgerstore.Config{InMemory: true})
	fence := store.Fence{Key: "origin.a", Value: []byte("1")}
	changes := []store.Change{{Writes: []store.Write{{Key: fence.Key, Blind: true}}}, {Writes: []store.Write{{Key: "k"}}}}
	_, errs := s.CommitFenced(t.Context(), fence, changes, nil)
	if errs[0] == nil || errs[1] != nil {
		t.Errorf("got %v", errs)
	}
	for _, key := range []string{"\x00revision", string(make([]byte, store.MaxKeySize+1))} {
		if _, errs := s.CommitFenced(t.Context(), store.Fence{Key: key}, changes, nil); errs[1] == nil {
			t.Errorf("a fence with the key %.10q was written", key)
		}
	}
}
