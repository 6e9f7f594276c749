package keyring_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/keyring"
	"tokenbroker/keyring/lifecycle"
)

func TestJWKSHasPublicMembersOnly(t *testing.T) {
	members := map[lifecycle.Algorithm][]string{
		lifecycle.ES256: {"alg", "crv", "kid", "kty", "use", "x", "y"},
		lifecycle.EdDSA: {"alg", "crv", "kid", "kty", "use", "x"},
		lifecycle.RS256: {"alg", "e", "kid", "kty", "n", "use"},
		lifecycle.PS256: {"alg", "e", "kid", "kty", "n", "use"},
	}
	for _, alg := range allAlgorithms {
		t.Run(string(alg), func(t *testing.T) {
			doc := ringOf(t, alg).JWKS()
			var set struct {
				Keys  []map[string]string `json:"keys"`
				Store string              `json:"store"`
			}
			if err := json.Unmarshal(doc.Body, &set); err != nil {
				t.Fatal(err)
			}
			if set.Store != "store-1" {
				t.Errorf("store = %q", set.Store)
			}
			if len(set.Keys) != 2 {
				t.Fatalf("%d keys, want active and next", len(set.Keys))
			}
			for _, k := range set.Keys {
				want := map[string]string{}
				for _, name := range members[alg] {
					want[name] = k[name]
				}
				if diff := cmp.Diff(want, k); diff != "" || k["alg"] != string(alg) || k["use"] != "sig" {
					t.Errorf("members (-want +got):\n%s\n%v", diff, k)
				}
			}
			if doc.MaxAge != keyring.DefaultJWKSMaxAge {
				t.Errorf("max age = %s", doc.MaxAge)
			}
		})
	}
}

func TestRetiredKeysLeaveTheJWKSAndChangeItsETag(t *testing.T) {
	store := &memStore{}
	ring := open(t, config(t, store))
	extra := open(t, config(t, &memStore{}))
	before := ring.JWKS().ETag
	// The other ring's public half is added as retiring, then retired: no private part is needed.
	var key map[string]any
	states := map[string]int{"retiring": 3, "retired": 2, "compromised": 2}
	for state, want := range states {
		rewrite(t, store, func(record map[string]any) {
			if key == nil {
				key = foreignKey(t, extra)
				record["keys"] = append(record["keys"].([]any), key)
			}
			all := record["keys"].([]any)
			last := all[len(all)-1].(map[string]any)
			last["state"] = state
			record["compromised"] = []string{}
			if state == "compromised" {
				record["compromised"] = []any{last["kid"]}
			}
		})
		if err := ring.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		kid := key["kid"].(string)
		var set struct{ Keys []any }
		if err := json.Unmarshal(ring.JWKS().Body, &set); err != nil || len(set.Keys) != want {
			t.Errorf("%s: %d keys are published, want %d (%v)", state, len(set.Keys), want, err)
		}
		if _, _, ok := ring.Verifier(kid); ok != (state == "retiring") {
			t.Errorf("%s: Verifier ok = %t", state, ok)
		}
		if same := ring.JWKS().ETag == before; same != (state != "retiring") {
			t.Errorf("%s: the ETag is the first one: %t", state, same)
		}
	}
}

// foreignKey returns the active access key of another ring as an entry of a record, without its
// private half.
func foreignKey(t *testing.T, ring *keyring.Keyring) map[string]any {
	t.Helper()
	for _, k := range ring.List() {
		if k.Purpose == lifecycle.PurposeAccess && k.State == lifecycle.StateActive {
			_, public, _ := ring.Verifier(k.KID)
			return map[string]any{
				"kid": k.KID, "purpose": "access", "algorithm": string(k.Algorithm),
				"created": testTime.Add(-time.Hour).Unix(), "public": pkix(t, public),
			}
		}
	}
	t.Fatal("no active key")
	return nil
}

func TestETagDependsOnKeysAndStore(t *testing.T) {
	store := &memStore{}
	cfg := config(t, store)
	first := open(t, cfg)
	cfg.StoreID = "store-2"
	if open(t, cfg).JWKS().ETag == first.JWKS().ETag {
		t.Error("two stores have the same ETag")
	}
	if open(t, config(t, &memStore{})).JWKS().ETag == first.JWKS().ETag {
		t.Error("two key sets have the same ETag")
	}
	if first.JWKS().ETag == first.FeedJWKS().ETag {
		t.Error("both documents have the same ETag")
	}
}

func TestDerivedKeysDifferByPurpose(t *testing.T) {
	ring := ringOf(t, lifecycle.ES256)
	csrf, refresh := ring.Keys("csrf"), ring.Keys("refresh")
	if len(csrf) != 1 || len(csrf[0]) != 32 {
		t.Fatalf("%d keys", len(csrf))
	}
	if cmp.Equal(csrf, refresh) {
		t.Error("two purposes have the same key")
	}
	if again := ring.Keys("csrf"); &again[0][0] != &csrf[0][0] {
		t.Error("the keys were derived twice")
	}
}

func TestPreviousMasterSecretsAreStillAccepted(t *testing.T) {
	store := &memStore{}
	ring := open(t, config(t, store))
	old := ring.Keys("csrf")[0]
	rewrite(t, store, func(record map[string]any) {
		sealed, err := sealer(t, 1).Seal(t.Context(), kek(9), []byte("tokenbroker keyring\x00master\x00m2"))
		if err != nil {
			t.Fatal(err)
		}
		active := map[string]any{"id": "m2", "state": "active", "created": 1, "sealed": sealed}
		old := record["masters"].([]any)
		old[0].(map[string]any)["state"] = "retiring"
		record["masters"] = append(old, active)
	})
	if err := ring.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := ring.Keys("csrf")
	if len(got) != 2 || cmp.Equal(got[0], old) || !cmp.Equal(got[1], old) {
		t.Error("want the new master's key first, then the old one's")
	}
}
