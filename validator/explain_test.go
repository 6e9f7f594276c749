package validator_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenbroker/validator"
	"tokenbroker/validator/validatortest"
)

// Whatever Explain refuses, Validate refuses, and the other way round.
func TestExplainAgreesWithValidate(t *testing.T) {
	issuer := validatortest.New(t)
	config := issuer.Config("orders")
	v, err := validator.New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	now := time.Now().Unix()
	good := issuer.Mint(nil)
	type claims = validatortest.Claims
	for name, row := range map[string]struct {
		token   string
		refused []string // the rules
		says    string
	}{
		"good":            {good, nil, ""},
		"audience":        {issuer.Mint(claims{"aud": "demo-api"}), []string{"audience"}, "audience: token has demo-api, this service expects orders"},
		"two faults":      {issuer.Mint(claims{"aud": "demo-api", "iss": "http://x"}), []string{"issuer", "audience"}, "issuer: token has http://x, this service expects " + issuer.URL()},
		"expired":         {issuer.Mint(claims{"iat": now - 500, "nbf": nil, "exp": now - 200}), []string{"exp"}, "exp: token has "},
		"too long":        {issuer.Mint(claims{"exp": now + 7200}), []string{"lifetime"}, "at most 15m0s"},
		"from the future": {issuer.Mint(claims{"iat": now + 500, "nbf": now + 500, "exp": now + 800}), []string{"iat", "nbf"}, "iat: token has "},
		"ID token":        {issuer.Sign([]byte(`{"iss":"x","aud":"y"}`), map[string]any{"typ": "JWT"}), []string{"typ", "claims"}, "typ: token has JWT"},
		"unknown key":     {issuer.Sign([]byte(`{}`), map[string]any{"kid": "k9"}), []string{"key", "claims"}, "key: token has k9"},
		"other signature": {good[:strings.LastIndexByte(good, '.')] + tail(issuer.Mint(nil)), []string{"signature"}, "signature: the signature does not match"},
		"not a token":     {"hello", []string{"form"}, "not three parts"},
		"no base64":       {"e30.*.AA", []string{"form"}, "payload is not canonical base64url"},
		"no JSON":         {"e30.AAAA.AA", []string{"form"}, ""},
		"too large":       {strings.Repeat("a", 20000), []string{"form"}, "longer than 16 KiB"},
	} {
		t.Run(name, func(t *testing.T) {
			x := validator.Explain(t.Context(), row.token, validator.ExplainConfig{
				Issuer: issuer.URL(), Audiences: []string{"orders"},
				Revoked: func(context.Context, *validator.Claims) (string, error) { return "", nil },
			})
			var refused, texts []string
			for _, c := range x.Checks {
				if c.Verdict == validator.Refused {
					refused, texts = append(refused, c.Rule), append(texts, c.Rule+": "+c.Detail)
				}
			}
			if !slices.Equal(refused, row.refused) || !strings.Contains(strings.Join(texts, "\n"), row.says) {
				t.Errorf("refused by %v: %q", refused, texts)
			}
			_, err := v.Validate(t.Context(), row.token)
			if (err == nil) != (x.Verdict() == validator.Passed) {
				t.Errorf("Validate: %v, Explain: %s", err, x.Verdict())
			}
		})
	}
}

func tail(token string) string { return token[strings.LastIndexByte(token, '.'):] }

// The rules are reported in the order in which Validate applies them, each once, regardless of which fail.
func TestExplainReportsEveryRule(t *testing.T) {
	issuer := validatortest.New(t)
	want := []string{"form", "typ", "alg", "kid", "key", "signature", "claims", "issuer", "audience", "lifetime", "iat", "nbf", "exp", "revocation", "scope"}
	x := validator.Explain(t.Context(), issuer.Mint(validatortest.Claims{"aud": "orders", "scope": "a b"}), validator.ExplainConfig{
		Issuer: issuer.URL(), Audiences: []string{"orders"}, Scopes: []string{"b"},
		Revoked: func(context.Context, *validator.Claims) (string, error) { return "sid s1", nil },
	})
	var rules []string
	for _, c := range x.Checks {
		rules = append(rules, c.Rule)
		if c.Rule == "revocation" != (c.Verdict == validator.Refused) || c.Detail == "" {
			t.Errorf("%+v", c)
		}
	}
	if !slices.Equal(rules, want) {
		t.Errorf("rules %v", rules)
	}
	if !strings.Contains(string(x.Claims), `"scope":"a b"`) || !strings.Contains(string(x.Header), `"typ":"at+jwt"`) {
		t.Errorf("decoded %s %s", x.Header, x.Claims)
	}
}

func TestExplainDoesNotPassWhatItCouldNotCheck(t *testing.T) {
	issuer := validatortest.New(t)
	token := issuer.Mint(validatortest.Claims{"aud": "orders"})
	x := validator.Explain(t.Context(), token, validator.ExplainConfig{
		Issuer: issuer.URL(), Revoked: func(context.Context, *validator.Claims) (string, error) { return "", errors.New("no server") },
	})
	unchecked := func() (rules []string) {
		for _, c := range x.Checks {
			if c.Verdict == validator.NotChecked {
				rules = append(rules, c.Rule)
			}
		}
		return rules
	}
	if got := unchecked(); x.Verdict() != validator.NotChecked || !slices.Equal(got, []string{"audience", "revocation"}) {
		t.Errorf("%s, unchecked %v", x.Verdict(), got)
	}
	issuer.SetHTTPDown(true)
	x = validator.Explain(t.Context(), token, validator.ExplainConfig{Issuer: issuer.URL(), Audiences: []string{"orders"}})
	if got := unchecked(); x.Verdict() != validator.NotChecked || !slices.Equal(got, []string{"key", "signature", "lifetime", "revocation"}) {
		t.Errorf("%s, unchecked %v", x.Verdict(), got)
	}
}
