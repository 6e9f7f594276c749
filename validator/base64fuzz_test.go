package validator

import (
	"strings"
	"testing"
)

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
