package peers_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Each contestant must verify tokens: it accepts valid ones and refuses invalid ones. Each token is
// validated twice, and a contestant that remembers tokens must return the same result again.
func TestEveryContestantAcceptsValidAndRefusesInvalidTokens(t *testing.T) {
	everyone := append([]contestant{{name: "ours-forgetful", build: oursForgetful}}, seenBefore...)
	for _, alg := range algorithms {
		m := newMint(t, alg)
		good, bad := m.token(t, nil), badTokens(t, m)
		if len(good) < 800 || len(good) > 1300 {
			t.Errorf("%s: a token has %d bytes, which is not realistic", alg, len(good))
		}
		for _, c := range everyone {
			t.Run(alg+"/"+c.name, func(t *testing.T) {
				validate := c.build(t, m)
				for range 2 {
					got, err := validate(t.Context(), good)
					if err != nil {
						t.Fatalf("the valid token was refused: %v", err)
					}
					if got != wanted(t, good) {
						t.Errorf("the claims are %+v", got)
					}
					for name, token := range bad {
						if _, err := validate(t.Context(), token); err == nil {
							t.Errorf("an invalid token was accepted: %s", name)
						}
					}
				}
			})
		}
	}
}

// badTokens returns invalid tokens, by the way in which they differ from a valid one.
func badTokens(t *testing.T, m *mint) map[string]string {
	t.Helper()
	good, past := strings.Split(m.token(t, nil), "."), time.Now().Unix()-600
	hmacToken := m.unsigned(t, "HS256", nil)
	public, err := x509.MarshalPKIXPublicKey(m.public)
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, public)
	mac.Write([]byte(strings.TrimSuffix(hmacToken, ".")))
	return map[string]string{
		"the claims of another token": good[0] + "." + strings.Split(m.token(t, map[string]any{"sub": "mallory"}), ".")[1] + "." + good[2],
		"a changed signature":         good[0] + "." + good[1] + "." + changed(good[2]),
		"expired":                     m.token(t, map[string]any{"iat": past - 300, "nbf": past - 300, "exp": past}),
		"for another audience":        m.token(t, map[string]any{"aud": []string{"billing"}}),
		"from another issuer":         m.token(t, map[string]any{"iss": "https://login.example.net"}),
		"algorithm none":              m.unsigned(t, "none", nil),
		"HMAC with the public key":    hmacToken + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)),
	}
}

// changed returns text with another character in the middle, where every bit is significant.
func changed(text string) string {
	at, by := len(text)/2, "A"
	if text[at] == 'A' {
		by = "B"
	}
	return text[:at] + by + text[at+1:]
}

// wanted reads the claims of a token without any of the contestants.
func wanted(t *testing.T, token string) verdict {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct{ Sub, Scope string }
	if err := json.Unmarshal(raw, &claims); err != nil {
		t.Fatal(err)
	}
	return verdict{claims.Sub, claims.Scope}
}
