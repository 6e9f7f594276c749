package session

import (
	"bytes"
	"crypto/sha256"
)

// sourcePart is the length of each of the two hashes of a source.
const sourcePart = 8

// NewSource returns where a request came from, as a session's record keeps it: a short hash
// of the address and one of the user agent. The key is the secret of the session's refresh
// token, which the store does not hold: the record by itself reveals neither of them, and those
// of two sessions cannot be compared.
func NewSource(secret []byte, addr, userAgent string) []byte {
	source := make([]byte, 0, 2*sourcePart)
	for i, text := range [...]string{addr, userAgent} {
		var buf [512]byte
		sum := sha256.Sum256(append(append(append(buf[:0], secret...), byte(i)), text...))
		source = append(source, sum[:sourcePart]...)
	}
	return source
}

// otherAddress reports whether two sources differ in the address. One that is not known does
// not differ.
func otherAddress(a, b []byte) bool {
	return known(a, b) && !bytes.Equal(a[:sourcePart], b[:sourcePart])
}

// elsewhere reports whether two sources differ in both the address and the user agent: one
// browser may change its network, or be updated, but hardly both within a grace.
func elsewhere(a, b []byte) bool {
	return otherAddress(a, b) && !bytes.Equal(a[sourcePart:], b[sourcePart:])
}

func known(a, b []byte) bool { return len(a) == 2*sourcePart && len(b) == 2*sourcePart }
