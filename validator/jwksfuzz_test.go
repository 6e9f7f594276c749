package validator

import (
	"encoding/json"
	"os"
	"testing"
)

// FuzzParseKeys: of any JWK set, only keys that fit their algorithm come out of
// it, each under a name, and not more than allowed.
func FuzzParseKeys(f *testing.F) {
	raw, err := os.ReadFile(vectorsFile)
	if err != nil {
		f.Fatal(err)
	}
	var all vectors
	if err := json.Unmarshal(raw, &all); err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(all.JWKS))
	for _, text := range []string{
		`{"store":"S","keys":[]}`, `{"store":"S","keys":[{"kty":"EC","crv":"P-256","kid":"x","alg":"ES256","x":"AA","y":"AA"}]}`,
		`{"store":"S","keys":[{"kty":"oct","kid":"x","alg":"HS256","k":"AAAA"}]}`, `{"store":"S","keys":[{"kty":"RSA","kid":"x","alg":"RS256","n":"AQAB","e":"AQAB"}]}`,
		`{"store":"S","keys":[{"kty":"OKP","crv":"Ed25519","kid":"x","alg":"EdDSA","x":"AA"}]}`, `{"store":1}`, `[]`, `{"keys":[null]}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		store, keys, err := parseTokenKeys(body)
		if err == nil && (store == "" || len(keys) == 0 || len(keys) > maxKeys) {
			t.Fatalf("store %q with %d keys", store, len(keys))
		}
		for kid, key := range keys {
			if kid == "" || len(kid) > maxKIDBytes || kid != key.kid || !allowedAlgorithm(string(key.alg)) || !fitsAlgorithm(string(key.alg), key.public) {
				t.Fatalf("took %q: %+v", kid, key)
			}
		}
		if _, keys, err := parseFeedKeys(body); err == nil && (len(keys) == 0 || len(keys) > maxKeys) {
			t.Fatalf("%d feed keys", len(keys))
		}
	})
}
