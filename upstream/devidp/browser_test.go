package devidp_test

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"tokenbroker/upstream/devidp"
)

// visitor is a browser at the pool. It has a cookie jar and does not follow redirects to the client.
type visitor struct {
	t    *testing.T
	http *http.Client
	base string
}

func newVisitor(t *testing.T, issuer string) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	base := issuer[:strings.LastIndex(issuer, "/")]
	return &visitor{t: t, base: base, http: &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if !strings.HasPrefix(r.URL.String(), base) {
			return http.ErrUseLastResponse
		}
		return nil
	}}}
}

// do returns the response, whose body is closed, and its content.
func (v *visitor) do(method, target string, form url.Values, headers ...string) (*http.Response, string) {
	v.t.Helper()
	req, err := http.NewRequestWithContext(v.t.Context(), method, target, strings.NewReader(form.Encode()))
	if err != nil {
		v.t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := v.http.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return resp, string(body)
}

// code returns the code in the redirect to the client.
func (v *visitor) code(resp *http.Response) string {
	v.t.Helper()
	to, err := resp.Location()
	if err != nil || to.Query().Get("code") == "" || to.Query().Get("state") != "s" {
		v.t.Fatalf("%d, to %v, %v: want a code and the state", resp.StatusCode, to, err)
	}
	return to.Query().Get("code")
}

// publicClient returns the x/oauth2 configuration of dev-client.
func publicClient(t *testing.T, issuer string) (*oidc.Provider, oauth2.Config) {
	t.Helper()
	provider, err := oidc.NewProvider(t.Context(), issuer)
	if err != nil {
		t.Fatal(err)
	}
	return provider, oauth2.Config{ClientID: "dev-client", Endpoint: provider.Endpoint(), RedirectURL: redirectURI, Scopes: []string{"openid", "email"}}
}

// TestHostedPage runs the code flow like a browser: page, form, code and tokens, then a second
// sign-in with the session, and a log-out.
func TestHostedPage(t *testing.T) {
	pool, issuer := newPool(t)
	provider, conf := publicClient(t, issuer)
	v := newVisitor(t, issuer)
	verifier := oauth2.GenerateVerifier()
	start := conf.AuthCodeURL("s", oauth2.S256ChallengeOption(verifier), oidc.Nonce("n<&>"))

	page, body := v.do(http.MethodGet, start, nil)
	if page.Request.URL.Path != "/login" || !strings.Contains(body, `action="/login?`) || !strings.Contains(page.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Fatalf("%s, %v: %s", page.Request.URL, page.Header, body)
	}
	in, _ := v.do(http.MethodPost, page.Request.URL.String(), url.Values{"username": {"ada"}, "password": {"ada"}})
	cookie := in.Header.Get("Set-Cookie")
	if !strings.HasPrefix(cookie, "cognito-dev=") || !strings.Contains(cookie, "HttpOnly") || !strings.Contains(cookie, "SameSite=Lax") {
		t.Errorf("cookie %q", cookie)
	}
	tokens, err := conf.Exchange(t.Context(), v.code(in), oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := tokens.Extra("id_token").(string)
	id, err := provider.Verifier(&oidc.Config{ClientID: "dev-client"}).Verify(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	if id.Nonce != "n<&>" || id.VerifyAccessToken(tokens.AccessToken) != nil {
		t.Errorf("nonce %q, at_hash %v", id.Nonce, id.VerifyAccessToken(tokens.AccessToken))
	}

	again, _ := v.do(http.MethodGet, start, nil)
	if second := v.code(again); second == v.code(in) {
		t.Error("the second sign-in returned the first code")
	}
	if asked, _ := v.do(http.MethodGet, start+"&prompt=login", nil); asked.Request.URL.Path != "/login" {
		t.Errorf("prompt=login went to %s", asked.Request.URL)
	}
	pool.Set(devidp.Faults{AuthorizeError: "access_denied"})
	if refused, _ := v.do(http.MethodGet, start, nil); !strings.Contains(refused.Header.Get("Location"), "error=access_denied&state=s") {
		t.Errorf("fault: %v", refused.Header)
	}
	pool.Set(devidp.Faults{})
	out, _ := v.do(http.MethodGet, v.base+"/logout?client_id=dev-client&logout_uri=http://127.0.0.1:8080/", nil)
	if out.Header.Get("Location") != "http://127.0.0.1:8080/" {
		t.Errorf("log-out: %d %v", out.StatusCode, out.Header)
	}
	stolen := strings.SplitN(cookie, ";", 2)[0]
	for name, after := range map[string]*visitor{"the browser": v, "its old cookie": newVisitor(t, issuer)} {
		if asked, _ := after.do(http.MethodGet, start, nil, "Cookie", stolen); asked.Request.URL.Path != "/login" {
			t.Errorf("%s is signed in after the log-out: %s", name, asked.Request.URL)
		}
	}
}

func TestSessionEndsAfterAnHour(t *testing.T) {
	var ahead atomic.Int64
	_, issuer := newPoolAt(t, func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) })
	_, conf := publicClient(t, issuer)
	v := newVisitor(t, issuer)
	start := conf.AuthCodeURL("s", oauth2.S256ChallengeOption(oauth2.GenerateVerifier()))
	page, _ := v.do(http.MethodGet, start, nil)
	v.code(first(v.do(http.MethodPost, page.Request.URL.String(), url.Values{"username": {"ada"}, "password": {"ada"}})))
	ahead.Store(int64(59 * time.Minute))
	v.code(first(v.do(http.MethodGet, start, nil)))
	ahead.Store(int64(61 * time.Minute))
	if asked, _ := v.do(http.MethodGet, start, nil); asked.Request.URL.Path != "/login" {
		t.Errorf("still signed in: %s", asked.Request.URL)
	}
}

func first(resp *http.Response, _ string) *http.Response { return resp }

func TestFormOfAnotherSite(t *testing.T) {
	_, issuer := newPool(t)
	_, conf := publicClient(t, issuer)
	v := newVisitor(t, issuer)
	form := url.Values{"username": {"ada"}, "password": {"ada"}}
	start := conf.AuthCodeURL("s", oauth2.S256ChallengeOption(oauth2.GenerateVerifier()))
	for _, target := range []string{start, strings.Replace(start, "/oauth2/authorize", "/login", 1)} {
		for _, headers := range [][]string{
			{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.test"}, {"Origin", "null"},
		} {
			if resp, _ := v.do(http.MethodPost, target, form, headers...); resp.StatusCode != http.StatusForbidden || resp.Header.Get("Set-Cookie") != "" {
				t.Errorf("%v: %d %v", headers, resp.StatusCode, resp.Header)
			}
		}
		v.code(first(v.do(http.MethodPost, target, form, "Sec-Fetch-Site", "same-origin")))
	}
}

func TestGuessingIsThrottled(t *testing.T) {
	start := time.Now()
	var ahead atomic.Int64
	_, issuer := newPoolAt(t, func() time.Time { return start.Add(time.Duration(ahead.Load())) })
	_, conf := publicClient(t, issuer)
	v := newVisitor(t, issuer)
	target := conf.AuthCodeURL("s", oauth2.S256ChallengeOption(oauth2.GenerateVerifier()))
	good, bad := url.Values{"username": {"ada"}, "password": {"ada"}}, url.Values{"username": {"ada"}, "password": {"guess"}}
	for range 20 {
		v.do(http.MethodPost, target, bad)
	}
	if resp, _ := v.do(http.MethodPost, target, good); resp.StatusCode != http.StatusTooManyRequests {
		t.Errorf("after 20 guesses: %d", resp.StatusCode)
	}
	ahead.Store(int64(time.Second))
	v.code(first(v.do(http.MethodPost, target, good)))
}

// TestWithoutOpenid: without the scope openid, Cognito issues no id token, and userInfo refuses the access token.
func TestWithoutOpenid(t *testing.T) {
	_, issuer := newPool(t)
	provider, conf := publicClient(t, issuer)
	conf.Scopes = []string{"email"}
	verifier := oauth2.GenerateVerifier()
	tokens, err := conf.Exchange(t.Context(), signIn(t, conf.AuthCodeURL("s", oauth2.S256ChallengeOption(verifier))), oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	if id, ok := tokens.Extra("id_token").(string); ok {
		t.Errorf("an id token: %s", id)
	}
	if _, err := provider.UserInfo(context.Background(), oauth2.StaticTokenSource(tokens)); err == nil {
		t.Error("userInfo answered")
	}
}
