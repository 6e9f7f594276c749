package keyring_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/keyring"
)

func TestRotateKEK(t *testing.T) {
	clock, changes, store := newClock(), []string(nil), &memStore{}
	ring := open(t, rotating(t, store, clock, &changes))
	clock.pass(readyAfter)
	rotate(t, ring, "access", "")
	rotate(t, ring, "master", "")
	list, jwks, derived := ring.List(), ring.JWKS(), ring.Keys("refresh")
	if err := ring.RotateKEK(t.Context(), sealer(t, 2)); err != nil {
		t.Fatal(err)
	}
	mustRefuse(t, config(t, store), store, keyring.ErrWrongKEK)
	cfg := rotating(t, store, clock, nil)
	cfg.Sealer = sealer(t, 2)
	again := open(t, cfg)
	for _, r := range []*keyring.Keyring{ring, again} {
		if !cmp.Equal(r.JWKS(), jwks) || !cmp.Equal(r.Keys("refresh"), derived) || len(r.List()) != len(list) {
			t.Error("more than the seal changed")
		}
	}
	// The new KEK is in use: later changes are also sealed under it.
	rotate(t, ring, "feed", "")
	clock.pass(readyAfter)
	applyDue(t, ring)
	open(t, cfg)
	if !slices.Contains(changes, " keyring_resealed") {
		t.Errorf("changes = %q", changes)
	}
	if err := ring.RotateKEK(t.Context(), sealer(t, 2)); err != nil {
		t.Errorf("repeated: %v", err)
	}
}

// lossyStore reports a failure, either without writing or after it wrote.
type lossyStore struct {
	memStore
	fail, write bool
}

var errLost = errors.New("no answer")

func (l *lossyStore) CompareAndSwap(ctx context.Context, data []byte, rev uint64) error {
	if !l.fail {
		return l.memStore.CompareAndSwap(ctx, data, rev)
	}
	if l.write {
		if err := l.memStore.CompareAndSwap(ctx, data, rev); err != nil {
			return err
		}
	}
	return errLost
}

func TestAFailedRotateKEKLeavesTheRecordUnderOneKEK(t *testing.T) {
	for name, written := range map[string]bool{"not written": false, "written": true} {
		t.Run(name, func(t *testing.T) {
			store := &lossyStore{}
			clock := newClock()
			ring := open(t, rotating(t, store, clock, nil))
			store.fail, store.write = true, written
			if err := ring.RotateKEK(t.Context(), sealer(t, 2)); !errors.Is(err, errLost) {
				t.Fatalf("RotateKEK = %v", err)
			}
			store.fail = false
			cfg := rotating(t, store, clock, nil)
			for kek, want := range map[byte]bool{1: !written, 2: written} {
				cfg.Sealer = sealer(t, kek)
				if _, err := keyring.Open(t.Context(), cfg); (err == nil) != want {
					t.Errorf("under KEK %d: %v", kek, err)
				}
			}
			rotate(t, ring, "access", "") // the running broker continues under either KEK
			if err := ring.RotateKEK(t.Context(), sealer(t, 2)); err != nil {
				t.Fatal(err)
			}
			cfg.Sealer = sealer(t, 2)
			open(t, cfg)
		})
	}
}

func TestRotateKEKWithoutASealerIsRefused(t *testing.T) {
	if err := open(t, config(t, &memStore{})).RotateKEK(t.Context(), nil); err == nil {
		t.Error("it was accepted")
	}
}
