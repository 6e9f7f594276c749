package memstore_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/revocation"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
	"tokenbroker/store/storetest"
)

func TestEngineConformance(t *testing.T) {
	storetest.RunEngine(t, func(*testing.T) storetest.Harness {
		engine := memstore.NewEngine(nil)
		fault := memstore.OK // of commits
		under := func(f memstore.Fault, commit func()) {
			fault = f
			commit()
			fault = memstore.OK
		}
		return storetest.Harness{
			Engine: engine.Open(func(op memstore.Op) memstore.Fault {
				if op.Kind == memstore.OpCommit {
					return fault
				}
				return memstore.OK
			}),
			Other:      engine.Open(nil),
			LoseAnswer: func(commit func()) { under(memstore.LoseAnswer, commit) },
			Delay: func(commit func()) func() {
				under(memstore.Keep, commit)
				return engine.Redeliver
			},
		}
	})
}

// faults is a script of faults by operation.
type faults map[memstore.OpKind]memstore.Fault

func (f faults) of(op memstore.Op) memstore.Fault { return f[op.Kind] }

func blind(key, value string) store.Change {
	return store.Change{Writes: []store.Write{{Key: key, Value: []byte(value), Blind: true}}}
}

func seal([]revocation.Event) ([]store.Write, error) {
	return []store.Write{{Key: "batch", Blind: true}}, nil
}

func commit(t *testing.T, h *memstore.Handle, fence store.Fence, changes ...store.Change) (store.Revision, []error) {
	t.Helper()
	return h.CommitFenced(t.Context(), fence, changes, seal)
}

func wantErrs(t *testing.T, errs []error, want ...error) {
	t.Helper()
	if len(errs) != len(want) {
		t.Fatalf("got %v, want %v", errs, want)
	}
	for i := range errs {
		if !errors.Is(errs[i], want[i]) {
			t.Errorf("change %d: got %v, want %v", i, errs[i], want[i])
		}
	}
}

func TestReadsAndCommitsOfAHandleFail(t *testing.T) {
	engine := memstore.NewEngine(nil)
	f := faults{}
	h := engine.Open(f.of)
	commit(t, h, store.Fence{}, blind("k", "1"))
	view, release, err := store.Snapshot(h)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	for _, kind := range []memstore.OpKind{memstore.OpGet, memstore.OpGetMany, memstore.OpList, memstore.OpCommit} {
		f[kind] = memstore.Refuse
	}
	for _, r := range []store.Reader{h, view} {
		_, get := r.Get(t.Context(), "k")
		_, many := r.GetMany(t.Context(), []string{"k"})
		_, list := r.List(t.Context(), "", "", 1)
		wantErrs(t, []error{get, many, list}, store.ErrUnavailable, store.ErrUnavailable, store.ErrUnavailable)
	}
	_, errs := commit(t, h, store.Fence{}, blind("k", "2"))
	wantErrs(t, errs, store.ErrUnavailable)
	if r, err := engine.Open(nil).Get(t.Context(), "k"); err != nil || string(r.Value) != "1" {
		t.Errorf("got %q, %v", r.Value, err)
	}
}

// The view of a handle is that of its first read, not that of the call of Snapshot.
func TestSnapshotBeginsWithItsFirstRead(t *testing.T) {
	h := memstore.NewEngine(nil).Open(nil)
	view, release, err := store.Snapshot(h)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	commit(t, h, store.Fence{}, blind("k", "1"))
	for range 2 {
		if r, err := view.Get(t.Context(), "k"); err != nil || string(r.Value) != "1" {
			t.Fatalf("got %q, %v", r.Value, err)
		}
		commit(t, h, store.Fence{}, blind("k", "2"))
	}
}

func TestDuplicateOfACommitIsFenced(t *testing.T) {
	engine := memstore.NewEngine(nil)
	f := faults{memstore.OpCommit: memstore.Duplicate}
	h := engine.Open(f.of)
	revision, errs := commit(t, h, store.Fence{Key: "origin.a"}, blind("k", "old"))
	wantErrs(t, errs, nil)
	f[memstore.OpCommit] = memstore.OK
	commit(t, h, store.Fence{Key: "origin.a", Expect: revision}, blind("k", "new"))
	if engine.Kept() != 1 {
		t.Errorf("%d commits on their way, want 1", engine.Kept())
	}
	engine.Retransmit()
	if r, err := h.Get(t.Context(), "k"); err != nil || string(r.Value) != "new" {
		t.Errorf("got %q, %v", r.Value, err)
	}
	if engine.Kept() != 0 {
		t.Error("a commit is delivered twice")
	}
}

