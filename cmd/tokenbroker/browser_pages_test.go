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

	"tokenbroker/cmd/tokenbroker/internal/devserver"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/upstream/devidp"
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

// shopper is a browser, a broker and a client on another site. The console's lines are kept.
type shopper struct {
	*tab
	rp *relyingParty

	mu      sync.Mutex
	console []string
}

// startShopper starts them with the user ada, and opens the client's page. more is added to the broker's configuration.
func startShopper(t *testing.T, more func(issuer string) string) *shopper {
	t.Helper()
	v := &shopper{tab: startBrowser(t)}
	s := newServed(t, "http")
	v.rp = startRelyingParty(t, s.issuer)
	config := strings.NewReplacer("ISSUER", s.issuer, "DIR", s.dir, "SECRET", shopSecret, "CLIENT", v.rp.url).Replace(`
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
	if err := os.WriteFile(s.config, []byte(config+more(s.issuer)), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start(t)
	s.operate(t, terminal.ExitOK, "users", "add", "ada")
	err := chromedp.Listen(v.ctx, func(event any) {
		if e, ok := event.(*log.EventEntryAdded); ok {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.console = append(v.console, string(e.Entry.Level)+": "+e.Entry.Text)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	v.navigate(v.rp.url + "/")
	return v
}

// click clicks an element and waits for the page of that title.
func (v *shopper) click(selector, title string) {
	v.t.Helper()
	if err := chromedp.Do(v.ctx, chromedp.Click(selector)); err != nil {
		v.t.Fatalf("clicking %s: %v", selector, err)
	}
	v.until("after "+selector+": "+title, "document.readyState === 'complete' && document.title === "+quote(title))
}

func (v *shopper) fill(username, password string) {
	v.t.Helper()
	if err := chromedp.Do(v.ctx, chromedp.SendKeys("[name=username]", username), chromedp.SendKeys("[name=password]", password)); err != nil {
		v.t.Fatal(err)
	}
}

// wantNoConsole fails the test if the console has a line: a page's policy has blocked a part of the page.
func (v *shopper) wantNoConsole() {
	v.t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.console) > 0 {
		v.t.Errorf("the console has %q", v.console)
	}
}

const (
	signInTitle  = "Sign in · Sign-in service"
	consentTitle = "Web Shop asks for access · Sign-in service"
)

// A client on another site signs users in through the pages, and from then on silently, until they sign out there.
func TestSingleSignOnFromAnotherSite(t *testing.T) {
	v := startShopper(t, func(string) string { return "" })
	v.click("#silent", "silent: login_required")
	v.click("#first", signInTitle)
	v.fill("ada", "correct horse")
	v.click("#submit", consentTitle)
	v.click("#consent-allow", "first: ok")
	v.click("#again", "again: ok")
	v.click("#silent", "silent: ok")
	v.click("#posted", "posted: ok")
	v.click("#ask", "Sign out? · Sign-in service")
	v.navigate(v.rp.url + "/")
	v.click("#out", "/bye")
	v.click("#silent", "silent: login_required")
	v.wantNoConsole()
}

// A sign-in at a provider, which is on a third site, goes on with the client's request.
func TestSignInAtAProviderGoesOnWithTheRequest(t *testing.T) {
	var pool http.Handler
	idp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { pool.ServeHTTP(w, r) }))
	t.Cleanup(idp.Close)
	issuer := strings.Replace(idp.URL, "127.0.0.1", "localhost", 1) + "/" + devserver.Pool
	v := startShopper(t, func(broker string) string {
		server, err := devidp.New(devidp.Config{
			Issuer: issuer, Users: devidp.DevUsers(),
			Clients: []devidp.Client{{ID: devserver.EmulatorClient, RedirectURIs: []string{broker + "/auth/callback/corp/"}, LogoutURIs: []string{broker + "/"}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		pool = server.Handler()
		return "providers: {corp: {kind: oidc, issuer: \"" + issuer + "\", client_id: " + devserver.EmulatorClient + "}}\n"
	})
	v.click("#first", signInTitle)
	v.leave("document.querySelector('a.choice').click()")
	v.until("the provider's form", "document.readyState === 'complete' && document.querySelector('#u')")
	v.leave("(() => { const form = document.querySelector('form'); form.username.value = form.password.value = 'admin'; form.querySelector('button').click(); })()")
	v.until("the consent page", "document.readyState === 'complete' && document.title === "+quote(consentTitle))
	v.click("#consent-allow", "first: ok")
	v.click("#silent", "silent: ok")
	v.wantNoConsole()
}
