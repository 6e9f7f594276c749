package peers_test

import (
	"crypto"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"tokenbroker/validator/validatortest"
)

const audience = "orders"

// algorithms are the algorithms that the libraries are compared for.
var algorithms = []string{"RS256", "ES256", "EdDSA"}

// mint is an issuer with one key, and the configuration with which a service verifies its tokens.
type mint struct {
	issuer *validatortest.Issuer
	alg    string
	kid    string
	public crypto.PublicKey
	minted int
}

func newMint(tb testing.TB, alg string) *mint {
	tb.Helper()
	m := &mint{issuer: validatortest.New(tb), alg: alg}
	m.kid = m.issuer.Rotate(alg)
	_, public, ok := m.issuer.Key(m.kid)
	if !ok {
		tb.Fatalf("the issuer has no key %s", m.kid)
	}
	m.public = public
	return m
}

// payload returns the claims that a broker signs for a person with some roles: a token of about 900 bytes,
// with its header and signature. changes replace or add claims.
func (m *mint) payload(tb testing.TB, changes map[string]any) []byte {
	tb.Helper()
	m.minted++
	now := time.Now().Unix()
	claims := map[string]any{
		"iss": m.issuer.URL(), "sub": "8f14e45f-ceea-467f-a83c-5b1d2c7f9a10",
		"aud": []string{audience, "billing"}, "client_id": "web-frontend",
		"sid": "Zx3kP0q9T1uVwYb5cD7eFg", "jti": fmt.Sprintf("01932f5e-7c1a-7d2b-9f00-%012d", m.minted),
		"iat": now, "nbf": now, "exp": now + validatortest.MaxLifetime, "auth_time": now - 60,
		"scope": "openid profile email orders:read orders:write invoices:read",
		"acr":   "urn:mace:incommon:iap:silver", "amr": []string{"pwd", "otp"},
		"roles":  []string{"customer", "order-manager", "auditor"},
		"groups": []string{"eu-west", "sales-team-7"}, "tenant": "example-industries",
		"sep": 1, "cep": 1,
	}
	maps.Copy(claims, changes)
	raw, err := json.Marshal(claims)
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}

// token signs a valid token whose claims are modified by changes.
func (m *mint) token(tb testing.TB, changes map[string]any) string {
	tb.Helper()
	return m.issuer.Sign(m.payload(tb, changes), nil)
}

// tokens signs n tokens that differ in their jti.
func (m *mint) tokens(tb testing.TB, n int) []string {
	tb.Helper()
	all := make([]string, n)
	for i := range all {
		all[i] = m.token(tb, nil)
	}
	return all
}

// unsigned returns a valid token's payload with another algorithm in the header and another signature.
func (m *mint) unsigned(tb testing.TB, alg string, signature []byte) string {
	tb.Helper()
	header := fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"at+jwt"}`, alg, m.kid)
	var parts []string
	for _, part := range [][]byte{[]byte(header), m.payload(tb, nil), signature} {
		parts = append(parts, base64.RawURLEncoding.EncodeToString(part))
	}
	return strings.Join(parts, ".")
}
