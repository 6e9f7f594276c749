package upstream_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"tokenbroker/broker"
	"tokenbroker/upstream"
)

// noSecret fails the test if a text that leaves the package contains one of the secrets.
func noSecret(t *testing.T, text string, secrets ...string) {
	t.Helper()
	for _, s := range secrets {
		if s != "" && strings.Contains(text, s) {
			t.Errorf("%q contains %q", text, s)
		}
	}
}

func TestIdentityOfAPlainIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOP()
		access := "opaque-access-token"
		id, err := o.provider(t, nil).VerifyTokens(t.Context(), broker.UpstreamTokens{
			AccessToken: access,
			IDToken: signed(t, map[string]any{
				"at_hash": atHash(access), "email_verified": "true", "groups": "not a list", "amr": []string{"pwd", "otp"},
				"auth_time": 946684000, "acr": "urn:mfa", "sid": "s-1", "department": "engines",
			}),
		})
		if err != nil {
			t.Fatal(err)
		}
		if id.Provider != "op" || id.Issuer != issuerURL || id.Subject != "ada-1" || id.Username != "ada" || !id.EmailVerified ||
			id.Groups != nil || !slices.Equal(id.AMR, []string{"pwd", "otp"}) || id.AuthTime.Unix() != 946684000 ||
			id.ACR != "urn:mfa" || id.UpstreamSID != "s-1" || len(id.TokenHash) != 64 || !id.ExpiresAt.Equal(time.Now().Add(time.Hour)) {
			t.Errorf("identity %+v", id)
		}
		if id.Attributes["department"] != "engines" || id.Attributes["at_hash"] != nil {
			t.Errorf("attributes %v", id.Attributes)
		}
	})
}

func TestTokensOfAPlainIssuerRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		claims map[string]any
		access string
		want   error
	}{
		"wrong issuer with right keys":                 {claims: map[string]any{"iss": "https://other.test"}, want: broker.ErrUpstreamToken},
		"for another client":                           {claims: map[string]any{"aud": "other"}, want: broker.ErrUpstreamToken},
		"for several clients without azp":              {claims: map[string]any{"aud": []string{"client", "other"}}, want: broker.ErrUpstreamToken},
		"azp is another client":                        {claims: map[string]any{"azp": "other"}, want: broker.ErrUpstreamToken},
		"azp of a wrong type":                          {claims: map[string]any{"azp": 7}, want: broker.ErrUpstreamToken},
		"no subject":                                   {claims: map[string]any{"sub": nil}, want: broker.ErrUpstreamToken},
		"no iat":                                       {claims: map[string]any{"iat": nil}, want: broker.ErrUpstreamToken},
		"issued in the future":                         {claims: map[string]any{"iat": 946684800 + 120}, want: broker.ErrUpstreamToken},
		"expired":                                      {claims: map[string]any{"exp": 946684800 - 1}, want: broker.ErrUpstreamExpired},
		"old but unexpired":                            {claims: map[string]any{"iat": 946684800 - 601}, want: broker.ErrUpstreamExpired},
		"e-mail unverified":                            {claims: map[string]any{"email_verified": false}, want: broker.ErrEmailNotVerified},
		"e-mail unverified as a string":                {claims: map[string]any{"email_verified": "false"}, want: broker.ErrEmailNotVerified},
		"email_verified missing":                       {claims: map[string]any{"email_verified": nil}, want: broker.ErrEmailNotVerified},
		"email_verified in another case":               {claims: map[string]any{"email_verified": nil, "Email_Verified": true}, want: broker.ErrEmailNotVerified},
		"access token of another sign-in":              {claims: map[string]any{"at_hash": atHash("mine")}, access: "not-mine", want: broker.ErrUpstreamToken},
		"access token without at_hash in the id token": {access: "somebody-s", want: broker.ErrUpstreamToken},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				raw := signed(t, tc.claims)
				o := newOP()
				_, err := o.provider(t, nil).VerifyTokens(t.Context(), broker.UpstreamTokens{IDToken: raw, AccessToken: tc.access})
				if !errors.Is(err, tc.want) {
					t.Fatalf("got %v, want %v", err, tc.want)
				}
				noSecret(t, err.Error()+o.logs.String(), raw, strings.Split(raw, ".")[1], tc.access)
			})
		})
	}
}

