package interop

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestOAuth2ProxyProtectsAPage runs oauth2-proxy in front of a page, with the configuration of docs/guides/oauth2-proxy.md.
func TestOAuth2ProxyProtectsAPage(t *testing.T) {
	const secret = "a-client-secret-of-more-than-32-characters"
	proxy := "http://127.0.0.1:" + freePorts(t, 1)[0]
	s := startServer(t, strings.NewReplacer("https://wiki.example.com", proxy, "clients:\n", "").Replace(
		hashLine.ReplaceAllString(guideBlock(t, "oauth2-proxy.md", "yaml"), "secret: "+secret)))
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("the wiki of " + r.Header.Get("X-Forwarded-Preferred-Username")))
	}))
	defer page.Close()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "client-secret"), secret)
	writeFile(t, filepath.Join(dir, "cookie-secret"), "0123456789abcdef0123456789abcdef")
	config := filepath.Join(dir, "oauth2-proxy.cfg")
	writeFile(t, config, strings.NewReplacer("https://auth.example.com", s.issuer, `["auth.example.com"]`, `["`+strings.TrimPrefix(s.issuer, "https://")+`"]`,
		"https://wiki.example.com", proxy, "http://127.0.0.1:8000", page.URL, "127.0.0.1:4180", strings.TrimPrefix(proxy, "http://"), "/etc/oauth2-proxy", dir,
		`cookie_refresh = "1m"`, `cookie_refresh = "1s"`).Replace(guideBlock(t, "oauth2-proxy.md", "toml oauth2-proxy.cfg")+guideBlock(t, "oauth2-proxy.md", "toml users-without-email")))
	start(t, "Cookie settings", exec.Command(build(t, ".", "github.com/oauth2-proxy/oauth2-proxy/v7", "oauth2-proxy"),
		"--config="+config, "--provider-ca-file="+s.ca, "--cookie-secure=false"))
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

	// A log-off at the broker ends the grant: the proxy learns of it at its next refresh.
	b.submit(t, b.get(t, s.issuer+"/auth/logout"), "logout-confirm", nil)
	eventually(t, "the proxy lets the user sign in again", func() bool { return b.get(t, proxy+"/").find("username") != nil })

	// A log-off at the proxy, with the address of the guide, ends the session at the broker without a question.
	if p := b.signIn(t, proxy+"/"); p.body != "the wiki of "+userName {
		t.Fatalf("after the second sign-in at %s: %d %s", p.Request.URL, p.StatusCode, p.body)
	}
	signOut := strings.NewReplacer("https://wiki.example.com", proxy, url.QueryEscape("https://auth.example.com"), url.QueryEscape(s.issuer),
		url.QueryEscape("https://wiki.example.com"), url.QueryEscape(proxy)).Replace(guideBlock(t, "oauth2-proxy.md", "text"))
	if p := b.get(t, strings.TrimSpace(signOut)); p.find("username") == nil {
		t.Errorf("after the log-off the browser is at %s: %d %s", p.Request.URL, p.StatusCode, p.body)
	}
}

var hashLine = regexp.MustCompile(`secret_hash: .*`)

// guideBlock returns the first code block of a guide with that fence.
func guideBlock(t *testing.T, file, fence string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../docs/guides", file))
	if err != nil {
		t.Fatal(err)
	}
	_, block, ok := strings.Cut(string(text), "\n```"+fence+"\n")
	if !ok {
		t.Fatalf("%s has no block with the fence %q", file, fence)
	}
	block, _, _ = strings.Cut(block, "```")
	return block
}
