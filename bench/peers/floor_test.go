package peers_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"math/big"
	"strings"
	"testing"
)

// rawCheck is the floor: the standard library's check of one token's signature, prepared as far as
// possible. It reports whether the signature is valid.
type rawCheck func() bool

// newRawCheck fails the test if the check refuses the signature or accepts a changed one.
func newRawCheck(tb testing.TB, m *mint, token string) rawCheck {
	tb.Helper()
	dot := strings.LastIndexByte(token, '.')
	signature, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
	if err != nil {
		tb.Fatal(err)
	}
	signed := []byte(token[:dot])
	var check rawCheck
	switch public := m.public.(type) {
	case *rsa.PublicKey:
		check = func() bool {
			digest := sha256.Sum256(signed)
			return rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature) == nil
		}
	case *ecdsa.PublicKey:
		half := len(signature) / 2
		der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:])})
		if err != nil {
			tb.Fatal(err)
		}
		check = func() bool {
			digest := sha256.Sum256(signed)
			return ecdsa.VerifyASN1(public, digest[:], der)
		}
	case ed25519.PublicKey:
		check = func() bool { return ed25519.Verify(public, signed, signature) }
	default:
		tb.Fatalf("no raw check for a %T", public)
	}
	good := check()
	signed[0] ^= 1
	bad := check()
	signed[0] ^= 1
	if !good || bad {
		tb.Fatalf("the raw check returns %v for a valid and %v for an invalid signature", good, bad)
	}
	return check
}
