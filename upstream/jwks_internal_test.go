package upstream

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// members returns the JWK of a public key as a map, modified by further members.
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

// octets and withOctets read and write a member's value.
func octets(t *testing.T, m map[string]any, name string) []byte {
	t.Helper()
	value, err := base64.RawURLEncoding.DecodeString(m[name].(string))
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func url64(value []byte) string { return base64.RawURLEncoding.EncodeToString(value) }

func TestKeySetIsReadKeyByKey(t *testing.T) {
	good := rsaKey(t, 2048)
	onCurve := func(curve elliptic.Curve) *ecdsa.PublicKey {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return &key.PublicKey
	}
	p256 := onCurve(elliptic.P256())
	edwards, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaWith := func(more map[string]any) map[string]any { return members(t, good, more) }
	ecWith := func(more map[string]any) map[string]any { return members(t, p256, more) }
	edWith := func(more map[string]any) map[string]any { return members(t, edwards, more) }
	n := octets(t, rsaWith(nil), "n")
	even := append(bytes.Clone(n[:len(n)-1]), n[len(n)-1]&^1)
	off := octets(t, ecWith(nil), "y")
	off[31] ^= 1
	// A point whose x starts with a zero, which some issuers omit.
	short := onCurve(elliptic.P256())
	for octets(t, members(t, short, nil), "x")[0] != 0 {
		short = onCurve(elliptic.P256())
	}
	shortX := octets(t, members(t, short, nil), "x")[1:]
	for name, tc := range map[string]struct {
		key  any
		says string // empty if the key is used
	}{
		"RSA":                              {rsaWith(nil), ""},
		"P-256":                            {ecWith(nil), ""},
		"P-384":                            {members(t, onCurve(elliptic.P384()), nil), ""},
		"P-521":                            {members(t, onCurve(elliptic.P521()), nil), ""},
		"Ed25519":                          {edWith(nil), ""},
		"RS512":                            {rsaWith(map[string]any{"alg": "RS512"}), ""},
		"x5c is unreadable":                {rsaWith(map[string]any{"x5c": []string{"AAAA"}}), ""},
		"x5c is empty, and crv":            {rsaWith(map[string]any{"x5c": []string{""}, "crv": ""}), ""},
		"x5c is a string":                  {rsaWith(map[string]any{"x5c": "AAAA"}), ""},
		"x5t is of a wrong size":           {rsaWith(map[string]any{"x5t": "AA", "x5t#S256": "AA"}), ""},
		"x5u is not a URL":                 {rsaWith(map[string]any{"x5u": ":"}), ""},
		"crv of an RSA key is a number":    {rsaWith(map[string]any{"crv": 5, "x": 1, "y": []int{}}), ""},
		"n and e of an EC key":             {ecWith(map[string]any{"n": 1, "e": nil}), ""},
		"null members":                     {rsaWith(map[string]any{"use": nil, "alg": nil, "key_ops": nil, "d": nil}), ""},
		"n is padded":                      {rsaWith(map[string]any{"n": base64.URLEncoding.EncodeToString(n)}), ""},
		"n and e in standard base64":       {rsaWith(map[string]any{"n": base64.StdEncoding.EncodeToString(n), "e": "AQAB=="}), ""},
		"n starts with a zero byte":        {rsaWith(map[string]any{"n": url64(append([]byte{0}, n...))}), ""},
		"e starts with zero bytes":         {rsaWith(map[string]any{"e": "AAABAAE"}), ""},
		"e is 3":                           {rsaWith(map[string]any{"e": "Aw"}), ""},
		"x lacks its leading zero":         {members(t, short, map[string]any{"x": url64(shortX)}), ""},
		"x of an EC key is padded":         {ecWith(map[string]any{"x": base64.StdEncoding.EncodeToString(octets(t, ecWith(nil), "x"))}), ""},
		"x of Ed25519 is padded":           {edWith(map[string]any{"x": base64.StdEncoding.EncodeToString(edwards)}), ""},
		"key_ops has verify":               {rsaWith(map[string]any{"key_ops": []string{"verify"}}), ""},
		"RSA of 2040 bits":                 {rsaWith(map[string]any{"n": strings.Repeat("_", 340)}), "RSA of 2040 bits"},
		"RSA of 8256 bits":                 {rsaWith(map[string]any{"n": strings.Repeat("_", 1376)}), "RSA of 8256 bits"},
		"n is even":                        {rsaWith(map[string]any{"n": url64(even)}), "its modulus is even"},
		"n is missing":                     {rsaWith(map[string]any{"n": ""}), "it has no n"},
		"n has a space":                    {rsaWith(map[string]any{"n": "AAAA AAAA"}), "its n is not base64url"},
		"n has a line end":                 {rsaWith(map[string]any{"n": url64(n[:99]) + "\n" + url64(n[99:])}), "its n is not base64url"},
		"n is a number":                    {rsaWith(map[string]any{"n": 5}), "its n is not a string"},
		"e is missing":                     {rsaWith(map[string]any{"e": nil}), "it has no e"},
		"e is 1":                           {rsaWith(map[string]any{"e": "AQ"}), "its exponent e is"},
		"e is even":                        {rsaWith(map[string]any{"e": "AQAA"}), "its exponent e is"},
		"e is too large":                   {rsaWith(map[string]any{"e": "AQAAAAAAAAAAAQAB"}), "its exponent e is"}, // 65537 in the low 64 bits
		"a point off the curve":            {ecWith(map[string]any{"y": url64(off)}), "not on the curve P-256"},
		"the point 0, 0":                   {ecWith(map[string]any{"x": "AA", "y": "AA"}), "not on the curve P-256"},
		"a point of P-384 as of P-256":     {members(t, onCurve(elliptic.P384()), map[string]any{"crv": "P-256"}), "its x has 48 bytes; want 32"},
		"x of Ed25519 is too short":        {edWith(map[string]any{"x": "AAAA"}), "its x has 3 bytes; want 32"},
		"crv is not known":                 {ecWith(map[string]any{"crv": "secp256k1"}), `crv is "secp256k1"`},
		"crv is missing":                   {ecWith(map[string]any{"crv": nil}), `crv is ""`},
		"X25519":                           {edWith(map[string]any{"crv": "X25519"}), `crv is "X25519"`},
		"alg does not fit kty":             {rsaWith(map[string]any{"alg": "ES256"}), `its alg "ES256" does not fit`},
		"alg does not fit crv":             {ecWith(map[string]any{"alg": "ES384"}), `its alg "ES384" does not fit`},
		"alg is HS256":                     {rsaWith(map[string]any{"alg": "HS256"}), `its alg "HS256" does not fit`},
		"alg is for encryption":            {rsaWith(map[string]any{"alg": "RSA-OAEP"}), `its alg "RSA-OAEP" does not fit`},
		"the private part is published":    {rsaWith(map[string]any{"d": "AAAA"}), "private part"},
		"use is enc":                       {rsaWith(map[string]any{"use": "enc"}), "not for signatures"},
		"use is a number":                  {rsaWith(map[string]any{"use": 7}), "its use is not a string"},
		"key_ops lacks verify":             {rsaWith(map[string]any{"key_ops": []string{"encrypt"}}), "not for signatures"},
		"key_ops is a string":              {rsaWith(map[string]any{"key_ops": "verify"}), "its key_ops is not a list"},
		"a symmetric key":                  {map[string]any{"kty": "oct", "kid": "k", "k": "AAAA"}, `kty is "oct"`},
		"kty is missing":                   {rsaWith(map[string]any{"kty": nil}), `kty is ""`},
		"a member twice":                   {json.RawMessage(`{"kty":"RSA","kty":"EC"}`), "unique names"},
		"a string":                         {"AAAA", "not a JSON object"},
		"a null":                           {nil, `kty is ""`},
		"kid is a number":                  {rsaWith(map[string]any{"kid": 1}), "its kid is not a string"},
		"kid is as long as a set may be":   {rsaWith(map[string]any{"kid": strings.Repeat("k", 1000), "use": "x"}), "not for signatures"},
		"a key type with a long name":      {rsaWith(map[string]any{"kty": strings.Repeat("k", 1000)}), "kty is"},
		"a name that differs only by case": {rsaWith(map[string]any{"n": nil, "N": url64(n)}), "it has no n"},
	} {
		t.Run(name, func(t *testing.T) {
			if m, ok := tc.key.(map[string]any); ok && m["kid"] == nil {
				m["kid"] = "k"
			}
			keys, unfit, err := parseKeys(setOf(t, tc.key), knownAlgorithms)
			if tc.says == "" {
				if err != nil || len(keys) != 1 || keys[0].KeyID != "k" || len(unfit) > 0 {
					t.Fatalf("%d keys, unfit %q, %v", len(keys), unfit, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), "(number 1)") || len(err.Error()) > 500 {
				t.Fatalf("%d keys, error %v; want one with %q", len(keys), err, tc.says)
			}
			keys, unfit, err = parseKeys(setOf(t, tc.key, rsaWith(map[string]any{"kid": "good"})), knownAlgorithms)
			if err != nil || len(keys) != 1 || keys[0].KeyID != "good" {
				t.Fatalf("with a usable key: %d keys, %v", len(keys), err)
			}
			if quiet := strings.Contains(tc.says, "not for signatures"); quiet != (len(unfit) == 0) {
				t.Errorf("unfit %q", unfit)
			}
		})
	}
}

func TestKeySetIsBounded(t *testing.T) {
	good, another := rsaKey(t, 2048), rsaKey(t, 2048)
	many := func(n int) []byte {
		keys := make([]any, n)
		for i := range keys {
			keys[i] = members(t, good, map[string]any{"kid": fmt.Sprint("k", i)})
		}
		return setOf(t, keys...)
	}
	if keys, _, err := parseKeys(many(100), knownAlgorithms); err != nil || len(keys) != 100 {
		t.Errorf("100 keys: %d, %v", len(keys), err)
	}
	if _, _, err := parseKeys(many(101), knownAlgorithms); err == nil || !strings.Contains(err.Error(), "101 keys, more than 100") {
		t.Errorf("101 keys: %v", err)
	}
	key := func(public *rsa.PublicKey, kid, alg string) map[string]any {
		return members(t, public, map[string]any{"kid": kid, "alg": alg})
	}
	for name, tc := range map[string]struct {
		set   []byte
		keys  int
		unfit string
	}{
		"one key listed twice":                     {setOf(t, key(good, "k", "RS256"), key(good, "k", "RS256")), 1, ""},
		"one key listed for two algorithms":        {setOf(t, key(good, "k", "RS256"), key(good, "k", "PS256")), 2, ""},
		"one key with alg and without alg":         {setOf(t, key(good, "k", "RS256"), members(t, good, map[string]any{"kid": "k"})), 2, ""},
		"two keys of one kid":                      {setOf(t, key(good, "k", "RS256"), key(another, "k", "RS256"), key(good, "other", "RS256")), 1, `key "k": different keys have this kid`},
		"two keys of one kid, one without alg":     {setOf(t, members(t, good, map[string]any{"kid": "k"}), key(another, "k", "PS512"), key(good, "other", "RS256")), 1, `key "k": different keys`},
		"two keys of one kid for other algorithms": {setOf(t, key(good, "k", "RS256"), key(another, "k", "PS256")), 2, ""},
		"two keys without kid":                     {setOf(t, key(good, "", "RS256"), key(another, "", "RS256")), 2, ""},
		"one kid for signatures and encryption":    {setOf(t, key(good, "k", "RS256"), members(t, good, map[string]any{"kid": "k", "use": "enc"})), 1, ""},
	} {
		keys, unfit, err := parseKeys(tc.set, knownAlgorithms)
		if err != nil || len(keys) != tc.keys || (tc.unfit == "") != (len(unfit) == 0) || !strings.Contains(strings.Join(unfit, ";"), tc.unfit) {
			t.Errorf("%s: %d keys, unfit %q, %v", name, len(keys), unfit, err)
		}
	}
	for body, says := range map[string]string{
		`{"keys":[]}`: "it is empty", `{}`: "it is empty", `[]`: "reading the key set", `{"keys":{}}`: "reading the key set", "": "reading the key set",
	} {
		if _, _, err := parseKeys([]byte(body), knownAlgorithms); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", body, err)
		}
	}
	if _, _, err := parseKeys(setOf(t, key(good, "k", "RS512")), defaultAlgorithms); err == nil || !strings.Contains(err.Error(), "not one of the accepted algorithms [RS256 PS256 ES256 EdDSA]") {
		t.Errorf("an algorithm that is not accepted: %v", err)
	}
}
