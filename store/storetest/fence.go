package storetest

import (
	"errors"
	"testing"

	"tokenbroker/revocation"
	"tokenbroker/store"
)

func testFence(t *testing.T, h Harness) {
	r := startRun(t, h.Engine)
	mustValue := func(want string) {
		t.Helper()
		if got := string(mustGet(t, h.Other, fenceKey).Value); got != want {
			t.Errorf("the fence's record is %q, want %q", got, want)
		}
	}
	mustValue("plain")
	r.commit(t, []store.Change{change(set("a", "1", 0))}, nil, nil)
	r.commit(t, []store.Change{withEvent(store.Change{}, "1")}, sealTo("batch.1"), nil)
	mustValue("sealed")
	r.commit(t, []store.Change{change(set("a", "2", 0)), withEvent(change(set("a", "2", 0)), "2")}, sealTo("batch.2"),
		store.ErrConflict, oneOf{store.ErrConflict, store.ErrRetry})
	mustValue("plain")
	r.commit(t, nil, nil)
	broken := errors.New("broken")
	_, errs := r.CommitFenced(t.Context(), r.fence(), []store.Change{withEvent(store.Change{}, "3")},
		func([]revocation.Event) ([]store.Write, error) { return nil, broken })
	wantErrors(t, errs, broken)
	if now := mustGet(t, h.Other, fenceKey).Revision; now != r.revision {
		t.Errorf("a failing seal moved the fence to revision %d from %d", now, r.revision)
	}
	wantContents(t, unfenced(h.Other), map[string]string{"a": "1", "batch.1": "\x00", fenceKey: "plain"})
}

func testFenced(t *testing.T, h Harness) {
	r := startRun(t, h.Engine)
	stale := r.fence()
	r.commit(t, []store.Change{{}}, nil, nil)
	none := stale
	none.Expect = 0
	for _, fence := range []store.Fence{stale, none} {
		changes := []store.Change{change(set("a", "1", 0)), {}, withEvent(change(set("b", "1", 0)), "1"), change(store.Write{Key: "c", Blind: true})}
		revision, errs := h.Other.CommitFenced(t.Context(), fence, changes, sealTo("batch"))
		wantErrors(t, errs, store.ErrFenced, store.ErrFenced, store.ErrFenced, store.ErrFenced)
		if revision != 0 {
			t.Errorf("a refused commit has revision %d", revision)
		}
	}
	// The record was deleted: it has not the expected revision either.
	mustCommit(t, unfenced(h.Other), []store.Change{change(store.Write{Key: fenceKey, Delete: true, Blind: true})}, nil, nil)
	_, errs := h.Engine.CommitFenced(t.Context(), r.fence(), []store.Change{change(set("a", "1", 0))}, nil)
	wantErrors(t, errs, store.ErrFenced)
	wantContents(t, unfenced(h.Engine), map[string]string{})
}

func testCommitRevision(t *testing.T, h Harness) {
	r := startRun(t, h.Engine)
	revision := r.commit(t, []store.Change{change(set("a", "1", 0)), withEvent(change(set("b", "1", 0)), "1")}, sealTo("batch"), nil, nil)
	for _, key := range []string{"a", "b", "batch", fenceKey} {
		if got := mustGet(t, h.Other, key).Revision; got != revision {
			t.Errorf("%s has revision %d, its commit %d", key, got, revision)
		}
	}
	revision, errs := h.Engine.CommitFenced(t.Context(), store.Fence{}, []store.Change{change(set("c", "1", 0))}, nil)
	wantErrors(t, errs, nil)
	if got := mustGet(t, h.Other, "c").Revision; got != revision {
		t.Errorf("without a fence: the record has revision %d, its commit %d", got, revision)
	}
}

// testSharedKey commits two changes of one key: the second is judged after the first, or not yet.
func testSharedKey(t *testing.T, h Harness) {
	r := startRun(t, h.Engine)
	_, errs := r.CommitFenced(t.Context(), r.fence(), []store.Change{change(set("k", "1", 0)), change(set("k", "2", 0))}, nil)
	wantErrors(t, errs, nil, oneOf{store.ErrConflict, store.ErrRetry})
	wantContents(t, unfenced(h.Other), map[string]string{"k": "1", fenceKey: "plain"})
}

