package keyring

import (
	"encoding/base64"
	"fmt"

	"tokenbroker/revocation"
)

// accessType is the typ of access tokens (RFC 9068 §2.1).
const accessType = "at+jwt"

// header returns the encoded JOSE header and the dot after it: once per key and type.
// kid and typ are from fixed alphabets that need no escaping.
func (k *key) header(typ string) string {
	header := fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":%q}`, k.info.Algorithm, k.info.KID, typ)
	return base64.RawURLEncoding.EncodeToString([]byte(header)) + "."
}

// compact returns header, payload and signature as a compact JWS (RFC 7515 §7.1), built
// in one buffer whose first part is the signing input.
func (k *key) compact(header string, payload []byte) ([]byte, error) {
	b64 := base64.RawURLEncoding
	size := len(header) + b64.EncodedLen(len(payload)) + 1 + b64.EncodedLen(k.info.Algorithm.signatureSize(k.public))
	buf := append(make([]byte, 0, size), header...)
	buf = b64.AppendEncode(buf, payload)
	signature, err := k.info.Algorithm.sign(k.signer, buf)
	if err != nil {
		return nil, fmt.Errorf("signing with the %s: %w", k.info, err)
	}
	buf = append(buf, '.')
	return b64.AppendEncode(buf, signature), nil
}

type accessSigner struct {
	key    *key
	header string
}

func newAccessSigner(k *key) *accessSigner {
	return &accessSigner{key: k, header: k.header(accessType)}
}

func (s *accessSigner) sign(claims []byte) (string, error) {
	token, err := s.key.compact(s.header, claims)
	if err != nil {
		return "", err
	}
	return string(token), nil
}

// signFeed leaves the form to the package that parses it. The type is checked here, too: a
// feed key must never make something that could pass for a token.
func signFeed(k *key, typ string, payload any) ([]byte, error) {
	if typ != revocation.BatchType && typ != revocation.HeartbeatType && typ != revocation.KeysType {
		return nil, fmt.Errorf("signing a revocation message: no such type %q", typ)
	}
	return revocation.SignMessage(k.signer, k.info.KID, typ, payload)
}
