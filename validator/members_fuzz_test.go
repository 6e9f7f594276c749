package validator

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"
)

// FuzzReadPlain: what the quick reader takes, the thorough one takes, and both see the same.
func FuzzReadPlain(f *testing.F) {
	for _, text := range []string{
		`{}`, `{"a":1}`, `{"a":-0,"b":[],"c":[1,"x",{"d":null}],"é":true}`, `{"a":01}`, `{"a":1.5}`, `{"a":-}`, `{"a":[1,]}`, `{"a":{}}`,
		`{"a":1,"a":2}`, `{"a":{"b":1,"b":2}}`, `{"a":1,}`, `{"a":"\n"}`, `{"a":"\u0041"}`, "{\"a\":\"\x7f\"}", "{\"a\":\"\xff\"}", "{\"a\":\"\x1f\"}",
		`{"a":1}{}`, `{"a":tru}`, `{"":""}`, `{"a":1 }`, `{"a":nulll}`, `[1]`, `"a"`, ``, `{`, `{"a"`, `{"a":`, `{"a":"`,
		`{"a":` + strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth) + `}`,
		`{"a":` + strings.Repeat("[", maxDepth-1) + strings.Repeat("]", maxDepth-1) + `}`,
		`{` + manyNames(maxMembers) + `}`, `{` + manyNames(maxMembers+1) + `}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := readPlain(text, nil)
		if !ok {
			return
		}
		want, err := readAny(text, nil)
		if err != nil {
			t.Fatalf("%q is taken, and %v", text, err)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%q has the members %q, not %q", text, got, want)
		}
	})
}

func manyNames(n int) string {
	names := make([]string, n)
	for i := range names {
		names[i] = `"` + strings.Repeat("n", i) + `":0`
	}
	return strings.Join(names, ",")
}

// What a broker signs takes the quick way.
func TestACommonTokenIsPlain(t *testing.T) {
	text := benchToken("ES256", 1) + "."
	for _, part := range strings.Split(text, ".")[:2] {
		raw, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := readPlain(string(raw), nil); !ok {
			t.Errorf("%s is not", raw)
		}
	}
	for _, text := range []string{`{"a":1.5}`, `{"a": 1}`, `{"a":"\u00e9"}`, `{"a":1,"a":1}`, `[]`, `{}x`} {
		if _, ok := readPlain(text, nil); ok {
			t.Errorf("%s is", text)
		}
	}
}

// FuzzDecodeBase64: decodeBase64 takes what the library's strict decoder takes, line breaks
// apart, and nothing else.
func FuzzDecodeBase64(f *testing.F) {
	for _, text := range []string{"", "A", "AA", "AAA", "AAAA", "AB", "AAB", "AA==", "+/+/", "-_-_", "AAAA\n", "é", "AAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAAAB"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		want, err := strictBase64.DecodeString(text)
		good := err == nil && !strings.ContainsAny(text, "\r\n")
		for _, spare := range []int{0, 1, 64} {
			dst := make([]byte, decodedLen(text)+spare)
			n, ok := decodeBase64(dst, text)
			if ok != good || ok && string(dst[:n]) != string(want) {
				t.Fatalf("%q with %d bytes to spare: %q, %v; want %q, %v", text, spare, dst[:n], ok, want, err)
			}
		}
	})
}

func TestEachCharacterOfBase64(t *testing.T) {
	for c := range 256 {
		for at := range 12 {
			text := []byte("AAAAAAAAAAAA")
			text[at] = byte(c)
			_, err := strictBase64.DecodeString(string(text))
			var dst [9]byte
			if _, ok := decodeBase64(dst[:], string(text)); ok != (err == nil && c != '\r' && c != '\n') {
				t.Errorf("%q: %v", text, ok)
			}
		}
	}
}
