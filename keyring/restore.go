package keyring

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"tokenbroker/keyring/lifecycle"
)

// Restore replaces all keys of a keyring that came from a backup.
type Restore struct {
	// Store holds the backup's record and takes the new one.
	Store Store
	// Sealer seals the new keys. Backup opens the backup's record; if nil, Sealer does.
	Sealer, Backup Sealer
	// Replaced is the keyring that was in use until now, nil if there is none that can be read.
	Replaced Store
	Now      time.Time
}

// Restored is the result of [Restore.ReplaceKeys].
type Restored struct {
	Keys []lifecycle.KeyInfo
	// Compromised are all key ids that are permanently refused from now on, sorted.
	Compromised []string
}

// CheckRecord reports whether sealer opens the record, as [Open] would: [ErrWrongKEK],
// [ErrCorrupt], [lifecycle.ErrUnknownAlgorithm].
func CheckRecord(ctx context.Context, sealer Sealer, data []byte) error {
	_, err := decodeRecord(ctx, sealer, data)
	return err
}

// ReplaceKeys makes new keys of every purpose and a new master secret, and marks every key id that
// the backup or the replaced keyring knows as compromised: no token that either has signed, and no
// refresh token, is accepted afterwards. The access keys' algorithm stays the backup's.
func (r Restore) ReplaceKeys(ctx context.Context) (Restored, error) {
	data, rev, err := r.Store.Load(ctx)
	if err != nil {
		return Restored{}, fmt.Errorf("loading the backup's keyring: %w", err)
	}
	opener := r.Backup
	if opener == nil {
		opener = r.Sealer
	}
	old, err := decodeRecord(ctx, opener, data)
	if err != nil {
		return Restored{}, fmt.Errorf("opening the backup's keyring: %w", err)
	}
	compromised := old.KIDs()
	if r.Replaced != nil {
		more, err := storedKids(ctx, r.Replaced)
		if err != nil {
			return Restored{}, fmt.Errorf("reading the replaced keyring: %w", err)
		}
		compromised = append(compromised, more...)
	}
	slices.Sort(compromised)
	rec, err := firstRecord(ctx, r.Sealer, old.Find(lifecycle.PurposeAccess, lifecycle.StateActive).Algorithm, r.Now)
	if err != nil {
		return Restored{}, err
	}
	rec.Compromised = slices.Compact(compromised)
	// The configured algorithm and what was published to services stay as they were.
	rec.Configured, rec.CacheLife, rec.TokenLife = old.Configured, old.CacheLife, old.TokenLife
	fresh, err := rec.encode(ctx, r.Sealer)
	if err != nil {
		return Restored{}, err
	}
	if err := r.Store.CompareAndSwap(ctx, fresh, rev); err != nil {
		return Restored{}, fmt.Errorf("writing the new keyring: %w", err)
	}
	done := Restored{Compromised: slices.Clone(rec.Compromised)}
	for i := range rec.Keys {
		done.Keys = append(done.Keys, rec.Keys[i].Info())
	}
	return done, nil
}

// storedKids reads the key ids without the KEK, which may be another one or lost: to mark a
// key as compromised, its record need not be authentic. An empty store has none.
func storedKids(ctx context.Context, s Store) ([]string, error) {
	data, _, err := s.Load(ctx)
	if errors.Is(err, ErrEmpty) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var env storedEnvelope
	if err := json.Unmarshal(data, &env); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	rec, err := env.parse()
	if err != nil {
		return nil, err
	}
	return rec.KIDs(), nil
}
