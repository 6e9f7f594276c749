package broker

import (
	"crypto/rand"
	"encoding/base32"
)

// IDBytes is the length of a uid and a sid.
const IDBytes = 16

// Base32 is the encoding of ids and of hashes in keys: lower case, without padding.
var Base32 = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// ID is a uid or a sid in its binary form; String is the form that claims and keys carry.
type ID [IDBytes]byte

// NewID returns a random ID.
func NewID() ID {
	var b ID
	_, _ = rand.Read(b[:]) // never fails (crypto/rand ends the process instead)
	return b
}

// String returns the text form.
func (b ID) String() string { return Base32.EncodeToString(b[:]) }

// ParseID reads the text form of a uid or sid.
func ParseID(text string) (ID, bool) {
	var b ID
	raw, err := Base32.DecodeString(text)
	if err != nil || len(raw) != IDBytes || Base32.EncodeToString(raw) != text {
		return b, false
	}
	copy(b[:], raw)
	return b, true
}

// LocalIssuer is the issuer under which user names of the broker itself are linked.
const LocalIssuer = "urn:tokenbroker:local"
