package validator_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"tokenbroker/validator"
)

// What can be said without a key is said before the signature is paid for.
func TestNoSignatureIsCheckedForATokenThatIsBadWithoutIt(t *testing.T) {
	b := newBench(t)
	kid := b.issuer.Rotate("ES256")
	good := b.issuer.Mint(nil)
	parts := strings.Split(good, ".")
	head := fmt.Sprintf(`"alg":"ES256","kid":%q,"typ":"at+jwt"`, kid)
	header := func(text string) string { return reheader(good, text) }
	claims := func(text string) string { return parts[0] + "." + encode(text) + "." + parts[2] }
	payload := part(good, 1)
	for name, token := range map[string]string{
		"too long":               parts[0] + "." + encode(`{"a":"`+strings.Repeat("x", 12<<10)+`"}`) + "." + parts[2],
		"two parts":              parts[0] + "." + parts[1],
		"four parts":             good + ".",
		"padding":                good + "=",
		"other alphabet":         parts[0] + "." + parts[1] + "." + strings.Repeat("+", len(parts[2])),
		"space":                  good + " ",
		"line break":             good + "\n",
		"unused bits":            good[:len(good)-1] + "B",
		"alg none":               header(`{"alg":"none","kid":"` + kid + `","typ":"at+jwt"}`),
		"alg HS256":              header(`{"alg":"HS256","kid":"` + kid + `","typ":"at+jwt"}`),
		"alg ES384":              header(`{"alg":"ES384","kid":"` + kid + `","typ":"at+jwt"}`),
		"alg in another case":    header(`{"alg":"es256","kid":"` + kid + `","typ":"at+jwt"}`),
		"no alg":                 header(`{"kid":"` + kid + `","typ":"at+jwt"}`),
		"typ JWT":                header(`{"alg":"ES256","kid":"` + kid + `","typ":"JWT"}`),
		"no typ":                 header(`{"alg":"ES256","kid":"` + kid + `"}`),
		"no kid":                 header(`{"alg":"ES256","typ":"at+jwt"}`),
		"unknown kid":            header(`{"alg":"ES256","kid":"x","typ":"at+jwt"}`),
		"kid a path":             header(`{"alg":"ES256","kid":"../../dev/null","typ":"at+jwt"}`),
		"kid too long":           header(`{"alg":"ES256","kid":"` + strings.Repeat("k", 257) + `","typ":"at+jwt"}`),
		"crit":                   header(`{` + head + `,"crit":["exp"],"exp":1}`),
		"b64":                    header(`{` + head + `,"crit":["b64"],"b64":false}`),
		"alg twice":              header(`{` + head + `,"alg":"ES256"}`),
		"alg twice, one escaped": header(`{` + head + `,"\u0061lg":"none"}`),
		"header no JSON":         header(`{` + head),
		"header an array":        header(`[{` + head + `}]`),
		"more behind the header": header(`{` + head + `}{}`),
		"claims no JSON":         claims(payload[1:]),
		"claims a token":         parts[0] + "." + encode(good) + "." + parts[2],
		"claims not UTF-8":       claims(`{"sub":"` + "\xff" + `"}`),
		"a claim twice":          claims(strings.TrimSuffix(payload, "}") + `,"sub":"root"}`),
		"a claim twice, deep":    claims(`{"a":[{"b":1,"b":1}]}`),
		"nested too deeply":      claims(`{"a":` + strings.Repeat("[", 16) + strings.Repeat("]", 16) + `}`),
		"too many claims":        claims(`{` + manyMembers(129) + `}`),
	} {
		t.Run(name, func(t *testing.T) {
			before := b.Stats().Verified
			if _, err := b.Validate(t.Context(), token); !errors.Is(err, validator.ErrInvalid) {
				t.Errorf("got %v", err)
			}
			if b.Stats().Verified != before {
				t.Error("a signature was checked")
			}
		})
	}
	before := b.Stats().Verified
	if _, err := b.Validate(t.Context(), good); err != nil || b.Stats().Verified != before+1 {
		t.Errorf("the good one: %v", err)
	}
}
