package devidp_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"

	"tokenbroker/upstream/devidp"
)

// TestTokenEndpointRefuses checks requests that differ from the valid one in one parameter.
func TestTokenEndpointRefuses(t *testing.T) {
	var ahead atomic.Int64
	_, issuer := newPoolAt(t, func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) })
	_, conf := publicClient(t, issuer)
	v := newVisitor(t, issuer)
	verifier := oauth2.GenerateVerifier()
	for name, tt := range map[string]struct {
		change func(url.Values)
		later  time.Duration
		status int
		code   string
	}{
		"nothing":                                  {status: http.StatusOK},
		"a code of 4 minutes":                      {later: 4 * time.Minute, status: http.StatusOK},
		"a code of 5 minutes":                      {later: 5 * time.Minute, status: 400, code: "invalid_grant"},
		"wrong verifier":                           {change: set("code_verifier", oauth2.GenerateVerifier()), status: 400, code: "invalid_grant"},
		"no verifier":                              {change: set("code_verifier", ""), status: 400, code: "invalid_grant"},
		"the challenge itself":                     {change: set("code_verifier", oauth2.S256ChallengeFromVerifier(verifier)), status: 400, code: "invalid_grant"},
		"another redirect URI":                     {change: set("redirect_uri", redirectURI+"x"), status: 400, code: "invalid_grant"},
		"no redirect URI":                          {change: set("redirect_uri", ""), status: 400, code: "invalid_request"},
		"another code":                             {change: set("code", "guess"), status: 400, code: "invalid_grant"},
		"no code":                                  {change: set("code", ""), status: 400, code: "invalid_request"},
		"a repeated parameter":                     {change: func(f url.Values) { f.Add("code", "other") }, status: 400, code: "invalid_request"},
		"unknown client":                           {change: set("client_id", "unknown"), status: 400, code: "invalid_client"},
		"a secret of a public client":              {change: set("client_secret", "x"), status: 400, code: "invalid_client"},
		"a confidential client without its secret": {change: set("client_id", "backend"), status: 400, code: "invalid_client"},
		"the code of another":                      {change: func(f url.Values) { f.Set("client_id", "backend"); f.Set("client_secret", "s3cr+t%41") }, status: 400, code: "invalid_grant"},
		"an unsupported grant":                     {change: set("grant_type", "password"), status: 400, code: "unsupported_grant_type"},
		"an unknown refresh":                       {change: func(f url.Values) { f.Set("grant_type", "refresh_token"); f.Set("refresh_token", "x") }, status: 400, code: "invalid_grant"},
		"a body over 64 KiB":                       {change: set("pad", strings.Repeat("x", 64<<10)), status: 413, code: "invalid_request"},
	} {
		t.Run(name, func(t *testing.T) {
			ahead.Store(0)
			form := url.Values{
				"grant_type": {"authorization_code"}, "client_id": {"dev-client"}, "redirect_uri": {redirectURI}, "code_verifier": {verifier},
				"code": {signIn(t, conf.AuthCodeURL("s", oauth2.S256ChallengeOption(verifier)))},
			}
			if tt.change != nil {
				tt.change(form)
			}
			ahead.Store(int64(tt.later))
			resp, body := v.do(http.MethodPost, v.base+"/oauth2/token", form)
			var answer struct {
				Error  string `json:"error"`
				Access string `json:"access_token"`
			}
			if err := json.Unmarshal([]byte(body), &answer); err != nil {
				t.Fatalf("%v: %s", err, body)
			}
			if resp.StatusCode != tt.status || answer.Error != tt.code || (answer.Access != "") != (tt.status == http.StatusOK) {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
			if again, body := v.do(http.MethodPost, v.base+"/oauth2/token", form); again.StatusCode < 400 {
				t.Errorf("the second request: %d %s", again.StatusCode, body)
			}
		})
	}
}

func set(name, value string) func(url.Values) { return func(f url.Values) { f.Set(name, value) } }

