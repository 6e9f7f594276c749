package keyring

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"tokenbroker/keyring/lifecycle"
	"tokenbroker/revocation"
)

const (
	rsaBits    = 2048
	masterSize = 32 // bytes of a master secret
)

// material is the key material of one key or master secret, as it is stored.
type material struct {
	sealed []byte // private key (PKCS #8) or master secret; nil when the key no longer needs it
	public []byte // PKIX; nil for a master secret
}

// key is an opened key. signer is nil unless the key may sign.
type key struct {
	lifecycle.Key
	public crypto.PublicKey
	signer crypto.Signer
}

// newKey makes and seals a key or master secret.
func newKey(ctx context.Context, sealer Sealer, want lifecycle.KeyType, state lifecycle.State, now time.Time) (lifecycle.Key, material, error) {
	k := lifecycle.Key{Label: lifecycle.Label{Purpose: want.Purpose, Algorithm: want.Algorithm, State: state}, Created: now.Unix()}
	if state == lifecycle.StateActive {
		k.Activates = k.Created
	}
	var m material
	var secret []byte
	var err error
	if want.Purpose == lifecycle.PurposeMaster {
		id := make([]byte, 10)
		secret = make([]byte, masterSize)
		_, _ = rand.Read(secret) // never fails
		_, _ = rand.Read(id)
		k.KID = revocation.EncodeID(id)
	} else if k.KID, m.public, secret, err = newKeyPair(want.Algorithm); err != nil {
		return k, m, err
	}
	defer clear(secret)
	if m.sealed, err = sealer.Seal(ctx, secret, sealedWith(&k)); err != nil {
		return k, m, fmt.Errorf("sealing the %s: %w", k, err)
	}
	return k, m, nil
}

func newKeyPair(a lifecycle.Algorithm) (kid string, public, private []byte, err error) {
	signer, err := generate(a)
	if err != nil {
		return "", nil, nil, fmt.Errorf("making a key: %w", err)
	}
	if kid, err = keyID(signer.Public()); err != nil {
		return "", nil, nil, err
	}
	if public, err = x509.MarshalPKIXPublicKey(signer.Public()); err != nil {
		return "", nil, nil, fmt.Errorf("encoding a public key: %w", err)
	}
	if private, err = x509.MarshalPKCS8PrivateKey(signer); err != nil {
		return "", nil, nil, fmt.Errorf("encoding a private key: %w", err)
	}
	return kid, public, private, nil
}

func generate(a lifecycle.Algorithm) (crypto.Signer, error) {
	switch a {
	case lifecycle.ES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case lifecycle.EdDSA:
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	case lifecycle.RS256, lifecycle.PS256:
		return rsa.GenerateKey(rand.Reader, rsaBits)
	}
	return nil, a.Check()
}

// keyID returns the key id of a public key, which is derived from its RFC 7638 thumbprint. It has
// only lower-case letters and digits, so that it can be typed, selected and passed on a command line.
func keyID(public crypto.PublicKey) (string, error) {
	thumbprint, err := (&jose.JSONWebKey{Key: public}).Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("computing the key id: %w", err)
	}
	return revocation.EncodeID(thumbprint[:15]), nil
}

// sealedWith returns the associated data that a key's sealed value is bound to.
func sealedWith(k *lifecycle.Key) []byte {
	if k.Purpose == lifecycle.PurposeMaster {
		return associated("master", k.KID)
	}
	return associated("key", string(k.Purpose), k.KID, string(k.Algorithm))
}

// associated names a sealed value. The parts hold no zero byte.
func associated(parts ...string) []byte {
	return []byte("tokenbroker keyring\x00" + strings.Join(parts, "\x00"))
}

// openKey unseals what a signing key needs in its state and checks that its parts belong together.
func openKey(ctx context.Context, sealer Sealer, k *lifecycle.Key, m material) (*key, error) {
	public, err := x509.ParsePKIXPublicKey(m.public)
	if err != nil || !hasAlgorithm(public, k.Algorithm) {
		return nil, fmt.Errorf("%w: its public part is not an %s key", ErrCorrupt, k.Algorithm)
	}
	if id, err := keyID(public); err != nil || id != k.KID {
		return nil, fmt.Errorf("%w: its public part belongs to another key id", ErrCorrupt)
	}
	opened := &key{Key: *k, public: public}
	if !k.State.Signs() {
		return opened, nil
	}
	private, err := sealer.Open(ctx, m.sealed, sealedWith(k))
	if err != nil {
		return nil, err
	}
	defer clear(private)
	parsed, err := x509.ParsePKCS8PrivateKey(private)
	if err != nil {
		// The parser's error may quote what it parsed.
		return nil, fmt.Errorf("%w: its private part cannot be parsed", ErrCorrupt)
	}
	signer, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%w: its private part cannot sign", ErrCorrupt)
	}
	der, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil || !bytes.Equal(der, m.public) {
		return nil, fmt.Errorf("%w: its private part belongs to another public key", ErrCorrupt)
	}
	opened.signer = signer
	return opened, nil
}

// hasAlgorithm reports whether public is a key for the algorithm.
func hasAlgorithm(public crypto.PublicKey, a lifecycle.Algorithm) bool {
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		return a == lifecycle.ES256 && key.Curve == elliptic.P256()
	case ed25519.PublicKey:
		return a == lifecycle.EdDSA && len(key) == ed25519.PublicKeySize
	case *rsa.PublicKey:
		return (a == lifecycle.RS256 || a == lifecycle.PS256) && key.N.BitLen() >= rsaBits
	}
	return false
}
