package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"tokenbroker/store"
)

// ConfirmerHarness is an empty store on an engine whose reads have to be confirmed, for one sub-test of [RunConfirmer].
type ConfirmerHarness struct {
	// Engine is one broker's use of the store. It is a [store.Confirmer].
	Engine store.Engine
	// Other is that of another broker. After Replace it uses the new primary.
	Other store.Engine
	// Replace makes another server the primary, without the knowledge of the present one, to which Engine stays connected. If
	// nil, the tests of an old primary are skipped.
	Replace func()
	// Reconnect ends the old primary. After it Engine, within some seconds, uses the new one.
	Reconnect func()
}

const (
	// lateConfirm bounds a confirmation that is expected to fail.
	lateConfirm = 3 * time.Second
	// reconnectTime bounds the time until Engine uses the new primary.
	reconnectTime = 30 * time.Second
)

// RunConfirmer checks that the engine that open returns keeps the contract of [store.Confirmer].
func RunConfirmer(t *testing.T, open func(t *testing.T) ConfirmerHarness) {
	tests := []struct {
		name     string
		replaces bool
		run      func(t *testing.T, h ConfirmerHarness)
	}{
		{"reads of the primary are confirmed", false, testConfirm},
		{"concurrent confirmations succeed", false, testConfirmConcurrency},
		{"reads of an old primary are not confirmed", true, testOldPrimary},
		{"reads of an old primary are not confirmed by the new one", true, testNewPrimary},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := open(t)
			if tt.replaces && h.Replace == nil {
				t.Skip("the primary cannot be replaced in this test")
			}
			tt.run(t, h)
		})
	}
}

func testConfirm(t *testing.T, h ConfirmerHarness) {
	put(t, h.Other, "k", "1")
	number := h.Engine.(store.Confirmer).Primary()
	for range 3 {
		if r, err := store.Confirmed(h.Engine).Get(t.Context(), "k"); err != nil || string(r.Value) != "1" {
			t.Fatalf("got %q, %v", r.Value, err)
		}
	}
	view, release, err := store.Snapshot(h.Engine)
	if err != nil {
		t.Fatal(err)
	}
	confirm := store.Confirmation(h.Engine)
	_, err = view.Get(t.Context(), "k")
	release()
	if err != nil || confirm(t.Context()) != nil {
		t.Errorf("a snapshot: %v, %v", err, confirm(t.Context()))
	}
	if now := h.Engine.(store.Confirmer).Primary(); now != number {
		t.Errorf("the primary has the number %d, and %d before", now, number)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := store.Confirmation(h.Engine)(ended); err == nil {
		t.Error("confirmed although the context had ended")
	}
}

func testConfirmConcurrency(t *testing.T, h ConfirmerHarness) {
	const callers = 64
	errs := make(chan error, callers)
	for range callers {
		go func() { errs <- store.Confirmation(h.Engine)(t.Context()) }()
	}
	for range callers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func testOldPrimary(t *testing.T, h ConfirmerHarness) {
	put(t, h.Engine, "k", "old")
	h.Replace()
	put(t, h.Other, "k", "new")
	confirm := store.Confirmation(h.Engine)
	ctx, cancel := context.WithTimeout(t.Context(), lateConfirm)
	defer cancel()
	r, err := h.Engine.Get(ctx, "k")
	if late := confirm(ctx); err == nil && string(r.Value) != "new" && !errors.Is(late, store.ErrUnavailable) {
		t.Errorf("%q was read, and confirmed: %v", r.Value, late)
	}
}

func testNewPrimary(t *testing.T, h ConfirmerHarness) {
	put(t, h.Engine, "k", "old")
	confirm := store.Confirmation(h.Engine)
	h.Replace()
	put(t, h.Other, "k", "new")
	_, _ = h.Engine.Get(t.Context(), "k")
	h.Reconnect()
	for end := time.Now().Add(reconnectTime); ; { // until the engine uses the new primary
		r, err := store.Confirmed(h.Engine).Get(t.Context(), "k")
		if err == nil && string(r.Value) == "new" {
			break
		}
		if err == nil || time.Now().After(end) {
			t.Fatalf("after the reconnection: %q, %v", r.Value, err)
		}
	}
	if err := confirm(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("what was read from the old primary: %v", err)
	}
}

// put writes a record without a condition.
func put(t *testing.T, e store.Engine, key, value string) {
	t.Helper()
	w := store.Write{Key: key, Value: []byte(value), Blind: true}
	if _, errs := e.CommitFenced(t.Context(), store.Fence{}, []store.Change{{Writes: []store.Write{w}}}, nil); errs[0] != nil {
		t.Fatal(errs[0])
	}
}
