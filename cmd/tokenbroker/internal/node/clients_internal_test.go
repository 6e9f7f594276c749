package node

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

func TestIDTokensAreThoseOfThisBroker(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tokens := idTokens{"http://broker", func(kid string) (string, crypto.PublicKey, bool) {
		return "ES256", key.Public(), kid == "k1"
	}}
	const expired = `{"iss":"http://broker","sub":"u1","exp":1}`
	for name, row := range map[string]struct {
		kid, typ, claims string
		change           func(string) string
		ok               bool
	}{
		"an id token, also an expired one": {"k1", "JWT", expired, nil, true},
		"an access token":                  {"k1", "at+jwt", expired, nil, false},
		"no type":                          {"k1", "", expired, nil, false},
		"an unknown key":                   {"k2", "JWT", expired, nil, false},
		"another issuer":                   {"k1", "JWT", `{"iss":"http://other","sub":"u1"}`, nil, false},
		"no issuer":                        {"k1", "JWT", `{"sub":"u1"}`, nil, false},
		"two issuers":                      {"k1", "JWT", `{"iss":"http://other","iss":"http://broker"}`, nil, false},
		"not an object":                    {"k1", "JWT", `[]`, nil, false},
		"more than 16 KiB":                 {"k1", "JWT", `{"iss":"http://broker","x":"` + strings.Repeat("x", 16<<10) + `"}`, nil, false},
		"a changed signature":              {"k1", "JWT", expired, func(s string) string { return s[:len(s)-8] + "AAAAAAAA" }, false},
		"not a token":                      {"k1", "JWT", expired, func(string) string { return "x" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			options := new(jose.SignerOptions)
			if row.typ != "" {
				options.WithType(jose.ContentType(row.typ))
			}
			signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: row.kid}}, options)
			if err != nil {
				t.Fatal(err)
			}
			jws, err := signer.Sign([]byte(row.claims))
			if err != nil {
				t.Fatal(err)
			}
			token, err := jws.CompactSerialize()
			if err != nil {
				t.Fatal(err)
			}
			if row.change != nil {
				token = row.change(token)
			}
			claims, ok := tokens.VerifyIDToken(t.Context(), token)
			if ok != row.ok || ok && string(claims) != row.claims {
				t.Errorf("%v %s", ok, claims)
			}
		})
	}
}
