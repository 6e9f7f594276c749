package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"tokenbroker/revocation"
	"tokenbroker/store"
)

// Harness is an empty store on an engine, for one sub-test of [RunEngine].
type Harness struct {
	// Engine is one broker's use of the store, and Other that of another one. They may be the same if the
	// engine has a single handle.
	Engine, Other store.Engine
	// LoseAnswer calls commit, which commits once through Engine, and lets the engine apply it but loses its
	// answer. After it, Engine can be used again. If nil, the tests of a lost answer are skipped.
	LoseAnswer func(commit func())
	// Delay calls commit, which commits once through Engine, and holds back what it sends until commit returns without an
	// answer. It returns a function that sends to the engine what was held back, each time that it is called, and
	// returns when the engine has judged it. If nil, the tests of retransmitted commits are skipped.
	Delay func(commit func()) (again func())
	// Without is the reason for which LoseAnswer or Delay is nil.
	Without string
	// ExpiryIndex means that the engine's Expired examines only records that have expired.
	ExpiryIndex bool
}

// RunEngine checks that the engine that open returns keeps the contract of package store. Each sub-test opens
// its own store, which must use the machine's clock.
func RunEngine(t *testing.T, open func(t *testing.T) Harness) {
	t.Run("without a fence", func(t *testing.T) {
		Run(t, func(t *testing.T) store.Store { return unfenced(open(t).Engine) })
	})
	tests := []struct {
		name string
		run  func(t *testing.T, h Harness)
	}{
		{"a write through one handle is seen by a read through the other", testHandles},
		{"one of many concurrent writers through two handles wins", testHandlesConcurrency},
		{"many records are read in the order of their keys", testGetMany},
		{"many records are one view", testGetManyView},
		{"every commit moves the fence", testFence},
		{"a commit under a fence that has moved writes nothing", testFenced},
		{"a commit has one revision", testCommitRevision},
		{"two changes of a key in a commit", testSharedKey},
		{"the changes with events are one group", testGroup},
		{"a lost answer leaves the commit written or impossible", testLostAnswer},
		{"a retransmitted commit is written at most once", testRetransmitted},
		{"a retransmitted commit is not written after the fence has moved", testRetransmittedLate},
		{"a write below a prefix causes a hint", testFollow},
		{"expired records are found in pages", testExpired},
		{"an expired record is deleted unless it was written since", testSweep},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, open(t)) })
	}
}

// retrying is a store that commits without a fence, and again where the engine asks for it.
type retrying struct{ store.Engine }

// snapshotting is a retrying whose engine has snapshots.
type snapshotting struct {
	*retrying
	store.Snapshotter
}

func unfenced(e store.Engine) store.Store {
	s := &retrying{e}
	if snapshotter, ok := e.(store.Snapshotter); ok {
		return snapshotting{s, snapshotter}
	}
	return s
}

// Commit implements [store.Store]. Each round settles at least the first change that is left.
func (s *retrying) Commit(ctx context.Context, changes []store.Change, seal store.Seal) []error {
	errs := make([]error, len(changes))
	left := make([]int, len(changes))
	for i := range left {
		left[i] = i
	}
	for round := range len(changes) + 1 {
		part := make([]store.Change, len(left))
		for i, at := range left {
			part[i] = changes[at]
		}
		_, got := s.CommitFenced(ctx, store.Fence{}, part, seal)
		var again []int
		for i, err := range got {
			errs[left[i]] = err
			if errors.Is(err, store.ErrRetry) {
				again = append(again, left[i])
			}
		}
		if left = again; len(left) == 0 || round == len(changes) {
			break
		}
	}
	return errs
}

// judgesBefore reports whether s may judge changes on the state before their commit.
func judgesBefore(s store.Store) bool {
	switch s.(type) {
	case *retrying, snapshotting:
		return true
	}
	return false
}

const fenceKey = "origin.test"

// run is a broker's run: an engine and its fence.
type run struct {
	store.Engine
	revision store.Revision
}

func startRun(t *testing.T, e store.Engine) *run {
	t.Helper()
	r := &run{Engine: e}
	r.commit(t, []store.Change{{}}, nil, nil)
	return r
}

func (r *run) fence() store.Fence {
	return store.Fence{Key: fenceKey, Expect: r.revision, Value: []byte("plain"), Sealed: []byte("sealed")}
}

// commit commits and fails the test unless each change gets its error of want, and the commit moves the fence.
func (r *run) commit(t *testing.T, changes []store.Change, seal store.Seal, want ...error) store.Revision {
	t.Helper()
	revision, errs := r.CommitFenced(t.Context(), r.fence(), changes, seal)
	wantErrors(t, errs, want...)
	if stored := mustGet(t, r.Engine, fenceKey); revision == 0 || stored.Revision != revision {
		t.Fatalf("the commit has revision %d, the fence %d", revision, stored.Revision)
	}
	r.revision = revision
	return revision
}

// oneOf is a wanted error of several, as wantErrors understands it.
type oneOf []error

func (o oneOf) Error() string { return "one of " + fmt.Sprint([]error(o)) }

func matches(err, want error) bool {
	if one, ok := errors.AsType[oneOf](want); ok {
		return slices.ContainsFunc(one, func(want error) bool { return matches(err, want) })
	}
	return errors.Is(err, want) && (want != nil || err == nil)
}

func wantErrors(t *testing.T, errs []error, want ...error) {
	t.Helper()
	if len(errs) != len(want) {
		t.Fatalf("%d results for %d changes: %v", len(errs), len(want), errs)
	}
	for i, err := range errs {
		if !matches(err, want[i]) {
			t.Fatalf("change %d: got %v, want %v", i, err, want[i])
		}
	}
}

// sealTo returns a seal that writes a record with the number of events.
func sealTo(key string) store.Seal {
	return func(accepted []revocation.Event) ([]store.Write, error) {
		return []store.Write{{Key: key, Value: make([]byte, len(accepted)), Blind: true}}, nil
	}
}

func withEvent(c store.Change, value string) store.Change {
	c.Events = []revocation.Event{event(value)}
	return c
}