// The caller may reuse its changes although the commit is delivered later.
func TestKeptCommitOwnsItsChanges(t *testing.T) {
	engine := memstore.NewEngine(nil)
	h := engine.Open(faults{memstore.OpCommit: memstore.Keep}.of)
	change := blind("k", "mine")
	_, errs := commit(t, h, store.Fence{}, change)
	wantErrs(t, errs, store.ErrUncertain)
	copy(change.Writes[0].Value, "over")
	engine.Retransmit()
	if r, err := h.Get(t.Context(), "k"); err != nil || string(r.Value) != "mine" {
		t.Errorf("got %q, %v", r.Value, err)
	}
}

func TestChangesBeyondTheLimitAreTooBig(t *testing.T) {
	engine := memstore.NewEngine(nil)
	engine.Limit(3)
	h := engine.Open(nil)
	event := store.Change{Events: []revocation.Event{{Value: "1"}}, Writes: blind("b", "1").Writes}
	big := store.Change{Writes: make([]store.Write, 4)}
	for i := range big.Writes {
		big.Writes[i].Key = "big"
	}
	_, errs := commit(t, h, store.Fence{Key: "origin.a"}, big, blind("a", "1"), event, blind("c", "1"), blind("d", "1"))
	if errs[0] == nil || errors.Is(errs[0], store.ErrTooBig) {
		t.Errorf("a change that never fits: %v", errs[0])
	}
	wantErrs(t, errs[1:], nil, nil, store.ErrTooBig, store.ErrTooBig)
}

// Only a change that was part of the commit is uncertain: the others can be committed again at once.
func TestChangesLeftOutAreNotUncertain(t *testing.T) {
	engine := memstore.NewEngine(nil)
	engine.Limit(1)
	h := engine.Open(faults{memstore.OpCommit: memstore.LoseAnswer}.of)
	_, errs := commit(t, h, store.Fence{}, blind("a", "1"), store.Change{Writes: []store.Write{{}}}, blind("b", "1"))
	if !errors.Is(errs[0], store.ErrUncertain) || errors.Is(errs[1], store.ErrUncertain) || !errors.Is(errs[2], store.ErrTooBig) {
		t.Errorf("got %v", errs)
	}
}

func TestSealedRecordsAndTheFenceAreKeptFromChanges(t *testing.T) {
	h := memstore.NewEngine(nil).Open(nil)
	event := store.Change{Events: []revocation.Event{{Value: "1"}}}
	_, errs := commit(t, h, store.Fence{Key: "origin.a"}, blind("batch", "1"), event, blind("origin.a", "1"))
	wantErrs(t, errs[:2], store.ErrRetry, nil)
	if errs[2] == nil || errors.Is(errs[2], store.ErrRetry) {
		t.Errorf("a change of the fence's record: %v", errs[2])
	}
}

// A change that has to wait holds back the later ones of its keys.
func TestChangesOfAKeyKeepTheirOrder(t *testing.T) {
	h := memstore.NewEngine(nil).Open(nil)
	both := store.Change{Writes: append(blind("a", "2").Writes, blind("b", "2").Writes...)}
	_, errs := commit(t, h, store.Fence{}, blind("a", "1"), both, blind("b", "3"))
	wantErrs(t, errs, nil, store.ErrRetry, store.ErrRetry)
}

func TestHintsAreDroppedDelayedAndRepeated(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault memstore.Fault
		want  []bool // whether there is a hint after the commit, and after the retransmission
	}{
		{"passed", memstore.OK, []bool{true, false}},
		{"dropped", memstore.Refuse, []bool{false, false}},
		{"delayed", memstore.Keep, []bool{false, true}},
		{"repeated", memstore.Duplicate, []bool{true, true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			engine := memstore.NewEngine(nil)
			h := engine.Open(faults{memstore.OpHint: tt.fault}.of)
			hints, others := h.Follow(t.Context(), "a."), h.Follow(t.Context(), "b.")
			commit(t, engine.Open(nil), store.Fence{}, blind("a.k", "1"))
			got := []bool{len(hints) == 1}
			for len(hints) > 0 {
				<-hints
			}
			engine.Retransmit()
			got = append(got, len(hints) == 1)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("hints (-want +got):\n%s", diff)
			}
			if len(others) != 0 {
				t.Error("a hint for another prefix")
			}
		})
	}
}
