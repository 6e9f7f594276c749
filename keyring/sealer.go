package keyring

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// Sealer protects key material at rest. Its methods have a context so that it can be a KMS.
// Implementations are safe for concurrent use.
type Sealer interface {
	// Seal encrypts plaintext and binds it to aad.
	Seal(ctx context.Context, plaintext, aad []byte) ([]byte, error)
	// Open reverses Seal. It fails with [ErrWrongKEK] when sealed was made under another
	// key encryption key, and with [ErrCorrupt] when a byte of sealed or aad differs. Any
	// other error means that Open could not try.
	Open(ctx context.Context, sealed, aad []byte) ([]byte, error)
}

// ErrWrongKEK reports that the keyring is sealed under another key encryption key.
var ErrWrongKEK = errors.New("keyring: wrong key encryption key (KEK)")

// A sealed value is a format byte, the KEK id, and the nonce, ciphertext and tag of AES-GCM.
const (
	sealedFormat = 1
	kekIDSize    = 8
)

// KEKSize is the length of a key encryption key in bytes.
const KEKSize = 32

// AESGCM is the [Sealer] under a key encryption key in memory: AES-256-GCM with a random
// nonce for each value.
type AESGCM struct {
	aead cipher.AEAD
	id   [kekIDSize]byte
}

var _ Sealer = (*AESGCM)(nil)

// NewAESGCM returns the keyring's sealer for a KEK of [KEKSize] bytes. It does not keep kek.
func NewAESGCM(kek []byte) (*AESGCM, error) { return newAESGCM(kek, kek) }

// NewBackupSealer returns the sealer for the keys of backups. It encrypts under a key that
// HKDF-SHA256 derives from kek for this purpose, so that neither sealer opens what the other
// sealed. Its values carry the id of kek. It does not keep kek.
func NewBackupSealer(kek []byte) (*AESGCM, error) {
	key, err := hkdf.Key(sha256.New, kek, nil, "tokenbroker backup", KEKSize)
	if err != nil {
		return nil, fmt.Errorf("keyring: deriving the key of backups: %w", err)
	}
	defer clear(key)
	return newAESGCM(kek, key)
}

// newAESGCM returns a sealer under key whose values carry the id of kek.
func newAESGCM(kek, key []byte) (*AESGCM, error) {
	if len(kek) != KEKSize {
		return nil, fmt.Errorf("keyring: the KEK has %d bytes, not %d", len(kek), KEKSize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("making the cipher: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("making the cipher: %w", err)
	}
	s := &AESGCM{aead: aead}
	mac := hmac.New(sha256.New, kek)
	mac.Write([]byte("tokenbroker KEK id"))
	copy(s.id[:], mac.Sum(nil))
	return s, nil
}

// ID identifies the KEK without revealing anything about it. Every sealed value contains it.
func (s *AESGCM) ID() string { return hex.EncodeToString(s.id[:]) }

// Seal implements [Sealer].
func (s *AESGCM) Seal(_ context.Context, plaintext, aad []byte) ([]byte, error) {
	out := make([]byte, 0, 1+kekIDSize+s.aead.Overhead()+len(plaintext))
	out = append(out, sealedFormat)
	out = append(out, s.id[:]...)
	return s.aead.Seal(out, nil, plaintext, aad), nil //nolint:gosec // this AEAD draws its own random nonce
}

// Open implements [Sealer].
func (s *AESGCM) Open(_ context.Context, sealed, aad []byte) ([]byte, error) {
	if len(sealed) < 1+kekIDSize+s.aead.Overhead() {
		return nil, fmt.Errorf("%w: a sealed value is too short", ErrCorrupt)
	}
	if sealed[0] != sealedFormat {
		return nil, fmt.Errorf("%w: a sealed value has the unknown format %d", ErrCorrupt, sealed[0])
	}
	if id := sealed[1 : 1+kekIDSize]; !hmac.Equal(id, s.id[:]) {
		return nil, fmt.Errorf("%w: it was sealed under the KEK with id %x, and this one has id %x",
			ErrWrongKEK, id, s.id)
	}
	plain, err := s.aead.Open(nil, nil, sealed[1+kekIDSize:], aad)
	if err != nil {
		return nil, fmt.Errorf("%w: a sealed value does not authenticate: it, or what it is bound to, was changed", ErrCorrupt)
	}
	return plain, nil
}
