package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/client/rp"
	zitadel "github.com/zitadel/oidc/v3/pkg/oidc"
	"golang.org/x/oauth2"

	"tokenbroker/internal/longtest"
)

const (
	webSecret    = "a-client-secret-of-more-than-32-characters"
	webRedirect  = "http://127.0.0.1:8084/callback"
	webSignedOut = "http://127.0.0.1:8084/"
)

// oauthServer is serve with the clients of dev, one with a key, and the user ada.
func oauthServer(t *testing.T) (s *served, privateJWK string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private := jose.JSONWebKey{Key: key, KeyID: "key-1", Algorithm: "ES256", Use: "sig"}
	keys, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{private.Public()}})
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := json.Marshal(private)
	if err != nil {
		t.Fatal(err)
	}
	s = newServed(t, "http")
	jwks := filepath.Join(s.dir, "jwks.json")
	if err := os.WriteFile(jwks, keys, 0o600); err != nil {
		t.Fatal(err)
	}
	const scopes = "[openid, profile, email, phone, address, groups, offline_access, 'hello:read']"
	if err := os.WriteFile(s.config, []byte(strings.NewReplacer("ISSUER", s.issuer, "DIR", s.dir, "SECRET", webSecret, "SCOPES", scopes, "JWKS", jwks).Replace(`
public_url: ISSUER
data_dir: DIR/data
tokens: {audience: [demo-api]}
browser: {client: demo-spa}
oauth: {resources: {demo-api: "http://127.0.0.1:8082/"}}
clients:
  demo-spa: {public: true}
  demo-native:
    public: true
    grants: [authorization_code, refresh_token]
    redirect_uris: ["http://127.0.0.1/callback", "http://localhost/callback", "http://[::1]/callback"]
    scopes: SCOPES
  demo-web:
    secret: SECRET
    grants: [authorization_code, refresh_token]
    redirect_uris: ["http://127.0.0.1:8084/callback"]
    post_logout_redirect_uris: ["http://127.0.0.1:8084/"]
    scopes: SCOPES
  demo-service:
    secret: SECRET
    grants: [client_credentials, token_exchange]
    scopes: ["hello:read"]
    default_scopes: ["hello:read"]
  demo-key:
    jwks_file: JWKS
    grants: [client_credentials]
    scopes: ["hello:read"]
`)), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start(t)
	s.operate(t, 0, "users", "add", "ada")
	return s, string(jwk)
}

// TestOAuthClientsOfNode runs openid-client and oauth4webapi.
func TestOAuthClientsOfNode(t *testing.T) {
	longtest.SkipShort(t, "runs clients of other projects")
	packages := filepath.Join("testdata", "oauthclients")
	npmPackages(packages).needPackage(t, "openid-client")
	s, jwk := oauthServer(t)
	for _, script := range []string{"openid-client.mjs", "oauth4webapi.mjs"} {
		t.Run(script, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "node", script)
			cmd.Dir = packages
			cmd.Env = append(os.Environ(), "ISSUER="+s.issuer, "CLIENT_KEY="+jwk, "WEB_SECRET="+webSecret, "SERVICE_SECRET="+webSecret,
				"WEB_REDIRECT="+webRedirect, "WEB_SIGNED_OUT="+webSignedOut, "RESOURCE=http://127.0.0.1:8082/")
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if n := strings.Count(string(out), "ok: "); n < 8 {
				t.Errorf("only %d checks:\n%s", n, out)
			}
		})
	}
}

// person is a browser that fills the broker's pages by the ids of their controls, and stops at the redirect to a client.
type person struct {
	client *http.Client
}

func newPerson(t *testing.T, callback string) *person {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &person{&http.Client{Jar: jar, CheckRedirect: func(req *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(req.URL.String(), callback) {
			return http.ErrUseLastResponse
		}
		return nil
	}}}
}

// authorize goes to the authorization endpoint, signs in and consents where it is asked, and returns the answer to the client.
func (p *person) authorize(t *testing.T, to string) url.Values {
	t.Helper()
	res, err := p.client.Get(to)
	for _, button := range []string{"submit", "consent-allow"} {
		var page string
		if res, page = readPage(t, res, err); strings.Contains(page, `id="`+button+`"`) {
			res, err = p.submit(t, res.Request.URL, page, button)
		}
	}
	if res, page := readPage(t, res, err); res.StatusCode != http.StatusSeeOther && res.StatusCode != http.StatusFound {
		t.Fatalf("%s: %d\n%s", res.Request.URL, res.StatusCode, page)
	}
	location, err := res.Location()
	if err != nil {
		t.Fatal(err)
	}
	return location.Query()
}

func readPage(t *testing.T, res *http.Response, err error) (*http.Response, string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body) // an error after the body was read before
	return res, string(body)
}

var (
	formTag = regexp.MustCompile(`(?s)<form[^>]*>.*?</form>`)
	control = regexp.MustCompile(`<(?:form|input|button)\b[^>]*>`)
)

