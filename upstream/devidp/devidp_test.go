package devidp_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"tokenbroker/upstream/devidp"
)

const redirectURI = "http://127.0.0.1:8080/auth/callback/cognito/"

func newPool(t *testing.T) (*devidp.Server, string) {
	t.Helper()
	return newPoolAt(t, time.Now)
}

// newPoolAt returns a pool with the given clock, and its issuer.
func newPoolAt(t *testing.T, now func() time.Time) (*devidp.Server, string) {
	t.Helper()
	var handler http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	issuer := server.URL + "/us-east-1_devpool01"
	pool, err := devidp.New(devidp.Config{
		Issuer: issuer, Users: devidp.DevUsers(), Now: now,
		Clients: []devidp.Client{
			{ID: "dev-client", RedirectURIs: []string{redirectURI}, LogoutURIs: []string{"http://127.0.0.1:8080/"}},
			{ID: "backend", Secret: "s3cr+t%41", RedirectURIs: []string{redirectURI}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	handler = pool.Handler()
	return pool, issuer
}

// TestCodeFlowWithOrdinaryClients checks that go-oidc and x/oauth2 accept the pool as a provider.
func TestCodeFlowWithOrdinaryClients(t *testing.T) {
	_, issuer := newPool(t)
	provider, err := oidc.NewProvider(t.Context(), issuer)
	if err != nil {
		t.Fatal(err)
	}
	endpoint := provider.Endpoint()
	endpoint.AuthStyle = oauth2.AuthStyleInHeader // form-encoded, RFC 6749 §2.3.1
	conf := oauth2.Config{ClientID: "backend", ClientSecret: "s3cr+t%41", Endpoint: endpoint, RedirectURL: redirectURI, Scopes: []string{"openid"}}
	code := signIn(t, conf.AuthCodeURL("s"))
	tokens, err := conf.Exchange(t.Context(), code)
	if err != nil {
		t.Fatal(err)
	}
	idToken, _ := tokens.Extra("id_token").(string)
	if _, err := provider.Verifier(&oidc.Config{ClientID: "backend"}).Verify(t.Context(), idToken); err != nil {
		t.Error(err)
	}
	if info, err := provider.UserInfo(t.Context(), oauth2.StaticTokenSource(tokens)); err != nil || info.Email != "ada@example.org" {
		t.Errorf("userInfo: %+v, %v", info, err)
	}
	renewed, err := conf.TokenSource(context.Background(), &oauth2.Token{RefreshToken: tokens.RefreshToken}).Token()
	if err != nil || renewed.AccessToken == tokens.AccessToken {
		t.Errorf("refresh: %v", err)
	}
	if _, err := conf.Exchange(t.Context(), code); err == nil {
		t.Error("a code was used twice")
	}
	resp, err := http.PostForm(provider.Endpoint().TokenURL[:strings.LastIndex(provider.Endpoint().TokenURL, "/")]+"/revoke",
		url.Values{"client_id": {"backend"}, "client_secret": {"s3cr+t%41"}, "token": {tokens.RefreshToken}})
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if _, err := conf.TokenSource(context.Background(), &oauth2.Token{RefreshToken: tokens.RefreshToken}).Token(); err == nil {
		t.Error("a revoked refresh token returns tokens")
	}
}

func TestAuthorizeRefusesInvalidRequests(t *testing.T) {
	_, issuer := newPool(t)
	base := issuer[:strings.LastIndex(issuer, "/")]
	authorize := func(change ...string) string {
		q := url.Values{"client_id": {"dev-client"}, "redirect_uri": {redirectURI}, "response_type": {"code"}, "state": {"s"},
			"code_challenge": {strings.Repeat("c", 43)}, "code_challenge_method": {"S256"}}
		for i := 0; i < len(change); i += 2 {
			q.Set(change[i], change[i+1])
		}
		return base + "/oauth2/authorize?" + q.Encode()
	}
	for name, target := range map[string]string{
		"unknown client":       authorize("client_id", "unknown"),
		"another redirect URI": authorize("redirect_uri", redirectURI+"x"),
		"foreign logout URI":   base + "/logout?client_id=dev-client&logout_uri=https://evil.test/",
	} {
		if status, _ := get(t, target); status != http.StatusBadRequest {
			t.Errorf("%s: %d", name, status)
		}
	}
	for name, target := range map[string]string{
		"no PKCE":    authorize("code_challenge", ""),
		"plain PKCE": authorize("code_challenge_method", "plain"),
		"implicit":   authorize("response_type", "token"),
		"a scope":    authorize("scope", "openid admin"),
		"twice":      authorize() + "&state=other",
	} {
		if status, to := get(t, target); status != http.StatusFound || !strings.Contains(to, "error=") || strings.Contains(to, "code=") {
			t.Errorf("%s: %d %s", name, status, to)
		}
	}
	if status, to := get(t, base+"/logout?client_id=dev-client&logout_uri=http://127.0.0.1:8080/"); status != http.StatusFound || to != "http://127.0.0.1:8080/" {
		t.Errorf("logout: %d %s", status, to)
	}
	resp, err := http.PostForm(authorize(), url.Values{"username": {"ada"}, "password": {"wrong"}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(body), "Incorrect username or password") {
		t.Errorf("wrong password: %s, %v", body, err)
	}
}

// signIn posts the hosted page's form and returns the code.
func signIn(t *testing.T, authorize string) string {
	t.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.PostForm(authorize, url.Values{"username": {"ada"}, "password": {"ada"}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	to, err := resp.Location()
	if err != nil {
		t.Fatalf("%d: %v", resp.StatusCode, err)
	}
	return to.Query().Get("code")
}

// get returns the status, and the body or the target of a redirect.
func get(t *testing.T, target string) (int, string) {
	t.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Get(target)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if to := resp.Header.Get("Location"); to != "" {
		return resp.StatusCode, to
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}
