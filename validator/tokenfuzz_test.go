package validator

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"reflect"
	"testing"

	"tokenbroker/internal/plainjson"
)

// strictBase64 decodes the same texts as decodeBase64, except that it ignores line breaks.
var strictBase64 = base64.RawURLEncoding.Strict()

// FuzzParseToken checks that each token that parseToken accepts has only one spelling, and that
// encoding/json reads the same claims.
func FuzzParseToken(f *testing.F) {
	_, _, mint := newFake(f)
	f.Add(mint(brokerNow, brokerNow+300))
	head := strictBase64.EncodeToString([]byte(`{"alg":"ES256","kid":"k","typ":"at+jwt"}`))
	for _, claims := range []string{
		`{}`, ` { "a" : [ 1 , { "b" : null } , "x\"]" ] , "\u00e9" : -1.5e3 } `, `{"a":1,"\u0061":2}`, `{"a":{"b":1,"b":2}}`,
		`[]`, `{"":""}`, `{"\ud800":1}`,
	} {
		f.Add(head + "." + strictBase64.EncodeToString([]byte(claims)) + "." + base64.RawURLEncoding.Strict().EncodeToString(make([]byte, 64)))
	}
	f.Add("..")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseToken(text)
		if err != nil {
			return
		}
		if !allowedAlgorithm(got.alg) || got.kid == "" {
			t.Fatalf("accepted the algorithm %q, kid %q", got.alg, got.kid)
		}
		if again := got.signed + "." + strictBase64.EncodeToString(got.signature); again != text {
			t.Fatalf("another spelling was accepted: %q is %q", text, again)
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal([]byte(got.payload), &want); err != nil {
			t.Fatalf("encoding/json refuses %q: %v", got.payload, err)
		}
		if len(want) != len(got.claims) {
			t.Fatalf("%d claims, encoding/json has %d: %q", len(got.claims), len(want), got.payload)
		}
		for _, m := range got.claims {
			value, ok := want[m.Name]
			if !ok || !bytes.Equal(bytes.TrimSpace(value), []byte(m.Value)) {
				t.Fatalf("claim %q is %q, encoding/json has %q", m.Name, m.Value, value)
			}
		}
		if claims, err := newClaims(got); err == nil {
			var typed struct {
				Sub string
				Exp int64
				AMR []string
			}
			if err := json.Unmarshal([]byte(got.payload), &typed); err != nil || typed.Sub != claims.Subject || typed.Exp != claims.ExpiresAt.Unix() {
				// encoding/json folds case, so claims whose names differ only by case cannot be compared.
				if !foldsCase(got.claims) {
					t.Fatalf("claims are %+v, encoding/json has %+v (%v)", claims, typed, err)
				}
			} else if len(typed.AMR)+len(claims.AMR) > 0 && !reflect.DeepEqual(typed.AMR, claims.AMR) && !foldsCase(got.claims) {
				t.Fatalf("amr is %q, encoding/json has %q", claims.AMR, typed.AMR)
			}
		}
	})
}

// foldsCase reports whether two names differ only by case. encoding/json treats such names as equal.
func foldsCase(members []plainjson.Member) bool {
	for i := range members {
		for _, name := range []string{"sub", "exp", "amr"} {
			if members[i].Name != name && bytes.EqualFold([]byte(members[i].Name), []byte(name)) {
				return true
			}
		}
	}
	return false
}
