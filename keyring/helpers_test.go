package keyring_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"tokenbroker/keyring"
)

// memStore is a Store in memory.
type memStore struct {
	mu   sync.Mutex // guards data and rev
	data []byte
	rev  uint64
	// beforeSwap, if set, runs before each comparison.
	beforeSwap func()
}

func (m *memStore) Load(context.Context) ([]byte, uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.data == nil {
		return nil, m.rev, keyring.ErrEmpty
	}
	return bytes.Clone(m.data), m.rev, nil
}

func (m *memStore) CompareAndSwap(_ context.Context, data []byte, rev uint64) error {
	if m.beforeSwap != nil {
		m.beforeSwap()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if rev != m.rev {
		return keyring.ErrConflict
	}
	m.data, m.rev = bytes.Clone(data), m.rev+1
	return nil
}

// set replaces the record without a compare-and-set.
func (m *memStore) set(data []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.data, m.rev = bytes.Clone(data), m.rev+1
}

func kek(b byte) []byte { return bytes.Repeat([]byte{b}, keyring.KEKSize) }

func sealer(t testing.TB, b byte) *keyring.AESGCM {
	t.Helper()
	s, err := keyring.NewAESGCM(kek(b))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var testTime = time.Unix(1_800_000_000, 0)

func config(t testing.TB, store keyring.Store) keyring.Config {
	t.Helper()
	return keyring.Config{
		Store: store, Sealer: sealer(t, 1), StoreID: "store-1",
		Now: func() time.Time { return testTime },
	}
}

func open(t testing.TB, cfg keyring.Config) *keyring.Keyring {
	t.Helper()
	ring, err := keyring.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// envelope and the associated data below describe the stored form independently of the package.
type envelope struct {
	V      int             `json:"v"`
	Record json.RawMessage `json:"record"`
	Check  []byte          `json:"check"`
}

// rewrite changes the stored record and seals it with the KEK.
func rewrite(t *testing.T, store *memStore, change func(record map[string]any)) {
	t.Helper()
	var env envelope
	if err := json.Unmarshal(store.data, &env); err != nil {
		t.Fatal(err)
	}
	var record map[string]any
	if err := json.Unmarshal(env.Record, &record); err != nil {
		t.Fatal(err)
	}
	change(record)
	var err error
	if env.Record, err = json.Marshal(record); err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(env.Record)
	if env.Check, err = sealer(t, 1).Seal(t.Context(), digest[:], []byte("tokenbroker keyring\x00record")); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(env)
	if err != nil {
		t.Fatal(err)
	}
	store.set(data)
}

func keyOf(record map[string]any, purpose, state string) map[string]any {
	for _, k := range record["keys"].([]any) {
		if k := k.(map[string]any); k["purpose"] == purpose && k["state"] == state {
			return k
		}
	}
	return nil
}
