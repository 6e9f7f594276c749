package keyring

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"tokenbroker/keyring/lifecycle"
)

var (
	// ErrEmpty is what a [Store] returns from Load while there is no record.
	ErrEmpty = errors.New("keyring: no record in the store")
	// ErrConflict is what a [Store] returns from CompareAndSwap when the record is no
	// longer the one that was loaded.
	ErrConflict = errors.New("keyring: the record was changed in the meantime")
	// ErrCorrupt is in the chain of every error about a record that this package cannot have
	// written: truncated, tampered with, entries swapped. Only a backup repairs it; the record
	// is never replaced automatically.
	ErrCorrupt = errors.New("keyring: record damaged")
)

// Store is where the one record is kept: the port that an engine's adapter implements.
type Store interface {
	// Load returns the record and its revision. Without a record the error is [ErrEmpty],
	// and rev is the revision that CompareAndSwap expects for the first one.
	Load(ctx context.Context) (data []byte, rev uint64, err error)
	// CompareAndSwap replaces the record durably if its revision still is rev, otherwise the
	// error is [ErrConflict]. It does not keep data.
	CompareAndSwap(ctx context.Context, data []byte, rev uint64) error
}

// Records of version 1 had no rotation: their master secrets have no state, and they remember
// nothing of what was published. They are read, and written as version 2.
const (
	recordVersion = 2
	oldestVersion = 1
)

// record is the key set with its sealed key material, by key id. It is not changed after it was made.
type record struct {
	*lifecycle.KeySet
	material map[string]material
}

// storedEnvelope is the stored form of a record: Check is the sealed SHA-256 of Record's bytes, so
// that no state, time or list in it can be changed without the KEK.
type storedEnvelope struct {
	V      int             `json:"v"`
	Record json.RawMessage `json:"record"`
	Check  []byte          `json:"check"`
}

type storedRecord struct {
	Keys    []storedKey    `json:"keys"`
	Masters []storedMaster `json:"masters"`
	lifecycle.History
}

type storedKey struct {
	lifecycle.Key
	Private []byte `json:"private,omitempty"` // PKCS #8, sealed; only of keys that may sign
	Public  []byte `json:"public"`            // PKIX
}

type storedMaster struct {
	ID        string          `json:"id"`
	State     lifecycle.State `json:"state"`
	Created   int64           `json:"created"`
	Activates int64           `json:"activates,omitempty"`
	Retires   int64           `json:"retires,omitempty"`
	Jitter    int64           `json:"jitter,omitempty"`
	Sealed    []byte          `json:"sealed"`
}

// firstRecord makes the keys of a new broker: an active and a next key of each signing purpose,
// and one master secret.
func firstRecord(ctx context.Context, sealer Sealer, access lifecycle.Algorithm, now time.Time) (*record, error) {
	rec := &record{KeySet: &lifecycle.KeySet{}, material: map[string]material{}}
	rec.Compromised = []string{}
	for _, add := range []struct {
		to     *[]lifecycle.Key
		kind   lifecycle.KeyType
		states []lifecycle.State
	}{
		{&rec.Keys, lifecycle.KeyType{Purpose: lifecycle.PurposeAccess, Algorithm: access}, []lifecycle.State{lifecycle.StateActive, lifecycle.StateNext}},
		{&rec.Keys, lifecycle.KeyType{Purpose: lifecycle.PurposeFeed, Algorithm: lifecycle.EdDSA}, []lifecycle.State{lifecycle.StateActive, lifecycle.StateNext}},
		{&rec.Masters, lifecycle.KeyType{Purpose: lifecycle.PurposeMaster, Algorithm: lifecycle.HKDFSHA256}, []lifecycle.State{lifecycle.StateActive}},
	} {
		for _, state := range add.states {
			k, m, err := newKey(ctx, sealer, add.kind, state, now)
			if err != nil {
				return nil, err
			}
			*add.to = append(*add.to, k)
			rec.material[k.KID] = m
		}
	}
	return rec, nil
}

// with returns a record of the set, with this record's key material and that of new keys.
func (r *record) with(set *lifecycle.KeySet, made map[string]material) *record {
	next := &record{KeySet: set, material: map[string]material{}}
	for k := range set.All() {
		m, ok := made[k.KID]
		if !ok {
			m = r.material[k.KID]
		}
		next.material[k.KID] = m
	}
	return next
}

// check returns an error that wraps [ErrCorrupt] or [lifecycle.ErrUnknownAlgorithm] if the key
// set breaks a rule.
func (r *record) check() error {
	err := r.Check()
	if err == nil || errors.Is(err, lifecycle.ErrUnknownAlgorithm) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrCorrupt, err)
}

