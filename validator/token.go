package validator

import (
	"errors"
	"strings"

	"tokenbroker/internal/plainjson"
)

// maxTokenBytes bounds what is looked at: a longer token is refused unread.
const maxTokenBytes = 16 << 10

const maxKIDBytes = 256

// token is a compact JWS taken apart, its header checked and its signature not.
type token struct {
	alg, kid  string
	typ       string
	signed    string // header.payload, what the signature covers
	header    string
	payload   string
	claims    []plainjson.Member
	signature []byte
}

// parseToken does all that can be said of a token without a key: its form, and a header that
// names an allowed algorithm, a kid and the type at+jwt (RFC 9068 §4).
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
// With an error, the token has what could be decoded.
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
