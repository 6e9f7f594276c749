package keyring

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Algorithm is a JWS algorithm (RFC 7518 §3, RFC 8037) of the allow-list below.
type Algorithm string

// The algorithms that keys are made for.
const (
	ES256 Algorithm = "ES256"
	EdDSA Algorithm = "EdDSA" // Ed25519
	RS256 Algorithm = "RS256"
	PS256 Algorithm = "PS256"
)

const (
	rsaBits    = 2048
	coordinate = 32 // bytes of r and of s, ES256
)

func (a Algorithm) check() error {
	switch a {
	case ES256, EdDSA, RS256, PS256:
		return nil
	}
	return fmt.Errorf("%w %q: it is one of ES256, EdDSA, RS256, PS256", ErrUnknownAlgorithm, string(a))
}

func (a Algorithm) generate() (crypto.Signer, error) {
	switch a {
	case ES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case EdDSA:
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	case RS256, PS256:
		return rsa.GenerateKey(rand.Reader, rsaBits)
	}
	return nil, a.check()
}

// fits tells whether public is a key for this algorithm.
func (a Algorithm) fits(public crypto.PublicKey) bool {
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		return a == ES256 && key.Curve == elliptic.P256()
	case ed25519.PublicKey:
		return a == EdDSA && len(key) == ed25519.PublicKeySize
	case *rsa.PublicKey:
		return (a == RS256 || a == PS256) && key.N.BitLen() >= rsaBits
	}
	return false
}

// signatureSize is the length of a JWS signature in bytes.
func (a Algorithm) signatureSize(public crypto.PublicKey) int {
	if key, ok := public.(*rsa.PublicKey); ok {
		return key.Size()
	}
	return 2 * coordinate // Ed25519's, too
}

// sign returns the JWS signature of input.
func (a Algorithm) sign(signer crypto.Signer, input []byte) ([]byte, error) {
	if a == EdDSA {
		return signer.Sign(rand.Reader, input, crypto.Hash(0))
	}
	digest := sha256.Sum256(input)
	switch a {
	case ES256:
		der, err := signer.Sign(rand.Reader, digest[:], crypto.SHA256)
		if err != nil {
			return nil, err
		}
		return rawECDSA(der)
	case RS256:
		return signer.Sign(rand.Reader, digest[:], crypto.SHA256)
	case PS256:
		return signer.Sign(rand.Reader, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256})
	}
	return nil, a.check()
}

// rawECDSA turns the ASN.1 form that a crypto.Signer gives into r ‖ s (RFC 7518 §3.4).
func rawECDSA(der []byte) ([]byte, error) {
	var r, s []byte
	input, inner := cryptobyte.String(der), cryptobyte.String(nil)
	if !input.ReadASN1(&inner, asn1.SEQUENCE) || !input.Empty() ||
		!inner.ReadASN1Integer(&r) || !inner.ReadASN1Integer(&s) || !inner.Empty() ||
		len(r) > coordinate || len(s) > coordinate {
		return nil, errors.New("the signer gave no P-256 signature")
	}
	raw := make([]byte, 2*coordinate)
	copy(raw[coordinate-len(r):coordinate], r)
	copy(raw[2*coordinate-len(s):], s)
	return raw, nil
}
