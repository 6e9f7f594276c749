package upstream

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// members returns the JWK of a public key as a map, with further members.
func members(t *testing.T, public crypto.PublicKey, more map[string]any) map[string]any {
	t.Helper()
	text, err := json.Marshal(jose.JSONWebKey{Key: public})
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	maps.Copy(m, more)
	return m
}

func setOf(t *testing.T, keys ...any) []byte {
	t.Helper()
	body, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func rsaKey(t *testing.T, bits int) *rsa.PublicKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return &key.PublicKey
}

func TestKeySetIsReadKeyByKey(t *testing.T) {
	good := rsaKey(t, 2048)
	curve, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edwards, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	short := members(t, good, map[string]any{"kid": "k", "n": strings.Repeat("_", 340)}) // 2040 bits
	long := members(t, good, map[string]any{"kid": "k", "n": strings.Repeat("_", 1376)}) // 8256 bits
	for name, tc := range map[string]struct {
		key  map[string]any
		says string // empty: the key is used
	}{
		"plain":                      {members(t, good, map[string]any{"kid": "k"}), ""},
		"an unreadable x5c":          {members(t, good, map[string]any{"kid": "k", "x5c": []string{"AAAA"}}), ""},
		"an empty x5c, and crv":      {members(t, good, map[string]any{"kid": "k", "x5c": []string{""}, "crv": ""}), ""},
		"an x5c that is not a list":  {members(t, good, map[string]any{"kid": "k", "x5c": "AAAA"}), ""},
		"x5t of a wrong size":        {members(t, good, map[string]any{"kid": "k", "x5t": "AA", "x5t#S256": "AA"}), ""},
		"Ed25519":                    {members(t, edwards, map[string]any{"kid": "k"}), ""},
		"an RSA key of 2040 bits":    {short, "RSA of 2040 bits"},
		"an RSA key of 8256 bits":    {long, "modulus size"},
		"P-384":                      {members(t, &curve.PublicKey, map[string]any{"kid": "k"}), `crv "P-384"`},
		"another algorithm":          {members(t, good, map[string]any{"kid": "k", "alg": "RS512"}), `alg "RS512"`},
		"a padded modulus":           {members(t, good, map[string]any{"kid": "k", "n": "AAAA="}), "base64"},
		"without an exponent":        {members(t, good, map[string]any{"kid": "k", "e": ""}), "RSA"},
		"a published private part":   {members(t, good, map[string]any{"kid": "k", "d": "AAAA"}), "private part"},
		"an encryption key":          {members(t, good, map[string]any{"kid": "k", "use": "enc"}), "not for signatures"},
		"a symmetric key":            {map[string]any{"kty": "oct", "kid": "k", "k": "AAAA"}, `kty is "oct"`},
		"a member of the wrong type": {members(t, good, map[string]any{"kid": "k", "use": 7}), `"k" (number 1): reading its members`},
	} {
		t.Run(name, func(t *testing.T) {
			keys, unfit, err := parseKeys(setOf(t, tc.key))
			if tc.says == "" {
				if err != nil || len(keys) != 1 || keys[0].KeyID != "k" || len(unfit) > 0 {
					t.Fatalf("%d keys, unfit %q, %v", len(keys), unfit, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Fatalf("%d keys, error %v; want one that says %q", len(keys), err, tc.says)
			}
			beside := members(t, good, map[string]any{"kid": "good"})
			keys, unfit, err = parseKeys(setOf(t, tc.key, beside))
			if err != nil || len(keys) != 1 || keys[0].KeyID != "good" {
				t.Fatalf("beside a good key: %d keys, %v", len(keys), err)
			}
			if quiet := tc.key["use"] == "enc"; quiet != (len(unfit) == 0) {
				t.Errorf("unfit %q", unfit)
			}
		})
	}
}

func TestKeySetIsBounded(t *testing.T) {
	good := rsaKey(t, 2048)
	many := func(n int, kid func(int) string) []byte {
		keys := make([]any, n)
		for i := range keys {
			keys[i] = members(t, good, map[string]any{"kid": kid(i)})
		}
		return setOf(t, keys...)
	}
	number := func(i int) string { return fmt.Sprint("k", i) }
	if keys, _, err := parseKeys(many(100, number)); err != nil || len(keys) != 100 {
		t.Errorf("100 keys: %d, %v", len(keys), err)
	}
	if _, _, err := parseKeys(many(101, number)); err == nil || !strings.Contains(err.Error(), "101 keys, more than 100") {
		t.Errorf("101 keys: %v", err)
	}
	if _, _, err := parseKeys(many(2, func(int) string { return "same" })); err == nil || !strings.Contains(err.Error(), `two keys of kid "same"`) {
		t.Errorf("one kid twice: %v", err)
	}
	if keys, _, err := parseKeys(many(2, func(int) string { return "" })); err != nil || len(keys) != 2 {
		t.Errorf("two keys without kid: %d, %v", len(keys), err)
	}
	// One key for two algorithms, listed once for each.
	both := setOf(t, members(t, good, map[string]any{"kid": "k", "alg": "RS256"}), members(t, good, map[string]any{"kid": "k", "alg": "PS256"}))
	if keys, _, err := parseKeys(both); err != nil || len(keys) != 2 {
		t.Errorf("one kid for RS256 and PS256: %d, %v", len(keys), err)
	}
	// A usable key and one that is not may have the same kid.
	mixed := setOf(t, members(t, good, map[string]any{"kid": "k"}), members(t, good, map[string]any{"kid": "k", "use": "enc"}))
	if keys, _, err := parseKeys(mixed); err != nil || len(keys) != 1 {
		t.Errorf("one kid for signatures and encryption: %d, %v", len(keys), err)
	}
	if _, _, err := parseKeys([]byte(`{"keys":[]}`)); err == nil || !strings.Contains(err.Error(), "it is empty") {
		t.Errorf("no keys: %v", err)
	}
}
