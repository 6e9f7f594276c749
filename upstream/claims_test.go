package upstream_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"tokenbroker/broker"
)

// now2000 is the start time of a synctest bubble.
const now2000 = 946684800

// goodPayload returns the payload of a valid id token, followed by the members in more.
func goodPayload(more string) string {
	return fmt.Sprintf(`{"iss":%q,"sub":"mallory","aud":"client","iat":%d,"exp":%d,"nonce":"nonce-1"%s}`, issuerURL, now2000, now2000+300, more)
}

// TestAmbiguousPayloadsAreRefused checks that a token in which two readers can see different claims
// is refused, regardless of its source. Claim names are case-sensitive and unique (RFC 7519 §4).
func TestAmbiguousPayloadsAreRefused(t *testing.T) {
	replaced := func(old, now string) string { return strings.Replace(goodPayload(""), old, now, 1) }
	for name, payload := range map[string]string{
		"another sub in capitals":                  goodPayload(`,"Sub":"ada"`),
		"another sub before, in capitals":          replaced(`"sub":`, `"SUB":"ada","sub":`),
		"another sub with a long s":                goodPayload(`,"\u017fub":"ada"`),
		"another sub with a long s, in UTF-8":      goodPayload(`,"ſub":"ada"`),
		"sub twice":                                goodPayload(`,"sub":"ada"`),
		"sub twice, once with an escape":           goodPayload(`,"s\u0075b":"ada"`),
		"for another client":                       replaced(`"aud":"client"`, `"aud":"other","AUD":"client"`),
		"aud only in capitals":                     replaced(`"aud"`, `"AUD"`),
		"of another issuer":                        replaced(`"iss":"`+issuerURL+`"`, `"iss":"https://other.test","iſs":"`+issuerURL+`"`),
		"iss only in capitals":                     replaced(`"iss"`, `"ISS"`),
		"expired":                                  replaced(`"exp":`, `"exp":100,"Exp":`),
		"exp only in capitals":                     replaced(`"exp"`, `"EXP"`),
		"issued long ago":                          replaced(`"iat":`, `"iat":100,"IAT":`),
		"not valid yet":                            goodPayload(`,"nbf":99999999999,"Nbf":1`),
		"with another nonce":                       replaced(`"nonce":"nonce-1"`, `"nonce":"other","Nonce":"nonce-1"`),
		"nonce only in capitals":                   replaced(`"nonce"`, `"NONCE"`),
		"azp of another client":                    goodPayload(`,"azp":"other","AZP":"client"`),
		"at_hash of another access token":          goodPayload(`,"at_hash":"x","AT_HASH":"` + atHash("a") + `"`),
		"e-mail not verified":                      goodPayload(`,"email":"a@example.org","email_verified":false,"Email_Verified":true`),
		"a Kelvin sign in a claim of the profile":  goodPayload(`,"kind":"a","\u212aind":"b"`),
		"a member twice inside a claim":            goodPayload(`,"address":{"city":"a","city":"b"}`),
		"a member in two cases inside a claim":     goodPayload(`,"orgs":[{"id":1,"ID":2}]`),
		"nested too deeply":                        goodPayload(`,"a":` + strings.Repeat("[", 16) + strings.Repeat("]", 16)),
		"too many members":                         goodPayload(manyMembers(130)),
		"too many members inside a claim":          goodPayload(`,"a":{"x":1` + manyMembers(130) + `}`),
		"larger than a token may be":               goodPayload(`,"a":"` + strings.Repeat("a", 64<<10) + `"`),
		"not an object":                            `["iss"]`,
		"an object and more":                       goodPayload("") + `{}`,
		"not UTF-8":                                goodPayload(",\"name\":\"\xff\""),
		"sub of another type":                      replaced(`"mallory"`, `{"id":"mallory"}`),
		"sub of 256 characters":                    replaced(`mallory`, strings.Repeat("m", 256)),
		"sub that is not ASCII":                    replaced(`mallory`, `mallörý`),
		"sub with a control character":             replaced(`mallory`, `mallory\u001b[2J`),
		"sub that is half a surrogate pair":        replaced(`mallory`, `\ud800`),
		"aud with an element that is not a string": replaced(`"client"`, `["client",7]`),
		"aud of another type":                      replaced(`"client"`, `{"client":true}`),
		"exp as a string":                          replaced(strconv.Itoa(now2000+300), `"946685100"`),
		"exp that no float64 holds":                replaced(strconv.Itoa(now2000+300), `1e400`),
		"no exp":                                   replaced(`"exp"`, `"expires"`),
		"iat of another type":                      replaced(strconv.Itoa(now2000)+",", `true,`),
		"nbf of another type":                      goodPayload(`,"nbf":"now"`),
		"not valid for six minutes":                goodPayload(`,"nbf":` + strconv.Itoa(now2000+360)),
		"nonce of another type":                    replaced(`"nonce-1"`, `["nonce-1"]`),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOP()
				raw := signPayload(t, jose.RS256, "rsa", testKeys()["rsa"], nil, []byte(payload))
				o.answer("/token", status(http.StatusOK, `{"access_token":"a","token_type":"Bearer","id_token":"`+raw+`"}`))
				p := o.provider(t, nil)
				nonce := strings.Contains(payload, `"nonce":"nonce-1"`)
				if id, err := p.VerifyTokens(t.Context(), broker.UpstreamTokens{IDToken: raw}); nonce && !refused(err) {
					t.Errorf("the exchange: %q, %v", id.Subject, err)
				}
				if id, err := p.Exchange(t.Context(), broker.CodeExchange{Code: "c", Nonce: "nonce-1"}); !refused(err) {
					t.Errorf("the code flow: %q, %v", id.Subject, err)
				}
			})
		})
	}
}

