package keyring_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/keyring"
	"tokenbroker/keyring/lifecycle"
)

// recordStore holds one record in memory.
type recordStore struct {
	data []byte
	rev  uint64
}

func (s *recordStore) Load(context.Context) ([]byte, uint64, error) {
	if s.rev == 0 {
		return nil, 0, keyring.ErrEmpty
	}
	return slices.Clone(s.data), s.rev, nil
}

func (s *recordStore) CompareAndSwap(_ context.Context, data []byte, rev uint64) error {
	if rev != s.rev {
		return keyring.ErrConflict
	}
	s.data, s.rev = slices.Clone(data), rev+1
	return nil
}

// A restore leaves nothing of the backup's keys and calls all of them, and those of the
// replaced keyring, dead; an algorithm that an operator chose by hand stays chosen.
func TestRestoreReplacesEverything(t *testing.T) {
	sealer, err := keyring.NewAESGCM(make([]byte, keyring.KEKSize))
	if err != nil {
		t.Fatal(err)
	}
	open := func(s keyring.Store) *keyring.Keyring {
		k, err := keyring.Open(t.Context(), keyring.Config{Store: s, Sealer: sealer, StoreID: "s"})
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	saved, replaced := &recordStore{}, &recordStore{}
	before, since := open(saved), open(replaced)
	secrets := before.Keys("refresh")
	done, err := keyring.Restoring{Store: saved, Sealer: sealer, Replaced: replaced, Now: time.Now()}.Replace(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	after := open(saved)
	for _, k := range slices.Concat(before.List(), since.List()) {
		if k.Purpose == lifecycle.PurposeMaster {
			continue
		}
		if _, _, ok := after.Verifier(k.KID); ok || !slices.Contains(after.Compromised(), k.KID) || !slices.Contains(done.Compromised, k.KID) {
			t.Errorf("%s is not dead", k)
		}
	}
	for _, old := range secrets {
		for _, key := range after.Keys("refresh") {
			if slices.Equal(old, key) {
				t.Error("a master secret is still in use")
			}
		}
	}
	if len(done.Keys) != 4 {
		t.Errorf("new keys: %v", done.Keys)
	}
}

// The algorithm that the configuration names was acted upon before the backup: a key of another
// one, which an operator rotated to by hand, is not rotated away after a restore.
func TestRestoreKeepsWhatTheConfigurationAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sealer, err := keyring.NewAESGCM(make([]byte, keyring.KEKSize))
		if err != nil {
			t.Fatal(err)
		}
		saved := &recordStore{}
		openAndAdvance := func(rotate bool) lifecycle.Algorithm {
			k, err := keyring.Open(t.Context(), keyring.Config{Store: saved, Sealer: sealer, StoreID: "s", Schedule: keyring.Schedule{JWKSMaxAge: time.Minute}})
			if err != nil {
				t.Fatal(err)
			}
			if rotate {
				if _, err := k.Rotate(t.Context(), lifecycle.PurposeAccess, lifecycle.EdDSA); err != nil {
					t.Fatal(err)
				}
			}
			for range 20 {
				time.Sleep(time.Minute) // of the bubble
				if _, _, err := k.ApplyDue(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			return activeAlgorithm(k)
		}
		if got := openAndAdvance(true); got != lifecycle.EdDSA {
			t.Fatalf("the rotation by hand came to %s", got)
		}
		if _, err := (keyring.Restoring{Store: saved, Sealer: sealer, Now: time.Now()}).Replace(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := openAndAdvance(false); got != lifecycle.EdDSA {
			t.Errorf("after the restore the active key came to %s", got)
		}
	})
}

func activeAlgorithm(k *keyring.Keyring) lifecycle.Algorithm {
	for _, key := range k.List() {
		if key.Purpose == lifecycle.PurposeAccess && key.State == lifecycle.StateActive {
			return key.Algorithm
		}
	}
	return ""
}
