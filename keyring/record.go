package keyring

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Records of version 1 knew no rotation: master secrets had no state, and nothing was
// remembered of what had been published. They are read, and written as version 2.
const (
	recordVersion = 2
	oldestVersion = 1
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
	// Configured is the configuration's algorithm that was last acted upon, so that a
	// rotation to another one by hand is not undone at the next start.
	Configured Algorithm `json:"configured,omitempty"`
	// CacheLife is the longest that a service may go on with a JWK set of before, in seconds.
	CacheLife int64 `json:"cache_life,omitempty"`
	// TokenLife is what services were told of the life of access tokens.
	TokenLife lifeRecord `json:"token_life,omitzero"`
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
	// Ripe says of a next key that it was published for a full cache life.
	Ripe bool `json:"ripe,omitempty"`
	// Asked is when a rotation to this next key was asked for.
	Asked int64 `json:"asked,omitempty"`
	// Jitter moves the planned end of the key's signing, in thousandths of its length.
	Jitter  int64  `json:"jitter,omitempty"`
	Private []byte `json:"private,omitempty"` // PKCS #8, sealed
	Public  []byte `json:"public"`            // PKIX
}

// masterRecord is next until all brokers of the store know it, then active, then
// retiring: still accepted.
type masterRecord struct {
	ID        string `json:"id"`
	State     State  `json:"state"`
	Created   int64  `json:"created"`
	Activates int64  `json:"activates,omitempty"`
	Retires   int64  `json:"retires,omitempty"`
	Jitter    int64  `json:"jitter,omitempty"`
	Sealed    []byte `json:"sealed"`
}

// lifeRecord is in seconds. Signed is the longest life that may be signed; it follows
// Published when that has been out for a cache life.
type lifeRecord struct {
	Published int64 `json:"published"`
	Signed    int64 `json:"signed"`
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
	m, err := newMaster(ctx, sealer, StateActive, now)
	if err != nil {
		return nil, err
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
	rec := new(record)
	if err := json.Unmarshal(env.Record, rec); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if env.V == 1 {
		if err := rec.upgrade(); err != nil {
			return nil, err
		}
	}
	return rec, rec.check()
}

// upgrade gives the master secrets of version 1 their states: the first was the current one.
// The version stands outside of the seal: a newer record that calls itself old is refused.
func (r *record) upgrade() error {
	for i := range r.Masters {
		m := &r.Masters[i]
		if m.State != "" {
			return fmt.Errorf("%w: it is not of version 1, as it says", ErrCorrupt)
		}
		if m.State, m.Activates = StateActive, m.Created; i > 0 {
			m.State, m.Retires = StateRetiring, r.Masters[0].Created
		}
	}
	return nil
}

// clone copies all that a change may write to; sealed values are replaced, never written to.
func (r *record) clone() *record {
	c := *r
	c.Keys, c.Masters, c.Compromised = slices.Clone(r.Keys), slices.Clone(r.Masters), slices.Clone(r.Compromised)
	return &c
}