func TestTokensAtTheLimitsAreAccepted(t *testing.T) {
	for name, claims := range map[string]map[string]any{
		"ten minutes old":              {"iat": 946684800 - 600},
		"no e-mail at all":             {"email": nil, "email_verified": nil},
		"several clients, azp is ours": {"aud": []string{"client", "other"}, "azp": "client"},
		"an allow-listed client's":     {"aud": "spa", "azp": "spa"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newOP().provider(t, func(c *upstream.Config) { c.AllowedClientIDs = []string{"spa"} })
				if _, err := p.VerifyTokens(t.Context(), broker.UpstreamTokens{IDToken: signed(t, claims)}); err != nil {
					t.Error(err)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		p := newOP().provider(t, func(c *upstream.Config) { c.SkipEmailVerifiedCheck = true })
		id, err := p.VerifyTokens(t.Context(), broker.UpstreamTokens{IDToken: signed(t, map[string]any{"email_verified": nil})})
		if err != nil || id.EmailVerified {
			t.Errorf("with the check skipped: %+v, %v", id, err)
		}
	})
}

func TestCodeFlowRefusesTokensOfAllowListedClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOP()
		o.answer("/token", status(200, `{"access_token":"a","token_type":"Bearer","id_token":"`+signed(t, map[string]any{"aud": "spa"})+`"}`))
		p := o.provider(t, func(c *upstream.Config) { c.AllowedClientIDs = []string{"spa"} })
		if _, err := p.Exchange(t.Context(), broker.CodeExchange{Code: "c", Nonce: "nonce-1"}); !errors.Is(err, broker.ErrUpstreamToken) {
			t.Errorf("got %v", err)
		}
	})
}

