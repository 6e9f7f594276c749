package main

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

// neighbours is a broker at https://auth.example.com, a SPA at app.example.com and a hostile
// page at evil.example.com, in one browser.
type neighbours struct {
	*tab
	broker    *served
	auth      string // origin of the broker
	app, evil string // pages
	planted   string // mallory's refresh token
}

// startNeighbours signs ada in in the browser, and mallory in elsewhere.
func startNeighbours(t *testing.T, edit ...string) *neighbours {
	t.Helper()
	b := startBrowser(t, chromedp.Flag("host-resolver-rules", "MAP *.example.com 127.0.0.1"), chromedp.Flag("ignore-certificate-errors", true))
	pages := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprint(w, "<!doctype html><title>a page</title>")
	}))
	t.Cleanup(pages.Close)
	pagesURL, err := url.Parse(pages.URL)
	if err != nil {
		t.Fatal(err)
	}
	s := newServed(t, "https")
	cert, key := filepath.Join(s.dir, "tls.crt"), filepath.Join(s.dir, "tls.key")
	writeCertificate(t, cert, key, 1)
	n := &neighbours{tab: b, broker: s, auth: "https://auth.example.com:" + s.port,
		app: "https://app.example.com:" + pagesURL.Port(), evil: "https://evil.example.com:" + pagesURL.Port()}
	s.append(t, append(edit, "tls: {cert_file: "+cert+", key_file: "+key+"}", "origins: ["+n.app+"]")...)
	s.args = append(s.args, "--public-url", n.auth)
	s.start(t)
	s.operate(t, terminal.ExitOK, "users", "add", "ada")
	s.operate(t, terminal.ExitOK, "users", "add", "mallory")

	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer client.CloseIdleConnections()
	resp, err := client.Post(s.issuer+"/auth/sign-in/", "application/json", strings.NewReader(`{"username": "mallory", "password": "correct horse"}`))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	n.planted = resp.Cookies()[0].Value
	n.navigate(n.app)
	if got := n.ask("POST", "/auth/sign-in/", `{"username": "ada", "password": "correct horse"}`); got != "200 ada" {
		t.Fatalf("sign-in: %s", got)
	}
	return n
}

// ask calls the broker from the SPA's page; body is a JavaScript expression. It returns the status,
// followed by the session's username or the problem's code.
func (n *neighbours) ask(method, path, body string) string {
	n.t.Helper()
	return n.value(fmt.Sprintf(`fetch(%q, {method: %q, credentials: "include", headers: {"Content-Type": "application/json"}, body: JSON.stringify(%s)})
		.then(async (r) => {
			const v = await r.json();
			if (v.CSRF_token) sessionStorage.csrf = v.CSRF_token;
			return r.status + " " + (v.user?.username ?? v.code ?? "");
		})`, n.auth+path, method, body))
}

// plant runs a script on the hostile page and returns to the SPA.
func (n *neighbours) plant(script string) {
	n.t.Helper()
	n.navigate(n.evil)
	n.run("globalThis.token = " + quote(n.planted) + "; globalThis.planted = '; Domain=example.com; Secure; Max-Age=86400';" + script)
	n.navigate(n.app)
}

// The script sets a cookie for the whole domain in every way, with names that a lenient parser takes for
// the broker's, at both paths.
const plantAll = `
for (const name of ['\u2000__Host-refresh_cookie', '\u00a0__Host-refresh_cookie', '__Host-refresh_cookie', '__host-refresh_cookie', '__Secure-refresh_cookie', 'refresh_cookie', ''])
  for (const path of ['/', '/auth'])
    document.cookie = name + '=' + token + '; Path=' + path + planted;
document.cookie = '__Host-refresh_cookie=' + token + '; Path=/; Secure';`

// Chromium keeps 180 cookies per domain: additional ones evict the victim's.
const overflow = `for (let i = 0; i < 190; i++) document.cookie = 'x' + i + '=1; Path=/' + planted;`
const makeRoom = `for (let i = 0; i < 190; i++) document.cookie = 'x' + i + '=1; Path=/; Domain=example.com; Secure; Max-Age=0';`

func TestBrowserNeighbourHostCannotPlantTheDefaultCookie(t *testing.T) {
	t.Parallel()
	n := startNeighbours(t)
	n.plant(plantAll)
	if got := n.ask("GET", "/auth/session/", "undefined"); got != "200 ada" {
		t.Errorf("with planted cookies in addition: %s", got)
	}
	n.plant(overflow + plantAll + makeRoom)
	if got := n.ask("GET", "/auth/session/", "undefined"); got != "401 no_session" {
		t.Errorf("with planted cookies in its place: %s", got)
	}
	if got := n.ask("POST", "/auth/sign-in/", `{"username": "ada", "password": "correct horse"}`); got != "200 ada" {
		t.Errorf("sign-in: %s", got)
	}
	if got := n.ask("POST", "/auth/refresh/", `{"CSRF_token": sessionStorage.csrf}`); got != "200 ada" {
		t.Errorf("refresh: %s", got)
	}
	if got := n.ask("POST", "/auth/logoff/", `{"CSRF_token": sessionStorage.csrf}`); got != "200 " && got != "202 " {
		t.Errorf("log-off: %s", got)
	}
	n.broker.finish(t)
}

// At the path /auth the cookie can be planted; a log-off ends the planted session as well.
func TestBrowserLogOffOfAPlantedCookie(t *testing.T) {
	t.Parallel()
	n := startNeighbours(t, "cookie: {path: /auth}")
	if logs := n.broker.logs.String(); !strings.Contains(logs, "cookie.path") || !strings.Contains(logs, "level=WARN") {
		t.Errorf("serve does not warn: %s", logs)
	}
	n.plant(`document.cookie = '__Secure-refresh_cookie=' + token + '; Path=/auth' + planted`)
	if got := n.ask("POST", "/auth/refresh/", `{"CSRF_token": sessionStorage.csrf}`); got != "400 duplicate_cookie" {
		t.Errorf("refresh with two cookies: %s", got)
	}
	if got := n.ask("POST", "/auth/logoff/", `{"CSRF_token": sessionStorage.csrf}`); got != "200 " && got != "202 " {
		t.Errorf("log-off with two cookies: %s", got)
	}
	if got := n.ask("GET", "/auth/session/", "undefined"); got != "401 session_ended" {
		t.Errorf("the planted session after the log-off: %s", got)
	}
	n.broker.finish(t)
}
