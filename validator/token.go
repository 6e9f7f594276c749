package validator

import (
	"errors"
	"strings"

	"tokenbroker/internal/jsontext"
)

// maxTokenBytes bounds what is looked at: a longer token is refused unread.
const maxTokenBytes = 16 << 10

const maxKIDBytes = 256

// token is a compact JWS taken apart, its header checked and its signature not.
type token struct {
	alg, kid  string
	signed    string // header.payload, what the signature covers
	payload   string
	claims    []jsontext.Member
	signature []byte
}

// parseToken does all that can be said of a token without a key: size, three parts of
// canonical base64url, both JSON objects without duplicate members, and a header that
// names an allowed algorithm, a kid, the type at+jwt (RFC 9068 §4) and no critical
// extension (RFC 7515 §4.1.11).
func parseToken(text string) (token, error) {
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
	decoded, ok := decodeText(room[:], header)
	if !ok {
		return token{}, errors.New("the header is not canonical base64url")
	}
	if t.payload, ok = decodeText(room[:], payload); !ok {
		return token{}, errors.New("the payload is not canonical base64url")
	}
	t.signature = make([]byte, decodedLen(signature))
	if _, ok = decodeBase64(t.signature, signature); !ok {
		return token{}, errors.New("the signature is not canonical base64url")
	}
	if err := t.readHeader(decoded); err != nil {
		return token{}, err
	}
	var err error
	if t.claims, err = jsontext.ReadObject(t.payload, make([]jsontext.Member, 0, 20)); err != nil {
		return token{}, errors.New("claims: " + err.Error())
	}
	return t, nil
}

func (t *token) readHeader(text string) error {
	var room [8]jsontext.Member
	members, err := jsontext.ReadObject(text, room[:0])
	if err != nil {
		return errors.New("header: " + err.Error())
	}
	var typ string
	for _, m := range members {
		switch m.Name {
		case "alg":
			t.alg, err = jsontext.String(m.Value)
		case "kid":
			t.kid, err = jsontext.String(m.Value)
		case "typ":
			typ, err = jsontext.String(m.Value)
		case "crit":
			return errors.New("header: crit names an extension")
		}
		if err != nil {
			return errors.New("header: alg, kid and typ must be strings")
		}
	}
	if !allowedAlgorithm(t.alg) {
		return NewMismatch("alg", "ES256, EdDSA, RS256 or PS256", t.alg)
	}
	if !strings.EqualFold(typ, "at+jwt") && !strings.EqualFold(typ, "application/at+jwt") {
		return NewMismatch("typ", "at+jwt, an access token", typ)
	}
	if t.kid == "" || len(t.kid) > maxKIDBytes {
		return errors.New("header: kid missing or too long")
	}
	return nil
}