// TestTokenEndpoint checks the error for each response of the token endpoint, that the code is sent
// once, and that errors and logs do not contain the code or the response.
func TestTokenEndpoint(t *testing.T) {
	const code, verifier = "c0de-of-the-user", "verifier-of-the-browser-0123456789-0123456789"
	good := func(t *testing.T, claims map[string]any) string {
		return `{"access_token":"acc3ss","token_type":"Bearer","id_token":"` + signed(t, claims) + `"}`
	}
	for name, tc := range map[string]struct {
		answer func(t *testing.T) func(*http.Request) (int, []byte)
		nonce  string
		want   error
	}{
		"good": {answer: func(t *testing.T) func(*http.Request) (int, []byte) {
			return status(200, good(t, map[string]any{"at_hash": atHash("acc3ss")}))
		}},
		"at_hash of another access token": {answer: func(t *testing.T) func(*http.Request) (int, []byte) {
			return status(200, good(t, map[string]any{"at_hash": atHash("other")}))
		}, want: broker.ErrUpstreamToken},
		"another nonce": {answer: func(t *testing.T) func(*http.Request) (int, []byte) {
			return status(200, good(t, map[string]any{"nonce": "nonce-2"}))
		}, want: broker.ErrUpstreamToken},
		"no nonce on either side": {answer: func(t *testing.T) func(*http.Request) (int, []byte) {
			return status(200, good(t, map[string]any{"nonce": nil}))
		}, nonce: "none", want: broker.ErrUpstreamToken},
		"invalid_grant":  {answer: fixed(400, `{"error":"invalid_grant","error_description":"b0dy"}`), want: broker.ErrUpstreamCode},
		"invalid_client": {answer: fixed(401, `{"error":"invalid_client","error_description":"b0dy"}`), want: broker.ErrUpstreamCode},
		"made-up error":  {answer: fixed(400, `{"error":"b0dy"}`), want: broker.ErrUpstreamCode},
		"no id token":    {answer: fixed(200, `{"access_token":"acc3ss","token_type":"Bearer"}`), want: broker.ErrUpstreamCode},
		"redirect":       {answer: fixed(307, ``), want: broker.ErrUpstreamCode},
		"rate limited":   {answer: fixed(429, `b0dy`), want: broker.ErrUpstreamUnavailable},
		"broken":         {answer: fixed(502, `b0dy`), want: broker.ErrUpstreamUnavailable},
		"not JSON":       {answer: fixed(200, `b0dy`), want: broker.ErrUpstreamUnavailable},
		"oversized":      {answer: fixed(200, strings.Repeat("b0dy", 1<<19)), want: broker.ErrUpstreamUnavailable},
		"slow": {answer: func(*testing.T) func(*http.Request) (int, []byte) { return hang },
			want: broker.ErrUpstreamUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOP()
				o.answer("/token", tc.answer(t))
				nonce := "nonce-1"
				if tc.nonce == "none" {
					nonce = ""
				}
				start := time.Now()
				_, err := o.provider(t, nil).Exchange(t.Context(), broker.CodeExchange{
					Code: code, RedirectURI: redirectURI, Verifier: verifier, Nonce: nonce, Issuer: issuerURL,
				})
				if !errors.Is(err, tc.want) {
					t.Fatalf("got %v, want %v", err, tc.want)
				}
				if n := o.asked("/token"); n != 1 || o.asked("/") != 0 {
					t.Errorf("the code was sent %d times, elsewhere %d times", n, o.asked("/"))
				}
				if time.Since(start) > 5*time.Second {
					t.Errorf("took %v", time.Since(start))
				}
				noSecret(t, fmt.Sprint(err)+o.logs.String(), code, verifier, "s3cret-of-ours", "b0dy", "acc3ss")
			})
		})
	}
}

func fixed(code int, body string) func(*testing.T) func(*http.Request) (int, []byte) {
	return func(*testing.T) func(*http.Request) (int, []byte) { return status(code, body) }
}

func TestClientAuthentication(t *testing.T) {
	for name, tc := range map[string]struct {
		secret  string
		methods []string
		basic   bool
	}{
		"a secret":                           {secret: "x", basic: true},
		"a secret, post and basic supported": {secret: "x", methods: []string{"client_secret_post", "client_secret_basic"}, basic: true},
		"a secret, only post supported":      {secret: "x", methods: []string{"client_secret_post"}},
		"a public client":                    {},
		"a public client, basic supported":   {methods: []string{"client_secret_basic"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOP()
			if tc.methods != nil {
				o.discovery["token_endpoint_auth_methods_supported"] = tc.methods
			}
			p := o.provider(t, func(c *upstream.Config) { c.ClientSecret = tc.secret })
			_, _ = p.Exchange(t.Context(), broker.CodeExchange{Code: "c", Nonce: "n"})
			if len(o.basic) != 1 || (o.basic[0] != "") != tc.basic || strings.Contains(o.requests["/token"][0], "client_id=client") == tc.basic {
				t.Errorf("Authorization %q, body %q", o.basic, o.requests["/token"])
			}
		})
	}
}

