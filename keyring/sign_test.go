package keyring_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"tokenbroker/keyring"
	"tokenbroker/keyring/lifecycle"
	"tokenbroker/revocation"
)

var allAlgorithms = []lifecycle.Algorithm{lifecycle.ES256, lifecycle.EdDSA, lifecycle.RS256, lifecycle.PS256}

// ringOf opens one keyring per algorithm for the whole test binary: RSA keys are expensive to make.
func ringOf(t testing.TB, alg lifecycle.Algorithm) *keyring.Keyring {
	t.Helper()
	ringsMu.Lock()
	defer ringsMu.Unlock()
	if ring, ok := rings[alg]; ok {
		return ring
	}
	cfg := config(t, &memStore{})
	cfg.Algorithm = alg
	rings[alg] = open(t, cfg)
	return rings[alg]
}

var (
	ringsMu sync.Mutex // guards rings
	rings   = map[lifecycle.Algorithm]*keyring.Keyring{}
)

// verifyAccess checks token with go-jose against the published JWKS and returns the claims.
func verifyAccess(t *testing.T, ring *keyring.Keyring, token string) []byte {
	t.Helper()
	return verify(t, ring.JWKS().Body, token, allAlgorithms, "at+jwt")
}

func verify(t *testing.T, jwks []byte, compact string, algs []lifecycle.Algorithm, typ string) []byte {
	t.Helper()
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(jwks, &set); err != nil {
		t.Fatal(err)
	}
	var allowed []jose.SignatureAlgorithm
	for _, a := range algs {
		allowed = append(allowed, jose.SignatureAlgorithm(a))
	}
	jws, err := jose.ParseSignedCompact(compact, allowed)
	if err != nil {
		t.Fatal(err)
	}
	header := jws.Signatures[0].Protected
	if got := header.ExtraHeaders["typ"]; got != typ {
		t.Errorf("typ = %v, want %s", got, typ)
	}
	keys := set.Key(header.KeyID)
	if len(keys) != 1 {
		t.Fatalf("%d keys of kid %q are published, want one", len(keys), header.KeyID)
	}
	if keys[0].Algorithm != header.Algorithm {
		t.Errorf("alg = %s, the key is published for %s", header.Algorithm, keys[0].Algorithm)
	}
	payload, err := jws.Verify(keys[0])
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

func TestAccessTokensVerifyWithAnIndependentLibrary(t *testing.T) {
	for _, alg := range allAlgorithms {
		t.Run(string(alg), func(t *testing.T) {
			ring := ringOf(t, alg)
			claims := []byte(`{"sub":"<u>&","n":12345678901234567890}`)
			// ECDSA's r and s lose leading zero bytes in one of 128 signatures.
			times := 1
			if alg == lifecycle.ES256 {
				times = 1000
			}
			for range times {
				token, err := ring.SignAccessToken(t.Context(), claims)
				if err != nil {
					t.Fatal(err)
				}
				if got := verifyAccess(t, ring, token); !bytes.Equal(got, claims) {
					t.Fatalf("claims = %s, want %s to the byte", got, claims)
				}
			}
		})
	}
}

func TestTheActiveKeySigns(t *testing.T) {
	ring := ringOf(t, lifecycle.ES256)
	token, err := ring.SignAccessToken(t.Context(), []byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range ring.List() {
		want := `{"alg":"ES256","kid":"` + k.KID + `","typ":"at+jwt"}`
		if active := k.Purpose == lifecycle.PurposeAccess && k.State == lifecycle.StateActive; active != (string(raw) == want) {
			t.Errorf("header = %s, with the %s", raw, k)
		}
	}
}

func TestSigningStopsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ringOf(t, lifecycle.ES256).SignAccessToken(ctx, []byte(`{}`)); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v, want context.Canceled", err)
	}
}

func TestServicesCanParseFeedMessages(t *testing.T) {
	ring := ringOf(t, lifecycle.ES256)
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(ring.FeedJWKS().Body, &set); err != nil {
		t.Fatal(err)
	}
	raw, err := ring.SignFeed(revocation.HeartbeatType, revocation.Heartbeat{
		V: 1, Store: "store-1", Origin: "o", Head: 7, AtMS: testTime.UnixMilli(),
	})
	if err != nil {
		t.Fatal(err)
	}
	verify(t, ring.FeedJWKS().Body, string(raw), []lifecycle.Algorithm{lifecycle.EdDSA}, revocation.HeartbeatType)
	message, err := revocation.ParseMessage(raw, func(kid string) (ed25519.PublicKey, bool) {
		for _, k := range set.Key(kid) {
			public, ok := k.Key.(ed25519.PublicKey)
			return public, ok
		}
		return nil, false
	})
	if err != nil {
		t.Fatal(err)
	}
	if message.Heartbeat == nil || message.Heartbeat.Head != 7 {
		t.Errorf("message = %+v", message)
	}
}

func TestFeedKeysSignNothingElse(t *testing.T) {
	for _, typ := range []string{"", "JWT", "at+jwt", "AT+JWT", `x","alg":"none`} {
		if raw, err := ringOf(t, lifecycle.ES256).SignFeed(typ, struct{}{}); err == nil {
			t.Errorf("typ %q was signed: %s", typ, raw)
		}
	}
}

func TestVerifierKnowsPublishedAccessKeysOnly(t *testing.T) {
	for _, alg := range allAlgorithms {
		ring := ringOf(t, alg)
		for _, k := range ring.List() {
			got, public, ok := ring.Verifier(k.KID)
			if want := k.Purpose == lifecycle.PurposeAccess; ok != want {
				t.Errorf("Verifier of the %s: ok = %t, want %t", k, ok, want)
			}
			if !ok {
				continue
			}
			if got != string(alg) {
				t.Errorf("algorithm = %s, want %s", got, alg)
			}
			thumb, err := (&jose.JSONWebKey{Key: public}).Thumbprint(crypto.SHA256)
			if err != nil || len(thumb) == 0 {
				t.Errorf("no usable public key: %v", err)
			}
		}
	}
	if _, _, ok := ringOf(t, lifecycle.ES256).Verifier(""); ok {
		t.Error("the empty kid has a verifier")
	}
}
