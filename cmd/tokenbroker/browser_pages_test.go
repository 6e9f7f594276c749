package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/chromedp"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

// relyingParty is the web site of an OAuth client, on another site than the broker: localhost and 127.0.0.1 are two sites.
type relyingParty struct {
	broker, url string

	mu      sync.Mutex
	idToken string
}

const (
	shopSecret   = "a-secret-of-the-web-site-of-32-characters"
	shopVerifier = "a-verifier-of-the-web-site-with-43-characters-or-more"
)

func startRelyingParty(t *testing.T, broker string) *relyingParty {
	t.Helper()
	rp := &relyingParty{broker: broker}
	server := httptest.NewServer(http.HandlerFunc(rp.serve))
	t.Cleanup(server.Close)
	rp.url = strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
	return rp
}

// serve answers with a page whose title is the outcome, and whose links start what the test clicks.
func (rp *relyingParty) serve(w http.ResponseWriter, r *http.Request) {
	title := r.URL.Path
	if err := r.ParseForm(); err != nil {
		title = err.Error()
	}
	if code := r.Form.Get("code"); code != "" {
		title = r.Form.Get("state") + ": " + rp.redeem(code)
	} else if refusal := r.Form.Get("error"); refusal != "" {
		title = r.Form.Get("state") + ": " + refusal
	}
	challenge := sha256.Sum256([]byte(shopVerifier))
	link := func(id, more string) string {
		query := url.Values{
			"client_id": {"web"}, "redirect_uri": {rp.url + "/cb"}, "response_type": {"code"}, "scope": {"openid offline_access"}, "state": {id},
			"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"},
		}
		return fmt.Sprintf("<a id=%q href=%q>x</a>", id, rp.broker+"/auth/authorize?"+query.Encode()+more)
	}
	rp.mu.Lock()
	hint := rp.idToken
	rp.mu.Unlock()
	out := url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {rp.url + "/bye"}}
	w.Header().Set("Content-Type", "text/html")
	_, _ = fmt.Fprintf(w, `<!doctype html><link rel="icon" href="data:,"><title>%s</title>%s%s%s%s<a id="out" href="%s">x</a><a id="ask" href="%s">x</a>`, title,
		link("first", ""), link("again", ""), link("silent", "&prompt=none"), link("posted", "&response_mode=form_post"),
		rp.broker+"/auth/logout?"+out.Encode(), rp.broker+"/auth/logout")
}

// redeem exchanges a code and returns "ok", or the error.
func (rp *relyingParty) redeem(code string) string {
	r, err := http.NewRequest(http.MethodPost, rp.broker+"/oauth2/token", strings.NewReader(url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {rp.url + "/cb"}, "code_verifier": {shopVerifier},
	}.Encode()))
	if err != nil {
		return err.Error()
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("web", url.QueryEscape(shopSecret))
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = res.Body.Close() }()
	var answer struct {
		IDToken string `json:"id_token"`
		Error   string
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return err.Error()
	}
	rp.mu.Lock()
	rp.idToken = answer.IDToken
	rp.mu.Unlock()
	if answer.Error != "" || answer.IDToken == "" {
		return fmt.Sprintf("%d %s", res.StatusCode, answer.Error)
	}
	return "ok"
}

// A client on another site signs users in through the pages, and from then on silently, until they sign out there.
func TestSingleSignOnFromAnotherSite(t *testing.T) {
	b := startBrowser(t)
	s := newServed(t, "http")
	rp := startRelyingParty(t, s.issuer)
	config := strings.NewReplacer("ISSUER", s.issuer, "DIR", s.dir, "SECRET", shopSecret, "CLIENT", rp.url).Replace(`
public_url: ISSUER
data_dir: DIR/data
tokens: {audience: [demo-api]}
browser: {client: demo-spa}
clients:
  demo-spa: {public: true}
  web:
    secret: SECRET
    name: Web Shop
    grants: [authorization_code, refresh_token]
    redirect_uris: ["CLIENT/cb"]
    post_logout_redirect_uris: ["CLIENT/bye"]
    scopes: [openid, offline_access]
`)
	if err := os.WriteFile(s.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start(t)
	s.operate(t, terminal.ExitOK, "users", "add", "ada")

	var mu sync.Mutex
	var console []string
	err := chromedp.Listen(b.ctx, func(event any) {
		if e, ok := event.(*log.EventEntryAdded); ok {
			mu.Lock()
			defer mu.Unlock()
			console = append(console, string(e.Entry.Level)+": "+e.Entry.Text)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	click := func(id, title string) {
		t.Helper()
		if err := chromedp.Do(b.ctx, chromedp.Click("#"+id)); err != nil {
			t.Fatalf("clicking %s: %v", id, err)
		}
		b.until("after "+id+": "+title, "document.title === "+quote(title))
	}
	b.navigate(rp.url + "/")
	click("silent", "silent: login_required")
	click("first", "Sign in · Sign-in service")
	if err := chromedp.Do(b.ctx, chromedp.SendKeys("#username", "ada"), chromedp.SendKeys("#password", "correct horse")); err != nil {
		t.Fatal(err)
	}
	click("submit", "Web Shop asks for access · Sign-in service")
	click("consent-allow", "first: ok")
	click("again", "again: ok")
	click("silent", "silent: ok")
	click("posted", "posted: ok")
	click("ask", "Sign out? · Sign-in service")
	b.navigate(rp.url + "/")
	click("out", "/bye")
	click("silent", "silent: login_required")
	mu.Lock()
	defer mu.Unlock()
	if len(console) > 0 {
		t.Errorf("the console has %q", console)
	}
}