// TestIssuerOfTheAuthorizationResponse checks that a provider that announces the iss parameter must
// send it with the right value (RFC 9207 §2.4).
func TestIssuerOfTheAuthorizationResponse(t *testing.T) {
	for name, tc := range map[string]struct {
		promised bool
		iss      string
		refused  bool
	}{
		"announced and missing":      {promised: true, refused: true},
		"announced and another":      {promised: true, iss: "https://other.test", refused: true},
		"announced and right":        {promised: true, iss: issuerURL},
		"not announced and another":  {iss: "https://other.test", refused: true},
		"neither announced nor sent": {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOP()
				o.discovery["authorization_response_iss_parameter_supported"] = tc.promised
				o.answer("/token", status(200, `{"access_token":"a","token_type":"Bearer","id_token":"`+signed(t, nil)+`"}`))
				_, err := o.provider(t, nil).Exchange(t.Context(), broker.CodeExchange{Code: "c", Nonce: "nonce-1", Issuer: tc.iss})
				if errors.Is(err, broker.ErrUpstreamCode) != tc.refused || !tc.refused && err != nil {
					t.Errorf("got %v", err)
				}
				if tc.refused && o.asked("/token") != 0 {
					t.Error("the code was sent")
				}
			})
		})
	}
}

func TestKeysOfOtherKinds(t *testing.T) {
	keys := testKeys()
	odd := []any{
		json.RawMessage(`{"kty":"EC","crv":"secp256k1","kid":"odd","x":"AA","y":"AA"}`), json.RawMessage(`{"kty":"what"}`), json.RawMessage(`7`),
		json.RawMessage(`{"kty":"oct","kid":"oct","k":"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"}`),
		jose.JSONWebKey{Key: keys["rsa2"].Public(), KeyID: "enc", Use: "enc"},
		jose.JSONWebKey{Key: keys["rsa2"].Public(), KeyID: "pinned", Algorithm: "PS256"},
		jose.JSONWebKey{Key: keys["ec"].Public(), KeyID: "ec"}, jose.JSONWebKey{Key: keys["ed"].Public(), KeyID: "ed"},
	}
	for name, tc := range map[string]struct {
		alg jose.SignatureAlgorithm
		kid string
		key any
		ok  bool
	}{
		"RS256":                          {jose.RS256, "rsa", keys["rsa"], true},
		"ES256":                          {jose.ES256, "ec", keys["ec"], true},
		"EdDSA":                          {jose.EdDSA, "ed", keys["ed"], true},
		"PS256 as pinned":                {jose.PS256, "pinned", keys["rsa2"], true},
		"RS256 under a key for PS256":    {jose.RS256, "pinned", keys["rsa2"], false},
		"PS256 under a key for RS256":    {jose.PS256, "rsa", keys["rsa"], false},
		"RS512, not in the allow-list":   {jose.RS512, "rsa", keys["rsa"], false},
		"a key for encryption":           {jose.RS256, "enc", keys["rsa2"], false},
		"HS256 under a published secret": {jose.HS256, "oct", []byte("secret-secret-secret-secret-secret"), false},
		"another key under a known kid":  {jose.RS256, "rsa", keys["rsa2"], false},
		"ES256 under an RSA key's kid":   {jose.ES256, "rsa", keys["ec"], false},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOP()
			o.jwks = append(o.jwks, odd...)
			_, err := o.provider(t, nil).VerifyTokens(t.Context(),
				broker.UpstreamTokens{IDToken: sign(t, tc.alg, tc.kid, tc.key, goodClaims(nil))})
			if tc.ok && err != nil || !tc.ok && !errors.Is(err, broker.ErrUpstreamToken) {
				t.Errorf("got %v", err)
			}
			if n := o.asked("/jwks"); n > 1 {
				t.Errorf("the keys were fetched %d times", n)
			}
		})
	}
}

