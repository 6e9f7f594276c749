package validator

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
)

const minRSABits = 2048

// allowedAlgorithm is the allow-list: asymmetric, and nothing else (RFC 8725 §3.1).
func allowedAlgorithm(alg string) bool {
	switch alg {
	case "ES256", "EdDSA", "RS256", "PS256":
		return true
	}
	return false
}

var errSignature = errors.New("the signature does not match")

// verifySignature checks the token's signature with the algorithm that is pinned on the
// key. What the header says of the algorithm must agree with it and decides nothing.
func verifySignature(key verificationKey, t token) error {
	alg := string(key.alg)
	if alg != t.alg || !allowedAlgorithm(alg) {
		return errors.New("the header's algorithm is not the key's")
	}
	var room [2048]byte // on the stack: no check keeps it
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

// appendDER appends the DER form (SEC 1 §C.5) of an ES256 signature, r ‖ s. It saves the
// two big.Int of [ecdsa.Verify].
func appendDER(dst, signature []byte) []byte {
	const integer, sequence = 0x02, 0x30
	start := len(dst)
	dst = append(dst, sequence, 0)
	for _, n := range [][]byte{signature[:32], signature[32:]} {
		for len(n) > 1 && n[0] == 0 {
			n = n[1:]
		}
		if n[0] >= 0x80 { // else it would be a negative number
			dst = append(dst, integer, byte(len(n)+1), 0)
		} else {
			dst = append(dst, integer, byte(len(n)))
		}
		dst = append(dst, n...)
	}
	dst[start+1] = byte(len(dst) - start - 2)
	return dst
}

// sameKey reports whether two look-ups of a kid gave the same key. As long as none was
// fetched since, they gave the same pointer, and there is nothing to compare.
func sameKey(a, b verificationKey) bool {
	if a.alg != b.alg {
		return false
	}
	switch x := a.public.(type) {
	case *ecdsa.PublicKey:
		if y, ok := b.public.(*ecdsa.PublicKey); ok && x == y {
			return true
		}
	case *rsa.PublicKey:
		if y, ok := b.public.(*rsa.PublicKey); ok && x == y {
			return true
		}
	}
	equal, ok := a.public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && equal.Equal(b.public)
}
