package interop

import (
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
)

// TestOAuth2ProxyProtectsAPage runs oauth2-proxy in front of a page, with its provider for any OpenID Connect issuer.
func TestOAuth2ProxyProtectsAPage(t *testing.T) {
	const secret = "a-client-secret-of-more-than-32-characters"
	proxy := "http://127.0.0.1:" + freePorts(t, 1)[0]
	s := startServer(t, `
  oauth2-proxy:
    secret: `+secret+`
    name: The wiki
    grants: [authorization_code, refresh_token]
    redirect_uris: ["`+proxy+`/oauth2/callback"]
    scopes: [openid, profile, email, groups]
`)
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("the wiki of " + r.Header.Get("X-Forwarded-Preferred-Username")))
	}))
	defer page.Close()
	start(t, "Cookie settings", exec.Command(build(t, ".", "github.com/oauth2-proxy/oauth2-proxy/v7", "oauth2-proxy"),
		"--provider=oidc", "--oidc-issuer-url="+s.issuer, "--client-id=oauth2-proxy", "--client-secret="+secret,
		"--http-address="+strings.TrimPrefix(proxy, "http://"), "--redirect-url="+proxy+"/oauth2/callback", "--upstream="+page.URL,
		"--cookie-secret=0123456789abcdef0123456789abcdef", "--cookie-secure=false", "--email-domain=*", "--scope=openid profile email groups",
		"--provider-ca-file="+s.ca, "--code-challenge-method=S256", "--skip-provider-button=true",
		"--user-id-claim=sub", "--oidc-email-claim=sub", "--insecure-oidc-allow-unverified-email=true"))
	eventually(t, "oauth2-proxy answers", func() bool {
		res, err := s.client.Get(proxy + "/ping")
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	b := newBrowser(t, s, "")
	if p := b.signIn(t, proxy+"/"); p.StatusCode != http.StatusOK || p.body != "the wiki of "+userName {
		t.Fatalf("after the sign-in at %s: %d %s", p.Request.URL, p.StatusCode, p.body)
	}
	if p := b.get(t, proxy+"/again"); p.body != "the wiki of "+userName {
		t.Errorf("with the proxy's cookie: %d %s", p.StatusCode, p.body)
	}
	// Another page behind the same broker: single sign-on without a form.
	if p := newBrowser(t, s, "").get(t, proxy+"/"); p.find("username") == nil {
		t.Errorf("a browser without cookies reached %s: %d %s", p.Request.URL, p.StatusCode, p.body)
	}
}
