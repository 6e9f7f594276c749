package bench

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"strings"
	"testing"

	"tokenbroker/keyring"
	"tokenbroker/keyring/lifecycle"
)

// BenchmarkMint measures signing an access token with the keyring, compared with the standard
// library's signature over as many bytes.
func BenchmarkMint(b *testing.B) {
	payload := append(append([]byte(`{"sub":"`), bytes.Repeat([]byte("x"), 560)...), `"}`...)
	for _, one := range []struct {
		alg   lifecycle.Algorithm
		calls int // fewer for RSA, which takes thirty times as long
	}{{lifecycle.ES256, 16}, {lifecycle.EdDSA, 16}, {lifecycle.RS256, 2}, {lifecycle.PS256, 2}} {
		b.Run(string(one.alg), func(b *testing.B) {
			keys := newKeys(b, one.alg)
			token, err := keys.SignAccessToken(context.Background(), payload)
			if err != nil {
				b.Fatal(err)
			}
			mint := func(int) error {
				_, err := keys.SignAccessToken(context.Background(), payload)
				return err
			}
			raw := rawSignature(b, one.alg, []byte(token[:strings.LastIndexByte(token, '.')]))
			takeTurns(b, contender{"ours", one.calls, timed(mint)}, contender{"raw", one.calls, timed(raw)})
			reportAllocations(b, mint)
		})
	}
}

// newKeys opens a keyring that signs access tokens with alg.
func newKeys(tb testing.TB, alg lifecycle.Algorithm) *keyring.Keyring {
	tb.Helper()
	sealer, err := keyring.NewAESGCM(make([]byte, keyring.KEKSize))
	if err != nil {
		tb.Fatal(err)
	}
	keys, err := keyring.Open(tb.Context(), keyring.Config{
		Store: keyringStore{openStore(tb)}, Sealer: sealer, StoreID: "bench", Schedule: keyring.Schedule{Algorithm: alg},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return keys
}

// rawSignature returns a function that signs the bytes with a new key.
func rawSignature(tb testing.TB, alg lifecycle.Algorithm, signed []byte) func(int) error {
	tb.Helper()
	var (
		key  crypto.Signer
		opts crypto.SignerOpts = crypto.SHA256
		err  error
	)
	switch alg {
	case lifecycle.ES256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case lifecycle.EdDSA:
		_, key, err = ed25519.GenerateKey(rand.Reader)
		opts = crypto.Hash(0)
	default:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
		if alg == lifecycle.PS256 {
			opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
		}
	}
	if err != nil {
		tb.Fatal(err)
	}
	return func(int) error {
		message := signed
		if opts.HashFunc() != 0 {
			digest := sha256.Sum256(signed)
			message = digest[:]
		}
		_, err := key.Sign(rand.Reader, message, opts)
		return err
	}
}