func TestKeysAreAddedAndWithdrawn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOP()
		p := o.provider(t, nil)
		verify := func(kid string) error {
			_, err := p.VerifyTokens(t.Context(), broker.UpstreamTokens{IDToken: sign(t, jose.RS256, kid, testKeys()[kid], goodClaims(nil))})
			return err
		}
		if err := verify("rsa"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Second)
		o.answer("/jwks", status(503, ""))
		if err := verify("rsa2"); !errors.Is(err, broker.ErrUpstreamUnavailable) {
			t.Errorf("an unknown kid while the provider is down: %v", err)
		}
		if err := verify("rsa"); err != nil {
			t.Errorf("a known key while the provider is down: %v", err)
		}
		time.Sleep(11 * time.Second)
		o.mu.Lock()
		delete(o.answers, "/jwks")
		o.jwks = []any{jose.JSONWebKey{Key: testKeys()["rsa2"].Public(), KeyID: "rsa2"}}
		o.mu.Unlock()
		if err := verify("rsa2"); err != nil {
			t.Errorf("the new key: %v", err)
		}
		if err := verify("rsa"); !errors.Is(err, broker.ErrUpstreamToken) {
			t.Errorf("the replaced key: %v", err)
		}
		o.mu.Lock()
		o.jwks = []any{jose.JSONWebKey{Key: testKeys()["ec"].Public(), KeyID: "ec"}}
		o.mu.Unlock()
		time.Sleep(61 * time.Minute)
		if err := verify("rsa2"); !errors.Is(err, broker.ErrUpstreamToken) {
			t.Errorf("a key that was withdrawn an hour ago: %v", err)
		}
	})
}

// TestConcurrentVerificationsShareOneFetch checks that they share one fetch of the discovery
// document and one of the keys. The first caller stops waiting, which does not affect the others.
func TestConcurrentVerificationsShareOneFetch(t *testing.T) {
	for name, discovered := range map[string]bool{"discovery": false, "keys": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOP()
				slow := func(body any) func(*http.Request) (int, []byte) {
					return func(*http.Request) (int, []byte) { time.Sleep(2 * time.Second); return 200, encode(body) }
				}
				p := o.provider(t, nil)
				if discovered {
					if _, err := p.AuthorizeURL(t.Context(), authorizeRequest()); err != nil {
						t.Fatal(err)
					}
				}
				o.answer("/.well-known/openid-configuration", slow(o.discovery))
				o.answer("/jwks", slow(map[string]any{"keys": o.jwks}))
				raw := signed(t, nil)
				impatient, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				defer cancel()
				var all sync.WaitGroup
				all.Go(func() {
					_, err := p.VerifyTokens(impatient, broker.UpstreamTokens{IDToken: raw})
					if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, broker.ErrUpstreamUnavailable) {
						t.Errorf("the caller that stopped waiting: %v", err)
					}
				})
				synctest.Wait()
				for range 50 {
					all.Go(func() {
						if _, err := p.VerifyTokens(t.Context(), broker.UpstreamTokens{IDToken: raw}); err != nil {
							t.Errorf("a caller that waited: %v", err)
						}
					})
				}
				all.Wait()
				if d, k := o.asked("/.well-known/openid-configuration"), o.asked("/jwks"); d != 1 || k != 1 {
					t.Errorf("%d discoveries, %d fetches of keys", d, k)
				}
			})
		})
	}
}

func TestFailedDiscovery(t *testing.T) {
	for name, answer := range map[string]func(*http.Request) (int, []byte){
		"slow":               hang,
		"oversized":          status(200, `{"pad":"`+strings.Repeat("x", 2<<20)+`"}`),
		"a large error page": status(500, strings.Repeat("x", 1<<19)),
		"another issuer's":   status(200, `{"issuer":"https://other.test","jwks_uri":"https://other.test/jwks"}`),
		"plain http keys":    endpoints("jwks_uri", "http://op.test/jwks"),
		"plain http tokens":  endpoints("token_endpoint", "http://op.test/token"),
		"a javascript URL":   endpoints("authorization_endpoint", "javascript:alert(1)"),
		"plain http log-out": endpoints("end_session_endpoint", "http://op.test/logout"),
		"no endpoints":       status(200, `{"issuer":"`+issuerURL+`"}`),
		"not JSON":           status(200, `<html>`),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOP()
				o.answer("/.well-known/openid-configuration", answer)
				p := o.provider(t, nil)
				_, err := p.AuthorizeURL(t.Context(), authorizeRequest())
				if !errors.Is(err, broker.ErrUpstreamUnavailable) || len(err.Error()) > 400 {
					t.Errorf("got %.500v", err)
				}
				if len(o.logs.String()) > 600 {
					t.Errorf("%d bytes logged", o.logs.Len())
				}
				start := time.Now()
				time.Sleep(2 * time.Second)
				if to := p.LogoutURL(t.Context(), "https://app.test/"); to != "" || p.Ready(t.Context()) || time.Since(start) > 4*time.Second {
					t.Errorf("log-out page %q after %v", to, time.Since(start))
				}
				synctest.Wait()
				time.Sleep(6 * time.Second) // pending requests end
				o.answer("/.well-known/openid-configuration", nil)
				time.Sleep(2 * time.Second)
				if _, err := p.AuthorizeURL(t.Context(), authorizeRequest()); err != nil || !p.Ready(t.Context()) {
					t.Errorf("after the provider recovered: %v", err)
				}
			})
		})
	}
}

