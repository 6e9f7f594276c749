package validator

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"math/big"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"pgregory.net/rapid"
)

func TestDEREqualsASN1(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		half := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 0, 1, 0x7f, 0x80, 0xff}), 32, 32)
		signature := append(half.Draw(t, "r"), half.Draw(t, "s")...)
		want, err := asn1.Marshal(struct{ R, S *big.Int }{
			new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]),
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := appendDER(nil, signature); !bytes.Equal(got, want) {
			t.Errorf("%x is %x, want %x", signature, got, want)
		}
	})
}

func TestAKeyMustFitItsAlgorithm(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ed, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	weak := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2046), E: 65537} // 2047 bits
	for name, row := range map[string]struct {
		pinned, header string
		public         crypto.PublicKey
	}{
		"ES256 on another curve":     {"ES256", "ES256", &p384.PublicKey},
		"ES256 with an Ed25519 key":  {"ES256", "ES256", ed},
		"EdDSA with a P-256 key":     {"EdDSA", "EdDSA", &p256.PublicKey},
		"EdDSA with a short key":     {"EdDSA", "EdDSA", ed[:31]},
		"RS256 with 2047 bits":       {"RS256", "RS256", weak},
		"PS256 with 2047 bits":       {"PS256", "PS256", weak},
		"the header says otherwise":  {"ES256", "EdDSA", &p256.PublicKey},
		"HS256 pinned by accident":   {"HS256", "HS256", []byte("key")},
		"none pinned by accident":    {"none", "none", nil},
		"no key":                     {"ES256", "ES256", nil},
		"a private key in its place": {"ES256", "ES256", p256},
	} {
		t.Run(name, func(t *testing.T) {
			key := verificationKey{kid: "k", alg: jose.SignatureAlgorithm(row.pinned), public: row.public}
			for _, size := range []int{0, 63, 64, 65, 256} {
				if verifySignature(key, token{alg: row.header, signed: "a.b", signature: make([]byte, size)}) == nil {
					t.Errorf("accepted %d zero bytes", size)
				}
			}
		})
	}
}

func TestES256RefusesOtherLengths(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte("a.b"))
	r, s, err := ecdsa.Sign(rand.Reader, private, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	good := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	key := verificationKey{alg: "ES256", public: &private.PublicKey}
	if err := verifySignature(key, token{alg: "ES256", signed: "a.b", signature: good}); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"a byte more": append(bytes.Clone(good), 0), "a byte less": good[:63], "a zero in front": append([]byte{0}, good...),
	} {
		if verifySignature(key, token{alg: "ES256", signed: "a.b", signature: bad}) == nil {
			t.Error(name + " was accepted")
		}
	}
}

func TestSameKey(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ed, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	again := p256.PublicKey
	key := verificationKey{alg: "ES256", public: &p256.PublicKey}
	for name, row := range map[string]struct {
		b    verificationKey
		want bool
	}{
		"the very same":         {key, true},
		"fetched again":         {verificationKey{alg: "ES256", public: &again}, true},
		"another":               {verificationKey{alg: "ES256", public: &other.PublicKey}, false},
		"for another algorithm": {verificationKey{alg: "ES384", public: &p256.PublicKey}, false},
		"of another kind":       {verificationKey{alg: "ES256", public: ed}, false},
		"none":                  {verificationKey{alg: "ES256"}, false},
	} {
		if got := sameKey(key, row.b); got != row.want {
			t.Errorf("%s: %v", name, got)
		}
		if got := sameKey(row.b, key); got != row.want {
			t.Errorf("%s, the other way round: %v", name, got)
		}
	}
}
