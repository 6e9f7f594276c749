package bench

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"tokenbroker/validator"
	"tokenbroker/validator/validatortest"
)

const audience = "orders"

// newValidator returns a validator as a service uses it, with its goroutines, its feed and the
// issuer's keys. If cacheSize is zero, the cache has the default size.
func newValidator(tb testing.TB, from *validatortest.Issuer, cacheSize int) *validator.Validator {
	tb.Helper()
	config := from.Config(audience)
	config.CacheSize, config.Logger = cacheSize, slog.New(slog.DiscardHandler)
	v, err := validator.New(tb.Context(), config)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(v.Close)
	return v
}

// newTokens signs the given number of tokens, each like a token that a broker issues for a person
// with a few roles, of about 1,000 bytes.
func newTokens(tb testing.TB, from *validatortest.Issuer, count int) []string {
	tb.Helper()
	tokens := make([]string, count)
	if err := forEach(count, func(i int) error {
		now := time.Now().Unix()
		payload, err := json.Marshal(map[string]any{
			"iss": from.URL(), "sub": "8f14e45f-ceea-467f-a83c-5b1d2c7f9a10",
			"aud": []string{audience, "billing"}, "client_id": "web-frontend",
			"sid": "Zx3kP0q9T1uVwYb5cD7eFg", "jti": fmt.Sprintf("01932f5e-7c1a-7d2b-9f00-%012d", i),
			"iat": now, "nbf": now, "exp": now + validatortest.MaxLifetime, "auth_time": now - 60,
			"scope": "openid profile email orders:read orders:write invoices:read",
			"acr":   "urn:mace:incommon:iap:silver", "amr": []string{"pwd", "otp"},
			"roles":  []string{"customer", "order-manager", "auditor"},
			"groups": []string{"eu-west", "sales-team-7"}, "tenant": "example-industries",
			"sep": 1, "cep": 1,
		})
		if err == nil {
			tokens[i] = from.Sign(payload, nil)
		}
		return err
	}); err != nil {
		tb.Fatal(err)
	}
	return tokens
}

// forEach calls do with 0 to count-1, on all processors, and returns one of the errors.
func forEach(count int, do func(i int) error) error {
	var group errgroup.Group
	group.SetLimit(runtime.NumCPU())
	for i := range count {
		group.Go(func() error { return do(i) })
	}
	return group.Wait()
}

// swapSignatures replaces each token's signature by that of another token: the results are
// well-formed, but their signatures are invalid.
func swapSignatures(tokens []string) []string {
	bad := make([]string, len(tokens))
	for i, token := range tokens {
		other := tokens[(i+1)%len(tokens)]
		bad[i] = token[:strings.LastIndexByte(token, '.')] + other[strings.LastIndexByte(other, '.'):]
	}
	return bad
}

// rawChecks is the floor of validating a new token: the standard library's check of each token's
// signature, prepared as far as possible. A check reports whether the signature is valid.
func rawChecks(tb testing.TB, from *validatortest.Issuer, kid string, tokens []string) []func() bool {
	tb.Helper()
	_, public, ok := from.Key(kid)
	if !ok {
		tb.Fatalf("the issuer has no key %s", kid)
	}
	checks := make([]func() bool, len(tokens))
	for i, token := range tokens {
		dot := strings.LastIndexByte(token, '.')
		signature, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
		if err != nil {
			tb.Fatal(err)
		}
		if checks[i], err = rawCheck(public, []byte(token[:dot]), signature); err != nil {
			tb.Fatal(err)
		}
	}
	return checks
}

func rawCheck(public crypto.PublicKey, signed, signature []byte) (func() bool, error) {
	switch public := public.(type) {
	case *rsa.PublicKey:
		return func() bool {
			digest := sha256.Sum256(signed)
			return rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature) == nil
		}, nil
	case *ecdsa.PublicKey:
		half := len(signature) / 2
		der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:])})
		return func() bool {
			digest := sha256.Sum256(signed)
			return ecdsa.VerifyASN1(public, digest[:], der)
		}, err
	case ed25519.PublicKey:
		return func() bool { return ed25519.Verify(public, signed, signature) }, nil
	}
	return nil, fmt.Errorf("no raw check for a %T", public)
}
