package validator

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"strings"

	"tokenbroker/internal/plainjson"
)

// maxTokenBytes is the maximum length of a token. A longer one is refused.
const maxTokenBytes = 16 << 10

const maxKIDBytes = 256

// token is a decoded compact JWS with a checked header. Its signature is not verified.
type token struct {
	alg, kid  string
	typ       string
	signed    string // header.payload, what the signature covers
	header    string
	payload   string
	claims    []plainjson.Member
	signature []byte
}

// parseToken makes all checks of a token that need no key: its form, and a header that names an allowed
// algorithm, a kid and the type at+jwt (RFC 9068 §4).
func parseToken(text string) (token, error) {
	t, err := takeApart(text)
	if err != nil {
		return token{}, err
	}
	for _, r := range headerRules {
		if err := r.check(&t); err != nil {
			return token{}, err
		}
	}
	return t, nil
}

// takeApart decodes a token and checks its form: size, three parts of canonical base64url,
// both JSON objects without duplicate members, and no critical extension (RFC 7515 §4.1.11).
// If it returns an error, the token contains the parts that were decoded.
func takeApart(text string) (token, error) {
	if len(text) > maxTokenBytes {
		return token{}, errors.New("longer than 16 KiB")
	}
	header, rest, _ := strings.Cut(text, ".")
	payload, signature, ok := strings.Cut(rest, ".")
	if !ok || strings.IndexByte(signature, '.') >= 0 {
		return token{}, errors.New("not three parts")
	}
	t := token{signed: text[:len(header)+1+len(payload)]}
	var room [1536]byte
	if t.header, ok = decodeText(room[:], header); !ok {
		return token{}, errors.New("the header is not canonical base64url")
	}
	if t.payload, ok = decodeText(room[:], payload); !ok {
		return t, errors.New("the payload is not canonical base64url")
	}
	t.signature = make([]byte, decodedLen(signature))
	if _, ok = decodeBase64(t.signature, signature); !ok {
		return t, errors.New("the signature is not canonical base64url")
	}
	if err := t.readHeader(t.header); err != nil {
		return t, err
	}
	var err error
	if t.claims, err = plainjson.ReadObject(t.payload, make([]plainjson.Member, 0, 20)); err != nil {
		return t, errors.New("claims: " + err.Error())
	}
	return t, nil
}

func (t *token) readHeader(text string) error {
	var room [8]plainjson.Member
	members, err := plainjson.ReadObject(text, room[:0])
	if err != nil {
		return errors.New("header: " + err.Error())
	}
	for _, m := range members {
		switch m.Name {
		case "alg":
			t.alg, err = plainjson.String(m.Value)
		case "kid":
			t.kid, err = plainjson.String(m.Value)
		case "typ":
			t.typ, err = plainjson.String(m.Value)
		case "crit":
			return errors.New("header: crit names an extension")
		}
		if err != nil {
			return errors.New("header: alg, kid and typ must be strings")
		}
	}
	return nil
}

// sextets has the value of each character of base64url (RFC 4648 §5); 0xff marks any other byte.
var sextets = func() (table [256]byte) {
	for i := range table {
		table[i] = 0xff
	}
	for i, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
		table[c] = byte(i)
	}
	return table
}()

// decodeBase64 decodes base64url in its only canonical form: no padding, nothing skipped, the unused bits
// of the last character 0. It reads each character once and does not branch on it, because such branches
// cannot be predicted. dst has room for 3 bytes for each 4 characters.
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

// decodeText decodes like decodeBase64 into a string. It uses room if that is large enough.
func decodeText(room []byte, text string) (string, bool) {
	if n := decodedLen(text); n > len(room) {
		room = make([]byte, n)
	}
	n, ok := decodeBase64(room, text)
	return string(room[:n]), ok
}

const minRSABits = 2048

// allowedAlgorithm is the allow-list: only asymmetric algorithms (RFC 8725 §3.1).
func allowedAlgorithm(alg string) bool {
	switch alg {
	case "ES256", "EdDSA", "RS256", "PS256":
		return true
	}
	return false
}

var errSignature = errors.New("the signature does not match")

// verifySignature checks the token's signature with the algorithm that is pinned on the
// key. The algorithm in the header must be the same, and does not select one.
func verifySignature(key verificationKey, t token) error {
	alg := string(key.alg)
	if alg != t.alg || !allowedAlgorithm(alg) {
		return errors.New("the header's algorithm is not the key's")
	}
	var room [2048]byte // on the stack, as no check retains it
	signed := append(room[:0], t.signed...)
	switch alg {
	case "ES256":
		public, ok := key.public.(*ecdsa.PublicKey)
		if !ok || public.Curve != elliptic.P256() {
			return errors.New("the key does not fit its algorithm")
		}
		if len(t.signature) != 64 { // RFC 7518 §3.4
			return errSignature
		}
		digest := sha256.Sum256(signed)
		var room [72]byte
		if !ecdsa.VerifyASN1(public, digest[:], appendDER(room[:0], t.signature)) {
			return errSignature
		}
	case "EdDSA":
		public, ok := key.public.(ed25519.PublicKey)
		if !ok || len(public) != ed25519.PublicKeySize {
			return errors.New("the key does not fit its algorithm")
		}
		if !ed25519.Verify(public, signed, t.signature) {
			return errSignature
		}
	case "RS256", "PS256":
		public, ok := key.public.(*rsa.PublicKey)
		if !ok || public.N.BitLen() < minRSABits {
			return errors.New("the key does not fit its algorithm")
		}
		digest := sha256.Sum256(signed)
		var err error
		if alg == "RS256" {
			err = rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], t.signature)
		} else {
			options := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
			err = rsa.VerifyPSS(public, crypto.SHA256, digest[:], t.signature, options)
		}
		if err != nil {
			return errSignature
		}
	}
	return nil
}

// appendDER appends the DER form (SEC 1 §C.5) of an ES256 signature, r ‖ s. It avoids the two big.Int of
// [ecdsa.Verify].
func appendDER(dst, signature []byte) []byte {
	const integer, sequence = 0x02, 0x30
	start := len(dst)
	dst = append(dst, sequence, 0)
	for _, n := range [][]byte{signature[:32], signature[32:]} {
		for len(n) > 1 && n[0] == 0 {
			n = n[1:]
		}
		if n[0] >= 0x80 { // without the zero byte it would be negative
			dst = append(dst, integer, byte(len(n)+1), 0)
		} else {
			dst = append(dst, integer, byte(len(n)))
		}
		dst = append(dst, n...)
	}
	dst[start+1] = byte(len(dst) - start - 2)
	return dst
}
