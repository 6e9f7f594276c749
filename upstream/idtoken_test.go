package upstream_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/go-jose/go-jose/v4"

	"tokenbroker/broker"
	"tokenbroker/upstream"
)

// TestIDTokenIsProvenByAtHash checks that an id token with the at_hash of its access token is
// proven, and that claims of other kinds of token are refused in a token that is not proven.
func TestIDTokenIsProvenByAtHash(t *testing.T) {
	const access = "opaque"
	bound := map[string]any{"at_hash": atHash(access)}
	with := func(claims map[string]any, name string, value any) map[string]any {
		out := map[string]any{name: value}
		for k, v := range claims {
			out[k] = v
		}
		return out
	}
	for name, tc := range map[string]struct {
		typ    any
		claims map[string]any
		access string
		proven bool
		want   error
	}{
		"at_hash and its access token":    {claims: bound, access: access, proven: true},
		"only at_hash":                    {claims: bound},
		"an access token without at_hash": {access: access, want: broker.ErrUpstreamUnproven},
		"another access token":            {claims: bound, access: "other", want: broker.ErrUpstreamToken},
		"no at_hash":                      {},
		"Keycloak's typ ID":               {claims: map[string]any{"typ": "ID"}},
		"typ null":                        {claims: map[string]any{"typ": nil}},
		"Keycloak's typ Bearer":           {claims: with(bound, "typ", "Bearer"), access: access, want: broker.ErrUpstreamToken},
		"Keycloak's typ Refresh":          {claims: with(bound, "typ", "Refresh"), access: access, want: broker.ErrUpstreamToken},
		"a typ that is not text":          {claims: with(bound, "typ", []string{"ID"}), access: access, want: broker.ErrUpstreamToken},
		"token_use access":                {claims: with(bound, "token_use", "access"), access: access, want: broker.ErrUpstreamToken},
		"token_use id of a plain issuer":  {claims: map[string]any{"token_use": "id"}},
		"a header of an access token":     {typ: "at+jwt", claims: bound, access: access, want: broker.ErrUpstreamToken},
		"events":                          {claims: with(bound, "events", map[string]any{}), access: access, want: broker.ErrUpstreamToken},
		"scope":                           {claims: map[string]any{"scope": "openid"}, want: broker.ErrUpstreamToken},
		"scp":                             {claims: map[string]any{"scp": []string{"x"}}, want: broker.ErrUpstreamToken},
		"gty":                             {claims: map[string]any{"gty": "client-credentials"}, want: broker.ErrUpstreamToken},
		"cnf":                             {claims: map[string]any{"cnf": map[string]any{"jkt": "x"}}, want: broker.ErrUpstreamToken},
		"scope in a proven id token":      {claims: with(bound, "scope", []string{"openid"}), access: access, proven: true},
		"cnf in a proven id token":        {claims: with(bound, "cnf", map[string]any{"jkt": "x"}), access: access, proven: true},
		"claims that id tokens also have": {claims: map[string]any{"azp": "client", "client_id": "client", "jti": "1", "uti": "2", "ver": "2.0", "roles": []string{"r"}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				raw := signPayload(t, jose.RS256, "rsa", testKeys()["rsa"], tc.typ, encode(goodClaims(tc.claims)))
				id, err := newOP().provider(t, nil).VerifyTokens(t.Context(), broker.UpstreamTokens{IDToken: raw, AccessToken: tc.access})
				if !errors.Is(err, tc.want) || id.Proven != tc.proven || err == nil && id.Nonce != "nonce-1" {
					t.Errorf("proven %t, nonce %q, %v; want %t, %v", id.Proven, id.Nonce, err, tc.proven, tc.want)
				}
			})
		})
	}
}

// TestCognitosIDTokensAreProven checks that token_use proves them, also with claims that a pool's
// triggers add.
func TestCognitosIDTokensAreProven(t *testing.T) {
	for use, want := range map[any]error{"id": nil, "access": broker.ErrUpstreamToken, nil: broker.ErrUpstreamToken, true: broker.ErrUpstreamToken} {
		raw := signed(t, map[string]any{"token_use": use, "scope": "of the pool's own"})
		p := newOP().provider(t, func(c *upstream.Config) { c.Kind = upstream.KindCognito })
		if id, err := p.VerifyTokens(t.Context(), broker.UpstreamTokens{IDToken: raw}); !errors.Is(err, want) || id.Proven != (want == nil) {
			t.Errorf("token_use %v: proven %t, %v", use, id.Proven, err)
		}
	}
}

// TestCognitosAccessTokenIsReadStrictly checks that the access token is read as strictly as the id
// token.
func TestCognitosAccessTokenIsReadStrictly(t *testing.T) {
	p := newOP().provider(t, func(c *upstream.Config) { c.Kind = upstream.KindCognito })
	id := signed(t, map[string]any{"token_use": "id", "cognito:username": "ada", "origin_jti": "o"})
	for more, want := range map[string]error{
		``: nil, `,"Client_Id":"client"`: broker.ErrUpstreamToken, `,"Sub":"eve"`: broker.ErrUpstreamToken, `,"sub":"ada-1"`: broker.ErrUpstreamToken,
		`,"uſername":"eve"`: broker.ErrUpstreamToken,
	} {
		claims := encode(map[string]any{
			"iss": issuerURL, "sub": "ada-1", "token_use": "access", "client_id": "client", "username": "ada", "origin_jti": "o", "exp": 1 << 40,
		})
		access := signPayload(t, jose.RS256, "rsa", testKeys()["rsa"], nil, append(claims[:len(claims)-1], more+"}"...))
		if _, err := p.VerifyTokens(t.Context(), broker.UpstreamTokens{IDToken: id, AccessToken: access}); !errors.Is(err, want) {
			t.Errorf("with %s: %v", more, err)
		}
	}
}

// TestExchangeIsOffByDefault checks that a refused exchange makes no request.
func TestExchangeIsOffByDefault(t *testing.T) {
	o := newOP()
	p := o.provider(t, func(c *upstream.Config) { c.Exchange = false })
	if _, err := p.VerifyTokens(t.Context(), broker.UpstreamTokens{IDToken: signed(t, nil)}); !errors.Is(err, broker.ErrExchangeDisabled) {
		t.Errorf("got %v", err)
	}
	if n := o.asked("/jwks") + o.asked("/.well-known/openid-configuration"); n != 0 {
		t.Errorf("%d requests to the provider", n)
	}
}