func refused(err error) bool {
	return errors.Is(err, broker.ErrUpstreamToken) || errors.Is(err, broker.ErrEmailNotVerified)
}

func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"m%d":0`, i)
	}
	return b.String()
}

// TestUnusualValidPayloadsAreAccepted checks payloads that the strict reader must accept.
func TestUnusualValidPayloadsAreAccepted(t *testing.T) {
	replaced := func(old, now string) string { return strings.Replace(goodPayload(""), old, now, 1) }
	for name, payload := range map[string]string{
		"white space and escapes":          " " + replaced(`"sub":"mallory"`, "\n\t\"s\\u0075b\" : \"mallory\"") + "\n",
		"times with a fraction":            replaced(strconv.Itoa(now2000+300), `946685100.75`),
		"times with an exponent":           replaced(strconv.Itoa(now2000+300), `9.466851e8`),
		"an exp in the far future":         replaced(strconv.Itoa(now2000+300), `4503599627370496`),
		"an exp beyond all times":          replaced(strconv.Itoa(now2000+300), `1e300`),
		"nbf slightly in the future":       goodPayload(`,"nbf":` + strconv.Itoa(now2000+300)),
		"null for optional claims":         goodPayload(`,"nbf":null,"at_hash":null,"groups":null`),
		"groups of several hundred":        goodPayload(`,"groups":["g"` + strings.Repeat(`,"0f8fad5b-d9cb-469f-a165-70867728950e"`, 300) + `]`),
		"claims by reference (overage)":    goodPayload(`,"_claim_names":{"groups":"src1"},"_claim_sources":{"src1":{"endpoint":"https://graph.test/x"}}`),
		"names that differ only elsewhere": goodPayload(`,"a":{"id":1},"b":{"ID":2},"orgs":[{"id":1},{"Id":2}]`),
		"sub of 255 characters":            replaced(`mallory`, strings.Repeat("m", 255)),
		"sub with odd characters":          replaced(`mallory`, `auth0|CN=Ada Lovelace,O=~`),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				raw := signPayload(t, jose.RS256, "rsa", testKeys()["rsa"], nil, []byte(payload))
				id, err := newOP().provider(t, nil).VerifyTokens(t.Context(), broker.UpstreamTokens{IDToken: raw})
				if err != nil || id.Subject == "" {
					t.Fatalf("%q, %v", id.Subject, err)
				}
				if most := time.Now().Add(10*time.Minute + time.Hour); id.ExpiresAt.After(most) {
					t.Errorf("kept until %v, but it can be exchanged only until %v", id.ExpiresAt, most)
				}
			})
		})
	}
}

// TestExpiresAtIsCapped checks that ExpiresAt is at most the time until which an exchange accepts
// the token, so that the record of an exchange is not kept for years.
func TestExpiresAtIsCapped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newOP().provider(t, nil)
		for exp, want := range map[any]int64{
			now2000 + 300: now2000 + 300, now2000 + 4200: now2000 + 4200, now2000 + 4201: now2000 + 4200, 1 << 52: now2000 + 4200,
			json.Number("9223372036854775807"): now2000 + 4200,
		} {
			id, err := p.VerifyTokens(t.Context(), broker.UpstreamTokens{IDToken: signed(t, map[string]any{"exp": exp})})
			if err != nil || id.ExpiresAt.Unix() != want {
				t.Errorf("exp %v: %v, %v", exp, id.ExpiresAt.Unix(), err)
			}
		}
	})
}

// TestAccessTokenHash checks that at_hash uses the hash of the id token's algorithm: SHA-256, or
// SHA-512 for Ed25519.
func TestAccessTokenHash(t *testing.T) {
	const access = "opaque"
	o := newOP()
	o.jwks = append(o.jwks, jose.JSONWebKey{Key: testKeys()["ec"].Public(), KeyID: "ec"}, jose.JSONWebKey{Key: testKeys()["ed"].Public(), KeyID: "ed"})
	p := o.provider(t, nil)
	for kid, alg := range map[string]jose.SignatureAlgorithm{"rsa": jose.RS256, "ec": jose.ES256, "ed": jose.EdDSA} {
		for _, hash := range []string{atHash(access), atHash512(access), atHash("other")} {
			want := hash == atHash(access) && kid != "ed" || hash == atHash512(access) && kid == "ed"
			raw := sign(t, alg, kid, testKeys()[kid], goodClaims(map[string]any{"at_hash": hash}))
			_, err := p.VerifyTokens(t.Context(), broker.UpstreamTokens{IDToken: raw, AccessToken: access})
			if want && err != nil || !want && !errors.Is(err, broker.ErrUpstreamToken) {
				t.Errorf("%s with at_hash %s: %v", alg, hash, err)
			}
		}
	}
}
