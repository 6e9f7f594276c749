package revocation

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"hash/maphash"
	"math/bits"
)

// id is the 16 bytes of a jti or sid; it keeps no pointer for the collector to follow.
type id [16]byte

var sidEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// idHash gives a seeded hash: the middle of a product of both halves, as in wyhash.
func idHash() func(id) uint64 {
	var seed [16]byte
	_, _ = rand.Read(seed[:]) // never fails
	one, two := binary.LittleEndian.Uint64(seed[:]), binary.LittleEndian.Uint64(seed[8:])
	return func(k id) uint64 {
		high, low := bits.Mul64(binary.LittleEndian.Uint64(k[:])^one, binary.LittleEndian.Uint64(k[8:])^two)
		return high ^ low
	}
}

// textHash is idHash for any text.
func textHash() func(string) uint64 {
	seed := maphash.MakeSeed()
	return func(s string) uint64 { return maphash.String(seed, s) }
}

// idOf gives the 16 bytes behind a canonical sid (base32, lower case, no padding) or jti
// (UUID, lower case); any other text is compared as it is.
func idOf(kind Kind, value string) (id, bool) {
	if kind == KindSID {
		return sidOf(value)
	}
	return jtiOf(value)
}

// Eight characters are looked at together, one in each byte of a word, for every look-up in
// a denylist begins with an id.
const (
	ones  = 0x0101010101010101
	highs = 0x80 * ones
)

// sidOf reads 26 characters of 5 bits; the last two bits are nought.
func sidOf(value string) (k id, ok bool) {
	if len(value) != 26 {
		return k, false
	}
	words := [4]uint64{eight(value[:8]), eight(value[8:16]), eight(value[16:24]), 'a'*ones&^0xffff | uint64(value[24])<<8 | uint64(value[25])}
	good := uint64(highs)
	for i, v := range words {
		letters := atLeast(v&^highs, 'a') &^ atLeast(v&^highs, 'z'+1)
		good &= (letters | atLeast(v&^highs, '2')&^atLeast(v&^highs, '7'+1)) &^ v
		v -= ('2' - 26) * ones
		v -= ('a' - ('2' - 26)) * (letters & highs >> 7)
		v = v&0x001f001f001f001f | v>>3&0x03e003e003e003e0
		v = v&0x000003ff000003ff | v>>6&0x000ffc00000ffc00
		words[i] = v&0xfffff | v>>12&0xfffff00000
	}
	if good != highs || words[3]&3 != 0 {
		return k, false
	}
	binary.BigEndian.PutUint64(k[:], words[0]<<24|words[1]>>16)
	binary.BigEndian.PutUint64(k[8:], words[1]<<48|words[2]<<8|words[3]>>2)
	return k, true
}

// jtiOf reads 32 digits in groups of 8, 4, 4, 4 and 12.
func jtiOf(value string) (k id, ok bool) {
	if len(value) != 36 || value[8] != '-' || value[13] != '-' || value[18] != '-' || value[23] != '-' {
		return k, false
	}
	words := [4]uint64{
		eight(value[:8]), four(value[9:])<<32 | four(value[14:]), four(value[19:])<<32 | four(value[24:]), eight(value[28:]),
	}
	good := uint64(highs)
	for i, v := range words {
		letters := atLeast(v&^highs, 'a') &^ atLeast(v&^highs, 'f'+1)
		good &= (letters | atLeast(v&^highs, '0')&^atLeast(v&^highs, '9'+1)) &^ v
		v = v&(0x0f*ones) + 9*(letters&highs>>7)
		v = (v | v>>4) & 0x00ff00ff00ff00ff
		v = (v | v>>8) & 0x0000ffff0000ffff
		words[i] = (v | v>>16) & 0xffffffff
	}
	if good != highs {
		return k, false
	}
	binary.BigEndian.PutUint64(k[:], words[0]<<32|words[1])
	binary.BigEndian.PutUint64(k[8:], words[2]<<32|words[3])
	return k, true
}

// eight gives the first 8 characters, the first of them in the highest byte.
func eight(s string) uint64 { return four(s)<<32 | four(s[4:]) }

func four(s string) uint64 {
	_ = s[3]
	return uint64(s[0])<<24 | uint64(s[1])<<16 | uint64(s[2])<<8 | uint64(s[3])
}

// atLeast has the high bit of each byte of v set that is from or more, where all are below
// 0x80. Its other bits mean nothing.
func atLeast(v uint64, from byte) uint64 { return v + (0x80-uint64(from))*ones }
