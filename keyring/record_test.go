package keyring_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"tokenbroker/keyring"
	"tokenbroker/keyring/lifecycle"
)

func pkix(t *testing.T, public crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// mustRefuse opens the store and checks that the record was refused and left unchanged.
func mustRefuse(t *testing.T, cfg keyring.Config, store *memStore, want error) {
	t.Helper()
	before := bytes.Clone(store.data)
	ring, err := keyring.Open(t.Context(), cfg)
	if err == nil {
		t.Fatalf("Open succeeded: %v", ring.List())
	}
	if !errors.Is(err, want) {
		t.Errorf("Open = %v, want %v", err, want)
	}
	if !bytes.Equal(before, store.data) {
		t.Error("the record was replaced")
	}
}

func TestAWrongKEKIsNamedInTheError(t *testing.T) {
	store := &memStore{}
	open(t, config(t, store))
	cfg := config(t, store)
	cfg.Sealer = sealer(t, 2)
	mustRefuse(t, cfg, store, keyring.ErrWrongKEK)
	_, err := keyring.Open(t.Context(), cfg)
	for _, want := range []string{sealer(t, 1).ID(), sealer(t, 2).ID()} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
	if errors.Is(err, keyring.ErrCorrupt) {
		t.Error("a wrong KEK is reported as damage")
	}
}

func TestEveryTruncationIsRefused(t *testing.T) {
	store := &memStore{}
	open(t, config(t, store))
	whole := bytes.Clone(store.data)
	for n := 0; n < len(whole); n += 7 {
		store.set(whole[:n])
		mustRefuse(t, config(t, store), store, keyring.ErrCorrupt)
	}
}

func TestEveryChangedByteOfTheRecordIsRefused(t *testing.T) {
	store := &memStore{}
	ring := open(t, config(t, store))
	whole := bytes.Clone(store.data)
	for i := 0; i < len(whole); i += 3 {
		changed := bytes.Clone(whole)
		changed[i] ^= 1
		store.set(changed)
		before := ring.Snapshot()
		if err := ring.Reload(t.Context()); err == nil {
			t.Fatalf("byte %d (%q → %q) was changed and the record opened", i, whole[i], changed[i])
		}
		if ring.Snapshot() != before {
			t.Fatal("a refused record is in use")
		}
	}
}

func TestStatesCannotBeChangedWithoutTheKEK(t *testing.T) {
	store := &memStore{}
	open(t, config(t, store))
	for _, edit := range [][2]string{
		{`"compromised":[]`, `"compromised":["x"]`},
		{`"state":"next"`, `"state":"retired"`},
		{`"created":1800000000`, `"created":1800000001`},
	} {
		changed := bytes.Replace(store.data, []byte(edit[0]), []byte(edit[1]), 1)
		if bytes.Equal(changed, store.data) {
			t.Fatalf("%s is not in the record", edit[0])
		}
		copied := &memStore{data: changed, rev: 1}
		mustRefuse(t, config(t, copied), copied, keyring.ErrCorrupt)
	}
}

func TestRecordsThatBreakTheRulesAreRefused(t *testing.T) {
	swap := func(a, b map[string]any, member string) { a[member], b[member] = b[member], a[member] }
	tests := map[string]struct {
		want   error
		change func(record map[string]any)
	}{
		"two private parts swapped": {keyring.ErrCorrupt, func(r map[string]any) {
			swap(keyOf(r, "access", "active"), keyOf(r, "access", "next"), "private")
		}},
		"two public parts swapped": {keyring.ErrCorrupt, func(r map[string]any) {
			swap(keyOf(r, "access", "active"), keyOf(r, "access", "next"), "public")
		}},
		"two key ids swapped": {keyring.ErrCorrupt, func(r map[string]any) {
			swap(keyOf(r, "access", "active"), keyOf(r, "access", "next"), "kid")
		}},
		"another algorithm": {keyring.ErrCorrupt, func(r map[string]any) {
			keyOf(r, "access", "active")["algorithm"] = "EdDSA"
		}},
		"unknown algorithm": {lifecycle.ErrUnknownAlgorithm, func(r map[string]any) {
			keyOf(r, "access", "active")["algorithm"] = "HS256"
		}},
		"unknown state": {keyring.ErrCorrupt, func(r map[string]any) {
			keyOf(r, "access", "active")["state"] = "busy"
		}},
		"unknown purpose": {keyring.ErrCorrupt, func(r map[string]any) {
			keyOf(r, "access", "active")["purpose"] = "id"
		}},
		"no active key": {keyring.ErrCorrupt, func(r map[string]any) {
			keyOf(r, "access", "active")["state"] = "retiring"
		}},
		"two active keys": {keyring.ErrCorrupt, func(r map[string]any) {
			keyOf(r, "access", "next")["state"] = "active"
		}},
		"a key twice": {keyring.ErrCorrupt, func(r map[string]any) {
			r["keys"] = append(r["keys"].([]any), keyOf(r, "access", "active"))
		}},
		"a compromised key that signs": {keyring.ErrCorrupt, func(r map[string]any) {
			r["compromised"] = []any{keyOf(r, "access", "active")["kid"]}
		}},
		"a compromised key that is not on the list": {keyring.ErrCorrupt, func(r map[string]any) {
			r["keys"] = append(r["keys"].([]any), map[string]any{
				"kid": "k", "purpose": "access", "algorithm": "ES256", "state": "compromised",
			})
		}},
		"no master secret": {keyring.ErrCorrupt, func(r map[string]any) { r["masters"] = []any{} }},
		"a master secret under another id": {keyring.ErrCorrupt, func(r map[string]any) {
			r["masters"].([]any)[0].(map[string]any)["id"] = "other"
		}},
		"a master secret of an unknown state": {keyring.ErrCorrupt, func(r map[string]any) {
			r["masters"].([]any)[0].(map[string]any)["state"] = "retired"
		}},
		"no active master secret": {keyring.ErrCorrupt, func(r map[string]any) {
			r["masters"].([]any)[0].(map[string]any)["state"] = "retiring"
		}},
		"a master secret twice": {keyring.ErrCorrupt, func(r map[string]any) {
			r["masters"] = append(r["masters"].([]any), r["masters"].([]any)[0])
		}},
		"no private part": {keyring.ErrCorrupt, func(r map[string]any) {
			delete(keyOf(r, "access", "next"), "private")
		}},
	}
	original := &memStore{}
	open(t, config(t, original))
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			store := &memStore{data: bytes.Clone(original.data), rev: 1}
			rewrite(t, store, tt.change)
			mustRefuse(t, config(t, store), store, tt.want)
		})
	}
	t.Run("an unchanged record opens", func(t *testing.T) {
		store := &memStore{data: bytes.Clone(original.data), rev: 1}
		rewrite(t, store, func(map[string]any) {})
		open(t, config(t, store))
	})
}

