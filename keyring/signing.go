package keyring

import (
	"context"
	"crypto"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"tokenbroker/keyring/lifecycle"
	"tokenbroker/revocation"
)

const (
	accessType  = "at+jwt" // the typ of access tokens (RFC 9068 §2.1)
	idTokenType = "JWT"    // the typ of id tokens
	coordinate  = 32       // bytes of r and of s, ES256
	derivedSize = 32       // bytes of the symmetric keys that [Keyring.Keys] returns
)

// SignAccessToken returns claims, a JSON object, as a compact JWS of type at+jwt (RFC 9068
// §2.1) under the active access key. It signs in the caller's goroutine. The error wraps [ErrOutdated]
// if the keyring is outdated.
func (k *Keyring) SignAccessToken(ctx context.Context, claims []byte) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	s, err := k.latest()
	if err != nil {
		return "", err
	}
	token, err := s.access.compact(s.header, claims)
	return string(token), err
}

// SignIDToken returns the claims of build, a JSON object, as a compact JWS of type JWT under the active access key, whose
// algorithm build receives. It signs in the caller's goroutine. The error wraps [ErrOutdated] if the keyring is outdated.
func (k *Keyring) SignIDToken(ctx context.Context, build func(algorithm string) ([]byte, error)) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	s, err := k.latest()
	if err != nil {
		return "", err
	}
	claims, err := build(string(s.access.Algorithm))
	if err != nil {
		return "", err
	}
	token, err := s.access.compact(s.access.header(idTokenType), claims)
	return string(token), err
}

// SignFeed returns payload's JSON as a compact JWS under the active feed key. The types
// are those that package revocation defines. Any other type is refused, so that a feed key can
// never sign anything that passes for a token. The error wraps [ErrOutdated] if the keyring is outdated.
func (k *Keyring) SignFeed(typ string, payload any) ([]byte, error) {
	if typ != revocation.BatchType && typ != revocation.HeartbeatType && typ != revocation.KeysType {
		return nil, fmt.Errorf("signing a revocation message: no such type %q", typ)
	}
	s, err := k.latest()
	if err != nil {
		return nil, err
	}
	return revocation.SignMessage(s.feed.signer, s.feed.KID, typ, payload)
}

// Keys returns the symmetric keys (32 bytes each) of a purpose, derived from the master
// secrets by HKDF-SHA256 (RFC 5869): the current one first, then those still accepted.
// They are derived once per revision and purpose: purposes must be few and fixed, never
// from a request. Callers must not change the result. An outdated keyring may lack a secret that other
// brokers already use ([Keyring.Outdated]).
func (k *Keyring) Keys(purpose string) [][]byte {
	s := k.current.Load()
	if keys, ok := s.derived.Load(purpose); ok {
		return keys.([][]byte)
	}
	keys := make([][]byte, 0, len(s.masters))
	for _, master := range s.masters {
		derived, err := hkdf.Key(sha256.New, master, nil, "tokenbroker\x00"+purpose, derivedSize)
		if err != nil {
			panic("keyring: HKDF of 32 bytes: " + err.Error()) // only for lengths beyond its limit
		}
		keys = append(keys, derived)
	}
	shared, _ := s.derived.LoadOrStore(purpose, keys)
	return shared.([][]byte)
}

// header returns the encoded JOSE header and the dot after it: once per key and type.
// kid and typ are from fixed alphabets that need no escaping.
func (k *key) header(typ string) string {
	header := fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":%q}`, k.Algorithm, k.KID, typ)
	return base64.RawURLEncoding.EncodeToString([]byte(header)) + "."
}

// compact returns header, payload and signature as a compact JWS (RFC 7515 §7.1), built
// in one buffer whose first part is the signing input.
func (k *key) compact(header string, payload []byte) ([]byte, error) {
	b64 := base64.RawURLEncoding
	size := len(header) + b64.EncodedLen(len(payload)) + 1 + b64.EncodedLen(k.signatureSize())
	buf := append(make([]byte, 0, size), header...)
	buf = b64.AppendEncode(buf, payload)
	signature, err := k.sign(buf)
	if err != nil {
		return nil, fmt.Errorf("signing with the %s: %w", k, err)
	}
	buf = append(buf, '.')
	return b64.AppendEncode(buf, signature), nil
}

// signatureSize returns the length of a JWS signature in bytes.
func (k *key) signatureSize() int {
	if public, ok := k.public.(*rsa.PublicKey); ok {
		return public.Size()
	}
	return 2 * coordinate // also that of Ed25519
}

// sign returns the JWS signature of input.
func (k *key) sign(input []byte) ([]byte, error) {
	if k.Algorithm == lifecycle.EdDSA {
		return k.signer.Sign(rand.Reader, input, crypto.Hash(0))
	}
	digest := sha256.Sum256(input)
	switch k.Algorithm {
	case lifecycle.ES256:
		der, err := k.signer.Sign(rand.Reader, digest[:], crypto.SHA256)
		if err != nil {
			return nil, err
		}
		return rawECDSA(der)
	case lifecycle.RS256:
		return k.signer.Sign(rand.Reader, digest[:], crypto.SHA256)
	case lifecycle.PS256:
		return k.signer.Sign(rand.Reader, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256})
	}
	return nil, k.Algorithm.Check()
}

// rawECDSA turns the ASN.1 form that a crypto.Signer returns into r ‖ s (RFC 7518 §3.4).
func rawECDSA(der []byte) ([]byte, error) {
	var r, s []byte
	input, inner := cryptobyte.String(der), cryptobyte.String(nil)
	if !input.ReadASN1(&inner, asn1.SEQUENCE) || !input.Empty() ||
		!inner.ReadASN1Integer(&r) || !inner.ReadASN1Integer(&s) || !inner.Empty() ||
		len(r) > coordinate || len(s) > coordinate {
		return nil, errors.New("the signer returned a value that is not a P-256 signature")
	}
	raw := make([]byte, 2*coordinate)
	copy(raw[coordinate-len(r):coordinate], r)
	copy(raw[2*coordinate-len(s):], s)
	return raw, nil
}