func TestRevokeOfAnotherClient(t *testing.T) {
	pool, issuer := newPool(t)
	v := newVisitor(t, issuer)
	tokens, err := pool.TokensFor("ada", "dev-client")
	if err != nil {
		t.Fatal(err)
	}
	foreign := url.Values{"client_id": {"backend"}, "client_secret": {"s3cr+t%41"}, "token": {tokens.Refresh}}
	if resp, body := v.do(http.MethodPost, v.base+"/oauth2/revoke", foreign); resp.StatusCode != 400 || !strings.Contains(body, "unauthorized_client") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if resp, body := v.do(http.MethodPost, v.base+"/oauth2/token", url.Values{
		"grant_type": {"refresh_token"}, "client_id": {"dev-client"}, "refresh_token": {tokens.Refresh},
	}); resp.StatusCode != http.StatusOK || strings.Contains(body, `"refresh_token"`) {
		t.Errorf("a refresh: %d %s", resp.StatusCode, body)
	}
}

// TestClaims compares the two tokens with the form that AWS documents.
func TestClaims(t *testing.T) {
	pool, issuer := newPool(t)
	tokens, err := pool.TokensFor("ada", "dev-client")
	if err != nil {
		t.Fatal(err)
	}
	id, access := claimsOf(t, tokens.ID), claimsOf(t, tokens.Access)
	common := []string{"auth_time", "cognito:groups", "event_id", "exp", "iat", "iss", "jti", "origin_jti", "sub", "token_use"}
	for name, tt := range map[string]struct {
		claims map[string]any
		own    []string
		want   map[string]any
	}{
		"id": {id, []string{"at_hash", "aud", "cognito:username", "email", "email_verified"}, map[string]any{
			"aud": "dev-client", "token_use": "id", "cognito:username": "ada", "email_verified": true, "iss": issuer,
		}},
		"access": {access, []string{"client_id", "scope", "username", "version"}, map[string]any{
			"client_id": "dev-client", "token_use": "access", "username": "ada", "version": 2.0, "iss": issuer,
		}},
	} {
		want := slices.Sorted(slices.Values(append(slices.Clone(common), tt.own...)))
		if got := slices.Sorted(maps.Keys(tt.claims)); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
		for claim, value := range tt.want {
			if tt.claims[claim] != value {
				t.Errorf("%s: %s is %v, want %v", name, claim, tt.claims[claim], value)
			}
		}
		if life := tt.claims["exp"].(float64) - tt.claims["iat"].(float64); life != 3600 {
			t.Errorf("%s lives %v s", name, life)
		}
		if fmt.Sprint(tt.claims["cognito:groups"]) != "[staff]" {
			t.Errorf("%s: groups %v", name, tt.claims["cognito:groups"])
		}
	}
	if id["origin_jti"] != access["origin_jti"] || id["sub"] != access["sub"] || id["jti"] == access["jti"] {
		t.Error("the two tokens are not from one sign-in")
	}
}