func TestPurposesAreBoundToTheKeys(t *testing.T) {
	store := &memStore{}
	cfg := config(t, store)
	cfg.Algorithm = lifecycle.EdDSA // so that only the associated data differs
	open(t, cfg)
	rewrite(t, store, func(r map[string]any) {
		access, feed := keyOf(r, "access", "active"), keyOf(r, "feed", "active")
		access["purpose"], feed["purpose"] = "feed", "access"
	})
	mustRefuse(t, cfg, store, keyring.ErrCorrupt)
}

func TestARecordOfANewerProgramIsReportedAsNewer(t *testing.T) {
	store := &memStore{}
	open(t, config(t, store))
	var env envelope
	if err := json.Unmarshal(store.data, &env); err != nil {
		t.Fatal(err)
	}
	env.V = 3
	data, err := json.Marshal(env)
	if err != nil {
		t.Fatal(err)
	}
	store.set(data)
	_, err = keyring.Open(t.Context(), config(t, store))
	if err == nil || !strings.Contains(err.Error(), "newer program") {
		t.Errorf("Open = %v, want a hint at the newer program", err)
	}
}

type remoteSealer struct {
	keyring.Sealer
	err error
}

func (r remoteSealer) Open(context.Context, []byte, []byte) ([]byte, error) { return nil, r.err }

func TestAnUnreachableSealerIsNotReportedAsDamage(t *testing.T) {
	store := &memStore{}
	open(t, config(t, store))
	down := errors.New("KMS unreachable")
	cfg := config(t, store)
	cfg.Sealer = remoteSealer{cfg.Sealer, down}
	mustRefuse(t, cfg, store, down)
	if _, err := keyring.Open(t.Context(), cfg); errors.Is(err, keyring.ErrCorrupt) {
		t.Errorf("Open = %v: an outage is reported as damage", err)
	}
}
