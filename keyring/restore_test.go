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

// A restore removes all keys of the backup and marks them, and those of the
// replaced keyring, as compromised.
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
	done, err := keyring.Restore{Store: saved, Sealer: sealer, Replaced: replaced, Now: time.Now()}.ReplaceKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	after := open(saved)
	for _, k := range slices.Concat(before.List(), since.List()) {
		if k.Purpose == lifecycle.PurposeMaster {
			continue
		}
		if _, _, ok := after.Verifier(k.KID); ok || !slices.Contains(after.Compromised(), k.KID) || !slices.Contains(done.Compromised, k.KID) {
			t.Errorf("%s is not compromised", k)
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

// The configured algorithm was applied before the backup: a key of another
// algorithm, to which an operator rotated manually, is not rotated away after a restore.
func TestRestoreKeepsWhatTheConfigurationAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sealer, err := keyring.NewAESGCM(make([]byte, keyring.KEKSize))
		if err != nil {
			t.Fatal(err)
		}
		saved := &recordStore{}
		openAndApply := func(rotate bool) lifecycle.Algorithm {
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
		if got := openAndApply(true); got != lifecycle.EdDSA {
			t.Fatalf("after the manual rotation the active key has the algorithm %s", got)
		}
		if _, err := (keyring.Restore{Store: saved, Sealer: sealer, Now: time.Now()}).ReplaceKeys(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := openAndApply(false); got != lifecycle.EdDSA {
			t.Errorf("after the restore the active key has the algorithm %s", got)
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
