package plainjson

import (
	"encoding/json"
	"strings"
	"testing"
)

const commonClaims = `{"iss":"https://auth.example.com","sub":"aaaaaaaaaaaaaaaaaaaaaaaaaa","aud":["orders","stock"],"exp":1767225900,"iat":1767225600,` +
	`"jti":"019b1d3c-0000-7000-8000-000000000000","client_id":"web","sid":"bbbbbbbbbbbbbbbbbbbbbbbbbb","amr":["pwd"],"sep":1767225600000,"name":"Ada Łovelace","tenant":{"id":7}}`

// TestClaimsOfATokenArePlain checks that the claims that a broker signs are read in one pass.
func TestClaimsOfATokenArePlain(t *testing.T) {
	const header = `{"alg":"ES256","kid":"Q0dQ","typ":"at+jwt"}`
	for _, text := range []string{header, commonClaims} {
		if _, ok := ReadPlain(text, nil); !ok {
			t.Errorf("%s is not", text)
		}
	}
	for _, text := range []string{`{"a":1.5}`, `{"a": 1}`, `{"a":"\u00e9"}`, `{"a":1,"a":1}`, `[]`, `{}x`} {
		if _, ok := ReadPlain(text, nil); ok {
			t.Errorf("%s is", text)
		}
	}
}

// TestNamesThatFoldToOneAreAmbiguous has pairs of names that encoding/json reads as one field, also
// with escapes.
func TestNamesThatFoldToOneAreAmbiguous(t *testing.T) {
	for _, text := range []string{
		`{"sub":"a","sub":"b"}`, `{"sub":"a","s\u0075b":"b"}`, `{"sub":"a","Sub":"b"}`, `{"SUB":"a","sub":"b"}`, `{"iſs":1,"iss":2}`,
		`{"sub":"a","\u017fub":"b"}`, `{"kid":1,"\u212aid":2}`, `{"Kid":1,"kid":2}`, `{"a":{"b":1,"b":1}}`, `{"a":{"x":{"b":1,"B":1}}}`,
		`{"a":[0,{"tenant":1,"Tenant":2}]}`, `{"ΟΔΟΣ":1,"οδος":2}`,
	} {
		if members, err := ReadUnambiguous(text); err == nil {
			t.Errorf("%s is read as %q", text, members)
		}
	}
	for _, text := range []string{
		`{"sub":"a","Subject":"b"}`, `{"a":{"b":1},"b":{"a":1}}`, `{"a":[{"b":1},{"B":1}]}`, `{"SS":1,"ß":2}`, `{"sub":"Sub"}`, `{}`, ` { } `,
	} {
		if _, err := ReadUnambiguous(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestLimitsOfAnObject checks both readers at the limits.
func TestLimitsOfAnObject(t *testing.T) {
	nested := func(open, end string, depth int) string {
		return `{"a":` + strings.Repeat(open, depth) + strings.Repeat(end, depth) + `}`
	}
	for text, ok := range map[string]bool{
		nested("[", "]", maxDepth-1): true,
		nested("[", "]", maxDepth):   false,
		`{"a":` + strings.Repeat(`{"a":`, maxDepth-1) + "1" + strings.Repeat("}", maxDepth): true,
		`{"a":` + strings.Repeat(`{"a":`, maxDepth) + "1" + strings.Repeat("}", maxDepth+1): false,
		`{` + manyNames(maxMembers) + `}`:         true,
		`{` + manyNames(maxMembers+1) + `}`:       false,
		`{"a":{` + manyNames(maxMembers+1) + `}}`: false,
		`{"a":"` + "\xff" + `"}`:                  false,
		`[]`:                                      false,
		`{"a":1}x`:                                false,
		``:                                        false,
	} {
		if _, err := ReadUnambiguous(text); (err == nil) != ok {
			t.Errorf("ReadUnambiguous of %.60s: %v", text, err)
		}
		if _, err := ReadObject(text, nil); (err == nil) != ok {
			t.Errorf("ReadObject of %.60s: %v", text, err)
		}
	}
}

func BenchmarkReadObject(b *testing.B) {
	b.Run("plain", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, ok := ReadPlain(commonClaims, make([]Member, 0, 20)); !ok {
				b.Fatal("not plain")
			}
		}
	})
	b.Run("any-form", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := readAny(commonClaims, make([]Member, 0, 20), valid); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var members map[string]json.RawMessage
			if err := json.Unmarshal([]byte(commonClaims), &members); err != nil {
				b.Fatal(err)
			}
		}
	})
}
