package validator

import "encoding/binary"

// sextets gives what a character of base64url (RFC 4648 §5) stands for; 0xff is none.
var sextets = func() (table [256]byte) {
	for i := range table {
		table[i] = 0xff
	}
	for i, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
		table[c] = byte(i)
	}
	return table
}()

// decodeBase64 decodes base64url in its one canonical form: no padding, nothing skipped, the
// unused bits of the last character 0. It looks at each character once and branches on
// none, as their order is what no processor foresees. dst has room for 3 bytes of 4 characters.
func decodeBase64(dst []byte, text string) (n int, ok bool) {
	var seen byte
	for len(text) >= 8 && len(dst) >= n+8 { // writes two bytes more than it keeps
		a, b, c, d := sextets[text[0]], sextets[text[1]], sextets[text[2]], sextets[text[3]]
		e, f, g, h := sextets[text[4]], sextets[text[5]], sextets[text[6]], sextets[text[7]]
		seen |= a | b | c | d | e | f | g | h
		binary.BigEndian.PutUint64(dst[n:], uint64(a)<<58|uint64(b)<<52|uint64(c)<<46|uint64(d)<<40|
			uint64(e)<<34|uint64(f)<<28|uint64(g)<<22|uint64(h)<<16)
		text, n = text[8:], n+6
	}
	for len(text) >= 4 && len(dst) >= n+3 {
		a, b, c, d := sextets[text[0]], sextets[text[1]], sextets[text[2]], sextets[text[3]]
		seen |= a | b | c | d
		group := dst[n : n+3]
		group[0], group[1], group[2] = a<<2|b>>4, b<<4|c>>2, c<<6|d
		text, n = text[4:], n+3
	}
	switch len(text) {
	case 0:
		return n, seen < 64
	case 2:
		a, b := sextets[text[0]], sextets[text[1]]
		dst[n] = a<<2 | b>>4
		return n + 1, seen|a|b < 64 && b&0x0f == 0
	case 3:
		a, b, c := sextets[text[0]], sextets[text[1]], sextets[text[2]]
		dst[n], dst[n+1] = a<<2|b>>4, b<<4|c>>2
		return n + 2, seen|a|b|c < 64 && c&0x03 == 0
	}
	return 0, false
}

func decodedLen(text string) int { return len(text) * 3 / 4 }

// decodeText is decodeBase64 into a string. It decodes in room, where that is large enough.
func decodeText(room []byte, text string) (string, bool) {
	if n := decodedLen(text); n > len(room) {
		room = make([]byte, n)
	}
	n, ok := decodeBase64(room, text)
	return string(room[:n]), ok
}