// endpoints answers the discovery document with one member changed.
func endpoints(name, text string) func(*http.Request) (int, []byte) {
	doc := maps.Clone(newOP().discovery)
	doc[name] = text
	return status(200, string(encode(doc)))
}

func TestAuthorizeAndLogoutURLs(t *testing.T) {
	p := newOP().provider(t, nil)
	to, err := p.AuthorizeURL(t.Context(), authorizeRequest())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"response_type=code", "code_challenge_method=S256", "code_challenge=", "state=state-1", "nonce=nonce-1", "client_id=client", "scope=openid+email+profile"} {
		if !strings.Contains(to, want) {
			t.Errorf("%s lacks %s", to, want)
		}
	}
	noSecret(t, to, authorizeRequest().Verifier, "s3cret-of-ours")
	want := issuerURL + "/logout?client_id=client&post_logout_redirect_uri=https%3A%2F%2Fapp.test%2F&theme=dark"
	if got := p.LogoutURL(t.Context(), "https://app.test/"); got != want {
		t.Errorf("log-out page %s", got)
	}
}

func TestConfigRefused(t *testing.T) {
	for name, change := range map[string]func(*upstream.Config){
		"no name": func(c *upstream.Config) { c.Name = "" }, "no client": func(c *upstream.Config) { c.ClientID = "" },
		"relative issuer": func(c *upstream.Config) { c.Issuer = "/pool" }, "another scheme": func(c *upstream.Config) { c.Issuer = "ftp://op.test" },
		"unknown kind": func(c *upstream.Config) { c.Kind = "saml" },
		"plain http":   func(c *upstream.Config) { c.Issuer = "http://op.test" }, "no host": func(c *upstream.Config) { c.Issuer = "https://:443" },
		"a user":  func(c *upstream.Config) { c.Issuer = "https://me:s3cret@op.test" },
		"a query": func(c *upstream.Config) { c.Issuer = "https://op.test?" }, "a fragment": func(c *upstream.Config) { c.Issuer = "https://op.test#" },
		"a host that starts like loopback": func(c *upstream.Config) { c.Issuer = "http://127.0.0.1.evil.test" },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := upstream.Config{Name: "op", Issuer: issuerURL, ClientID: "client"}
			change(&cfg)
			_, err := upstream.New(cfg)
			if err == nil {
				t.Error("no error")
			}
			noSecret(t, fmt.Sprint(err), "s3cret")
		})
	}
	for _, issuer := range []string{"http://localhost:9000/pool", "http://127.0.0.2", "http://[::1]:9000", "https://op.test:8443/pool"} {
		if _, err := upstream.New(upstream.Config{Name: "op", Issuer: issuer, ClientID: "client"}); err != nil {
			t.Errorf("%s: %v", issuer, err)
		}
	}
	if got := upstream.CognitoIssuer("eu-west-1", "eu-west-1_abc"); got != "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_abc" {
		t.Errorf("issuer %s", got)
	}
}
