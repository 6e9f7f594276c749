package validator

import (
	"encoding/base64"
	"errors"
	"strings"
)

// maxTokenBytes bounds what is looked at: a longer token is refused unread.
const maxTokenBytes = 16 << 10

const maxKIDBytes = 256

// token is a compact JWS taken apart, its header checked and its signature not.
type token struct {
	alg, kid  string
	signed    string // header.payload, what the signature covers
	payload   string
	claims    []member
	signature []byte
}

// Go's decoder skips line breaks and, unless strict, ignores stray bits in the last
// character; parseToken has refused the former before it decodes.
var strictBase64 = base64.RawURLEncoding.Strict()

// parseToken does all that can be said of a token without a key: size, three parts of
// canonical base64url, both JSON objects without duplicate members, and a header that
// names an allowed algorithm, a kid, the type at+jwt (RFC 9068 §4) and no critical
// extension (RFC 7515 §4.1.11).
func parseToken(text string) (token, error) {
	if len(text) > maxTokenBytes {
		return token{}, errors.New("longer than 16 KiB")
	}
	dots, where := 0, [2]int{}
	for i := range len(text) {
		switch c := text[i]; {
		case c == '.':
			if dots < 2 {
				where[dots] = i
			}
			dots++
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return token{}, errors.New("a character outside base64url")
		}
	}
	if dots != 2 {
		return token{}, errors.New("not three parts")
	}
	t := token{signed: text[:where[1]]}
	header, err := strictBase64.DecodeString(text[:where[0]])
	if err != nil {
		return token{}, errors.New("the header is not canonical base64url")
	}
	payload, err := strictBase64.DecodeString(text[where[0]+1 : where[1]])
	if err != nil {
		return token{}, errors.New("the payload is not canonical base64url")
	}
	if t.signature, err = strictBase64.DecodeString(text[where[1]+1:]); err != nil {
		return token{}, errors.New("the signature is not canonical base64url")
	}
	if err := t.readHeader(header); err != nil {
		return token{}, err
	}
	if t.payload, t.claims, err = readObject(payload, make([]member, 0, 20)); err != nil {
		return token{}, errors.New("claims: " + err.Error())
	}
	return t, nil
}

func (t *token) readHeader(raw []byte) error {
	var room [8]member
	_, members, err := readObject(raw, room[:0])
	if err != nil {
		return errors.New("header: " + err.Error())
	}
	var typ string
	for _, m := range members {
		switch m.name {
		case "alg":
			t.alg, err = unquote(m.value)
		case "kid":
			t.kid, err = unquote(m.value)
		case "typ":
			typ, err = unquote(m.value)
		case "crit":
			return errors.New("header: crit names an extension")
		}
		if err != nil {
			return errors.New("header: alg, kid and typ must be strings")
		}
	}
	if !allowedAlgorithm(t.alg) {
		return errors.New("header: algorithm not allowed")
	}
	if !strings.EqualFold(typ, "at+jwt") && !strings.EqualFold(typ, "application/at+jwt") {
		return errors.New("header: typ is not at+jwt")
	}
	if t.kid == "" || len(t.kid) > maxKIDBytes {
		return errors.New("header: kid missing or too long")
	}
	return nil
}