func testGroup(t *testing.T, h Harness) {
	r := startRun(t, h.Engine)
	r.commit(t, []store.Change{change(set("taken", "1", 0))}, nil, nil)
	stale := withEvent(change(set("taken", "2", 0)), "stale")
	good := withEvent(change(set("good", "1", 0)), "good")
	empty := withEvent(store.Change{}, "empty")
	alone := change(set("alone", "1", 0))
	revision, errs := r.CommitFenced(t.Context(), r.fence(), []store.Change{good, stale, alone, empty}, sealTo("batch"))
	r.revision = revision
	wantErrors(t, errs, oneOf{nil, store.ErrRetry}, store.ErrConflict, nil, errs[0])
	if errs[0] != nil { // one group
		wantContents(t, unfenced(h.Other), map[string]string{"taken": "1", "alone": "1", fenceKey: "plain"})
		r.commit(t, []store.Change{good, empty}, sealTo("batch"), nil, nil)
	}
	wantContents(t, unfenced(h.Other), map[string]string{"taken": "1", "alone": "1", "good": "1", "batch": "\x00\x00", fenceKey: "sealed"})
}

// settle moves the fence as package origins does, so that a commit under the old one can no longer happen.
func settle(t *testing.T, h Harness) {
	t.Helper()
	for range 100 {
		fence := mustGet(t, h.Other, fenceKey)
		_, errs := h.Other.CommitFenced(t.Context(), store.Fence{}, []store.Change{change(set(fenceKey, "settled", fence.Revision))}, nil)
		if errs[0] == nil {
			return
		}
		wantErrors(t, errs, store.ErrConflict)
	}
	t.Fatal("the fence keeps moving")
}

func testLostAnswer(t *testing.T, h Harness) {
	if h.LoseAnswer == nil {
		t.Skip(h.Without)
	}
	r := startRun(t, h.Engine)
	fence := r.fence()
	changes := []store.Change{change(set("a", "1", 0)), withEvent(change(set("b", "1", 0)), "1")}
	var errs []error
	h.LoseAnswer(func() { _, errs = h.Engine.CommitFenced(t.Context(), fence, changes, sealTo("batch")) })
	wantErrors(t, errs, store.ErrUncertain, store.ErrUncertain)
	settle(t, h)
	_, errs = h.Engine.CommitFenced(t.Context(), fence, changes, sealTo("batch"))
	wantErrors(t, errs, store.ErrFenced, store.ErrFenced)
	wantContents(t, unfenced(h.Other), map[string]string{"a": "1", "b": "1", "batch": "\x00", fenceKey: "settled"})
}

func testRetransmitted(t *testing.T, h Harness) {
	if h.Delay == nil {
		t.Skip(h.Without)
	}
	r := startRun(t, h.Engine)
	var errs []error
	again := h.Delay(func() {
		_, errs = r.CommitFenced(t.Context(), r.fence(), []store.Change{change(store.Write{Key: "k", Value: []byte("old"), Blind: true})}, nil)
	})
	wantErrors(t, errs, store.ErrUncertain)
	again()
	if mustGet(t, h.Other, "k").Revision != mustGet(t, h.Other, fenceKey).Revision {
		t.Error("the commit did not move the fence")
	}
	mustCommit(t, unfenced(h.Other), []store.Change{change(store.Write{Key: "k", Value: []byte("new"), Blind: true})}, nil, nil)
	again()
	wantContents(t, unfenced(h.Other), map[string]string{"k": "new", fenceKey: "plain"})
}

func testRetransmittedLate(t *testing.T, h Harness) {
	if h.Delay == nil {
		t.Skip(h.Without)
	}
	r := startRun(t, h.Engine)
	var errs []error
	again := h.Delay(func() {
		_, errs = r.CommitFenced(t.Context(), r.fence(), []store.Change{withEvent(change(set("k", "old", 0)), "1")}, sealTo("batch"))
	})
	wantErrors(t, errs, store.ErrUncertain)
	settle(t, h)
	again()
	wantContents(t, unfenced(h.Other), map[string]string{fenceKey: "settled"})
}