func (r *record) encode(ctx context.Context, sealer Sealer) ([]byte, error) {
	stored := storedRecord{History: r.History}
	for _, k := range r.Keys {
		s := storedKey{Key: k, Public: r.material[k.KID].public}
		if k.State.Signs() {
			s.Private = r.material[k.KID].sealed
		}
		stored.Keys = append(stored.Keys, s)
	}
	for _, m := range r.Masters {
		stored.Masters = append(stored.Masters, storedMaster{
			ID: m.KID, State: m.State, Created: m.Created, Activates: m.Activates, Retires: m.Retires,
			Jitter: m.Jitter, Sealed: r.material[m.KID].sealed,
		})
	}
	body, err := json.Marshal(stored)
	if err != nil {
		return nil, fmt.Errorf("encoding the keyring record: %w", err)
	}
	digest := sha256.Sum256(body)
	check, err := sealer.Seal(ctx, digest[:], associated("record"))
	if err != nil {
		return nil, fmt.Errorf("sealing the keyring record: %w", err)
	}
	return json.Marshal(storedEnvelope{V: recordVersion, Record: body, Check: check})
}

// decodeRecord authenticates and checks a stored record. Anything that encode would not write is
// an error.
func decodeRecord(ctx context.Context, sealer Sealer, data []byte) (*record, error) {
	var env storedEnvelope
	if err := json.Unmarshal(data, &env); err != nil {
		return nil, fmt.Errorf("%w: not JSON (truncated?): %w", ErrCorrupt, err)
	}
	if env.V < oldestVersion || env.V > recordVersion {
		return nil, fmt.Errorf("keyring: the record has version %d, this program knows %d: use the newer program", env.V, recordVersion)
	}
	digest := sha256.Sum256(env.Record)
	want, err := sealer.Open(ctx, env.Check, associated("record"))
	if err != nil {
		return nil, fmt.Errorf("opening the seal of the keyring record: %w", err)
	}
	if subtle.ConstantTimeCompare(digest[:], want) != 1 {
		return nil, fmt.Errorf("%w: it was changed after it was sealed", ErrCorrupt)
	}
	rec, err := env.parse()
	if err != nil {
		return nil, err
	}
	if env.V == 1 {
		if err := rec.upgrade(); err != nil {
			return nil, err
		}
	}
	return rec, rec.check()
}

// parse reads the record without checking its seal or the rules.
func (e *storedEnvelope) parse() (*record, error) {
	var stored storedRecord
	if err := json.Unmarshal(e.Record, &stored); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	rec := &record{KeySet: &lifecycle.KeySet{History: stored.History}, material: map[string]material{}}
	for _, s := range stored.Keys {
		rec.Keys = append(rec.Keys, s.Key)
		rec.material[s.KID] = material{sealed: s.Private, public: s.Public}
	}
	for _, s := range stored.Masters {
		rec.Masters = append(rec.Masters, lifecycle.Key{
			Label:   lifecycle.Label{KID: s.ID, Purpose: lifecycle.PurposeMaster, Algorithm: lifecycle.HKDFSHA256, State: s.State},
			Created: s.Created, Activates: s.Activates, Retires: s.Retires, Jitter: s.Jitter,
		})
		rec.material[s.ID] = material{sealed: s.Sealed}
	}
	return rec, nil
}

// upgrade sets the states of the master secrets of version 1: the first was the current one.
// The version is outside of the seal: a newer record that claims to be old is refused.
func (r *record) upgrade() error {
	for i := range r.Masters {
		m := &r.Masters[i]
		if m.State != "" {
			return fmt.Errorf("%w: it is not of version 1, as it claims", ErrCorrupt)
		}
		if m.State, m.Activates = lifecycle.StateActive, m.Created; i > 0 {
			m.State, m.Retires = lifecycle.StateRetiring, r.Masters[0].Created
		}
	}
	return nil
}

// reseal returns the record with every sealed value sealed again, by another sealer. What no
// state needs is not carried over.
func (r *record) reseal(ctx context.Context, from, to Sealer) (*record, error) {
	next := &record{KeySet: r.KeySet, material: maps.Clone(r.material)}
	for k := range r.All() {
		m := r.material[k.KID]
		if k.Purpose != lifecycle.PurposeMaster && !k.State.Signs() {
			m.sealed = nil
		} else {
			plain, err := from.Open(ctx, m.sealed, sealedWith(k))
			if err == nil {
				m.sealed, err = to.Seal(ctx, plain, sealedWith(k))
				clear(plain)
			}
			if err != nil {
				return nil, fmt.Errorf("the %s: %w", k, err)
			}
		}
		next.material[k.KID] = m
	}
	return next, nil
}
