package broker

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
)

// idBytes is the length of a uid and a sid.
const idBytes = 16

var lowerBase32 = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// id is a uid or a sid in its binary form; String is the form that claims and keys carry.
type id [idBytes]byte

func newID() id {
	var b id
	_, _ = rand.Read(b[:]) // never fails (crypto/rand ends the process instead)
	return b
}

func (b id) String() string { return lowerBase32.EncodeToString(b[:]) }

// parseID reads the text form of a uid or sid.
func parseID(text string) (id, bool) {
	var b id
	raw, err := lowerBase32.DecodeString(text)
	if err != nil || len(raw) != idBytes || lowerBase32.EncodeToString(raw) != text {
		return b, false
	}
	copy(b[:], raw)
	return b, true
}

// LocalIssuer is the issuer under which user names of the broker itself are linked.
const LocalIssuer = "urn:tokenbroker:local"

// Keys of the store (docs/design.md §5).
func userKey(uid string) string         { return "user." + uid }
func sessionKey(uid, sid string) string { return sessionPrefix + uid + "." + sid }
func sidKey(sid string) string          { return "sid." + sid }
func clientKey(id string) string        { return "client." + id }

const (
	sessionPrefix = "session."
	floorKey      = "floor"
)

// identityKey links an upstream account, by issuer and subject and by nothing else.
func identityKey(issuer, subject string) string {
	sum := sha256.Sum256([]byte(issuer + "\x00" + subject))
	return "identity." + lowerBase32.EncodeToString(sum[:])
}