// submit sends the form of the button with that id, as the user ada.
func (p *person) submit(t *testing.T, at *url.URL, page, button string) (*http.Response, error) {
	t.Helper()
	for _, form := range formTag.FindAllString(page, -1) {
		if !strings.Contains(form, `id="`+button+`"`) {
			continue
		}
		values, action := url.Values{}, at
		for _, tag := range control.FindAllString(form, -1) {
			id, name := htmlAttribute(tag, "id"), htmlAttribute(tag, "name")
			switch {
			case strings.HasPrefix(tag, "<form"):
				action, _ = at.Parse(htmlAttribute(tag, "action"))
			case strings.HasPrefix(tag, "<button") && id != button, name == "":
			case id == "username":
				values.Set(name, "ada")
			case id == "password":
				values.Set(name, "correct horse")
			default:
				values.Set(name, htmlAttribute(tag, "value"))
			}
		}
		return p.client.PostForm(action.String(), values)
	}
	t.Fatalf("no form has #%s:\n%s", button, page)
	return nil, nil
}

func htmlAttribute(tag, name string) string {
	found := regexp.MustCompile(`\s` + name + `="([^"]*)"`).FindStringSubmatch(tag)
	if found == nil {
		return ""
	}
	return strings.NewReplacer("&#43;", "+", "&#34;", `"`, "&#39;", "'", "&lt;", "<", "&gt;", ">", "&amp;", "&").Replace(found[1])
}

// TestOAuthClientsOfGo runs x/oauth2 with go-oidc, and zitadel's relying party.
func TestOAuthClientsOfGo(t *testing.T) {
	longtest.SkipShort(t, "runs clients of other projects")
	s, _ := oauthServer(t)

	t.Run("x/oauth2 and go-oidc", func(t *testing.T) {
		const callback = "http://127.0.0.1:40000/callback"
		provider, err := oidc.NewProvider(t.Context(), s.issuer)
		if err != nil {
			t.Fatal(err)
		}
		config := oauth2.Config{ClientID: "demo-native", RedirectURL: callback, Endpoint: provider.Endpoint(), Scopes: []string{"openid", "profile", "offline_access", "hello:read"}}
		verifier := oauth2.GenerateVerifier()
		answer := newPerson(t, callback).authorize(t, config.AuthCodeURL("the state", oauth2.S256ChallengeOption(verifier), oidc.Nonce("the nonce")))
		if answer.Get("state") != "the state" || answer.Get("iss") != s.issuer {
			t.Errorf("the answer is %v", answer)
		}
		tokens, err := config.Exchange(t.Context(), answer.Get("code"), oauth2.VerifierOption(verifier))
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := tokens.Extra("id_token").(string)
		idToken, err := provider.Verifier(&oidc.Config{ClientID: "demo-native"}).Verify(t.Context(), raw)
		if err != nil {
			t.Fatal(err)
		}
		if err := idToken.VerifyAccessToken(tokens.AccessToken); err != nil || idToken.Nonce != "the nonce" {
			t.Errorf("at_hash: %v, nonce %q", err, idToken.Nonce)
		}
		renewed, err := config.TokenSource(t.Context(), &oauth2.Token{RefreshToken: tokens.RefreshToken}).Token()
		if err != nil {
			t.Fatal(err)
		}
		user, err := provider.UserInfo(t.Context(), oauth2.StaticTokenSource(renewed))
		if err != nil || user.Subject != idToken.Subject {
			t.Errorf("userinfo: %v %v", user, err)
		}
	})

	t.Run("zitadel", func(t *testing.T) {
		client, err := rp.NewRelyingPartyOIDC(t.Context(), s.issuer, "demo-web", webSecret, webRedirect, []string{"openid", "email", "offline_access"},
			rp.WithVerifierOpts(rp.WithSupportedSigningAlgorithms("ES256")))
		if err != nil {
			t.Fatal(err)
		}
		verifier := oauth2.GenerateVerifier()
		answer := newPerson(t, webRedirect).authorize(t, rp.AuthURL("the state", client, rp.WithCodeChallenge(oauth2.S256ChallengeFromVerifier(verifier))))
		tokens, err := rp.CodeExchange[*zitadel.IDTokenClaims](t.Context(), answer.Get("code"), client, rp.WithCodeVerifier(verifier))
		if err != nil {
			t.Fatal(err)
		}
		renewed, err := rp.RefreshTokens[*zitadel.IDTokenClaims](t.Context(), client, tokens.RefreshToken, "", "")
		if err != nil {
			t.Fatal(err)
		}
		user, err := rp.Userinfo[*zitadel.UserInfo](t.Context(), renewed.AccessToken, "Bearer", tokens.IDTokenClaims.Subject, client)
		if err != nil || user.Subject != tokens.IDTokenClaims.Subject {
			t.Errorf("userinfo: %v %v", user, err)
		}
		if err := rp.RevokeToken(context.WithoutCancel(t.Context()), client, renewed.RefreshToken, "refresh_token"); err != nil {
			t.Error(err)
		}
		if _, err := rp.RefreshTokens[*zitadel.IDTokenClaims](t.Context(), client, renewed.RefreshToken, "", ""); err == nil {
			t.Error("a revoked refresh token is accepted")
		}
	})
}
