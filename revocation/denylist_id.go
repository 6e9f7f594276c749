package revocation

import (
	"encoding/base32"
	"encoding/hex"
)

// id is a jti or sid by its 16 bytes; it keeps no pointer for the collector to follow.
type id struct {
	sid  bool
	data [16]byte
}

var sidEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// idOf gives the 16 bytes behind a canonical sid (base32, lower case, no padding) or jti
// (UUID, lower case); any other text is compared as it is.
func idOf(kind Kind, value string) (id, bool) {
	if kind == KindSID {
		return sidOf(value)
	}
	return jtiOf(value)
}

func sidOf(value string) (id, bool) {
	k := id{sid: true}
	if len(value) != 26 {
		return k, false
	}
	var in, again [26]byte
	copy(in[:], value)
	var out [20]byte
	n, err := sidEncoding.Decode(out[:], in[:])
	if err != nil || n != len(k.data) {
		return k, false
	}
	copy(k.data[:], out[:])
	sidEncoding.Encode(again[:], k.data[:])
	return k, again == in
}

func jtiOf(value string) (id, bool) {
	var k id
	if len(value) != 36 || value[8] != '-' || value[13] != '-' || value[18] != '-' || value[23] != '-' {
		return k, false
	}
	var in [32]byte
	n := 0
	for i := range len(value) {
		switch c := value[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
		case c >= '0' && c <= '9', c >= 'a' && c <= 'f':
			in[n] = c
			n++
		default:
			return k, false
		}
	}
	if n != len(in) {
		return k, false
	}
	_, err := hex.Decode(k.data[:], in[:])
	return k, err == nil
}
