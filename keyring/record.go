package keyring

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

const (
	recordVersion = 1
	masterSize    = 32
)

// envelope is the stored form: check is the sealed SHA-256 of record's bytes, so that no
// state, time or list in it can be changed without the KEK.
type envelope struct {
	V      int             `json:"v"`
	Record json.RawMessage `json:"record"`
	Check  []byte          `json:"check"`
}

// record is the whole set. Times are Unix seconds, zero for none.
type record struct {
	Keys []keyRecord `json:"keys"`
	// Masters are the secrets of refresh and CSRF tokens, the current one first.
	Masters []masterRecord `json:"masters"`
	// Compromised are the key ids that stay dead for ever, also after their keys are gone.
	Compromised []string `json:"compromised"`
}

type keyRecord struct {
	KID           string    `json:"kid"`
	Purpose       Purpose   `json:"purpose"`
	Algorithm     Algorithm `json:"algorithm"`
	State         State     `json:"state"`
	Created       int64     `json:"created"`
	Activates     int64     `json:"activates,omitempty"`
	Retires       int64     `json:"retires,omitempty"`
	LastTokenDies int64     `json:"last_token_dies,omitempty"`
	Private       []byte    `json:"private,omitempty"` // PKCS #8, sealed
	Public        []byte    `json:"public"`            // PKIX
}

type masterRecord struct {
	ID      string `json:"id"`
	Created int64  `json:"created"`
	Sealed  []byte `json:"sealed"`
}

func (k *keyRecord) aad() []byte {
	return associated("key", string(k.Purpose), k.KID, string(k.Algorithm))
}

func (m *masterRecord) aad() []byte { return associated("master", m.ID) }

// associated names what a sealed value is. The parts hold no zero byte.
func associated(parts ...string) []byte {
	return []byte("tokenbroker keyring\x00" + strings.Join(parts, "\x00"))
}

func (k *keyRecord) info() KeyInfo {
	return KeyInfo{
		KID: k.KID, Purpose: k.Purpose, Algorithm: k.Algorithm, State: k.State,
		Created: unix(k.Created), Activates: unix(k.Activates),
		Retires: unix(k.Retires), LastTokenDies: unix(k.LastTokenDies),
	}
}

func unix(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

// firstRecord makes the set of a new broker: of each purpose an active key and a next one,
// and one master secret.
func firstRecord(ctx context.Context, sealer Sealer, alg Algorithm, now time.Time) (*record, error) {
	rec := &record{Compromised: []string{}}
	for _, want := range []struct {
		purpose   Purpose
		algorithm Algorithm
	}{{PurposeAccess, alg}, {PurposeFeed, EdDSA}} {
		for _, state := range []State{StateActive, StateNext} {
			k, err := newKey(ctx, sealer, want.purpose, want.algorithm, state, now)
			if err != nil {
				return nil, err
			}
			rec.Keys = append(rec.Keys, k)
		}
	}
	secret, id := make([]byte, masterSize), make([]byte, 10)
	_, _ = rand.Read(secret) // never fails
	_, _ = rand.Read(id)
	defer clear(secret)
	m := masterRecord{ID: kidEncoding.EncodeToString(id), Created: now.Unix()}
	var err error
	if m.Sealed, err = sealer.Seal(ctx, secret, m.aad()); err != nil {
		return nil, fmt.Errorf("sealing a master secret: %w", err)
	}
	rec.Masters = []masterRecord{m}
	return rec, nil
}

func (r *record) encode(ctx context.Context, sealer Sealer) ([]byte, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encoding the keyring record: %w", err)
	}
	digest := sha256.Sum256(body)
	check, err := sealer.Seal(ctx, digest[:], associated("record"))
	if err != nil {
		return nil, fmt.Errorf("sealing the keyring record: %w", err)
	}
	return json.Marshal(envelope{V: recordVersion, Record: body, Check: check})
}

// decodeRecord authenticates and checks a stored record. It changes nothing and guesses
// nothing: whatever is not as encode wrote it is an error.
func decodeRecord(ctx context.Context, sealer Sealer, data []byte) (*record, error) {
	var env envelope
	if err := json.Unmarshal(data, &env); err != nil {
		return nil, fmt.Errorf("%w: not JSON (truncated?): %w", ErrCorrupt, err)
	}
	if env.V != recordVersion {
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
	rec := new(record)
	if err := json.Unmarshal(env.Record, rec); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return rec, rec.check()
}

// check holds the rules that every record obeys.
func (r *record) check() error {
	type place struct {
		purpose Purpose
		state   State
	}
	count, dead, seen := map[place]int{}, map[string]bool{}, map[string]bool{}
	for _, kid := range r.Compromised {
		dead[kid] = true
	}
	for i := range r.Keys {
		k := &r.Keys[i]
		if err := k.Algorithm.check(); err != nil {
			return fmt.Errorf("keyring: key %q: %w", k.KID, err)
		}
		switch {
		case k.Purpose != PurposeAccess && k.Purpose != PurposeFeed:
			return fmt.Errorf("%w: key %q has the unknown purpose %q", ErrCorrupt, k.KID, k.Purpose)
		case k.Purpose == PurposeFeed && k.Algorithm != EdDSA:
			return fmt.Errorf("%w: feed key %q is of %s", ErrCorrupt, k.KID, k.Algorithm)
		case !k.State.published() && k.State != StateRetired && k.State != StateCompromised:
			return fmt.Errorf("%w: key %q has the unknown state %q", ErrCorrupt, k.KID, k.State)
		case seen[k.KID]:
			return fmt.Errorf("%w: key %q stands in it twice", ErrCorrupt, k.KID)
		case dead[k.KID] != (k.State == StateCompromised):
			return fmt.Errorf("%w: key %q is %s, the list of compromised keys says otherwise", ErrCorrupt, k.KID, k.State)
		}
		seen[k.KID] = true
		count[place{k.Purpose, k.State}]++
	}
	for _, purpose := range []Purpose{PurposeAccess, PurposeFeed} {
		for _, state := range []State{StateActive, StateNext} {
			if n := count[place{purpose, state}]; n != 1 {
				return fmt.Errorf("%w: %d %s keys are %s, not one", ErrCorrupt, n, purpose, state)
			}
		}
	}
	if len(r.Masters) == 0 {
		return fmt.Errorf("%w: no master secret", ErrCorrupt)
	}
	return nil
}