func claimsOf(t *testing.T, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("not a compact JWS: %q", token)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

// TestRotateKeys checks that there are always two keys, and that the second one signs next.
func TestRotateKeys(t *testing.T) {
	pool, issuer := newPool(t)
	before := kids(t, issuer)
	if err := pool.RotateKeys(); err != nil {
		t.Fatal(err)
	}
	after := kids(t, issuer)
	if len(before) != 2 || len(after) != 2 || after[0] != before[1] || after[1] == before[0] {
		t.Fatalf("%v, then %v", before, after)
	}
	tokens, err := pool.TokensFor("ada", "dev-client")
	if err != nil {
		t.Fatal(err)
	}
	header, err := base64.RawURLEncoding.DecodeString(tokens.ID[:strings.Index(tokens.ID, ".")])
	if err != nil || !strings.Contains(string(header), `"`+after[0]+`"`) {
		t.Errorf("signed by %s, %v; want %s", header, err, after[0])
	}
}

func kids(t *testing.T, issuer string) []string {
	t.Helper()
	_, body := get(t, issuer+"/.well-known/jwks.json")
	var set struct {
		Keys []struct{ Kid, Kty, Alg, Use string }
	}
	if err := json.Unmarshal([]byte(body), &set); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, k := range set.Keys {
		if k.Kty != "RSA" || k.Alg != "RS256" || k.Use != "sig" {
			t.Errorf("key %+v", k)
		}
		out = append(out, k.Kid)
	}
	return out
}

func TestTransportFaults(t *testing.T) {
	pool, issuer := newPool(t)
	discovery := issuer + "/.well-known/openid-configuration"
	pool.Set(devidp.Faults{Down: true})
	if status, _ := get(t, discovery); status != http.StatusServiceUnavailable {
		t.Errorf("down: %d", status)
	}
	pool.Set(devidp.Faults{Oversized: true})
	if _, body := get(t, discovery); len(body) < 2<<20 {
		t.Errorf("oversized: %d bytes", len(body))
	}
	pool.Set(devidp.Faults{})
	if status, _ := get(t, discovery); status != http.StatusOK {
		t.Errorf("after the fault ended: %d", status)
	}
}

func TestSlowPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool, err := devidp.New(devidp.Config{Issuer: "http://127.0.0.1:9090/pool", Users: devidp.DevUsers()})
		if err != nil {
			t.Fatal(err)
		}
		pool.Set(devidp.Faults{Slow: 30 * time.Second})
		start := time.Now()
		answer := httptest.NewRecorder()
		pool.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/pool/.well-known/openid-configuration", nil))
		if took := time.Since(start); answer.Code != http.StatusOK || took != 30*time.Second {
			t.Errorf("%d after %v", answer.Code, took)
		}
	})
}

func TestConfigIsRefused(t *testing.T) {
	for name, cfg := range map[string]devidp.Config{
		"no issuer":               {},
		"no pool":                 {Issuer: "http://127.0.0.1:9090"},
		"a longer path":           {Issuer: "http://127.0.0.1:9090/a/b"},
		"a client without id":     {Issuer: "http://127.0.0.1:9090/a", Clients: []devidp.Client{{}}},
		"two clients with one id": {Issuer: "http://127.0.0.1:9090/a", Clients: []devidp.Client{{ID: "a"}, {ID: "a"}}},
	} {
		if _, err := devidp.New(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestAnyLoopbackAcceptsNoOtherHost(t *testing.T) {
	pool, err := devidp.New(devidp.Config{
		Issuer: "http://127.0.0.1:9090/us-east-1_devpool01", Users: devidp.DevUsers(),
		Clients: []devidp.Client{{ID: "dev-client", AnyLoopback: true, RedirectURIs: []string{"https://app.test/callback"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	status := func(path, parameter, uri string) int {
		query := url.Values{"client_id": {"dev-client"}, "response_type": {"code"}, parameter: {uri},
			"code_challenge": {strings.Repeat("c", 43)}, "code_challenge_method": {"S256"}}
		w := httptest.NewRecorder()
		pool.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path+"?"+query.Encode(), nil))
		return w.Code
	}
	for uri, accepted := range map[string]bool{
		"http://127.0.0.1:8080/auth/callback/cognito/": true, "http://localhost:5173/auth/callback/corp/": true,
		"http://[::1]/": true, "https://localhost:8443/x?y=1": true,
		"http://localhost.evil.example/": false, "http://127.0.0.2/": false, "http://localhost@evil.example/": false, "http://evil.example/": false,
		`http://evil.example\@localhost/`: false, "//localhost/": false, "/": false, "javascript://localhost/%0aalert(1)": false, "": false,
		"http://localhost/#x": false, "http://localhost/ x": false,
	} {
		want := map[bool]int{true: http.StatusFound, false: http.StatusBadRequest}[accepted]
		if got := status("/oauth2/authorize", "redirect_uri", uri); got != want {
			t.Errorf("redirect_uri %q: %d, want %d", uri, got, want)
		}
		if got := status("/logout", "logout_uri", uri); got != want {
			t.Errorf("logout_uri %q: %d, want %d", uri, got, want)
		}
	}
	if got := status("/oauth2/authorize", "redirect_uri", "https://app.test/callback"); got != http.StatusFound {
		t.Errorf("a registered redirect_uri: %d", got)
	}
}
