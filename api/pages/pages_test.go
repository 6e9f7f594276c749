package pages_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"tokenbroker/api/httpapi"
	"tokenbroker/api/look"
	"tokenbroker/api/pages"
	"tokenbroker/broker"
)

const (
	own    = "https://login.example.com"
	spa    = "https://app.example.com"
	cookie = "Cookie: __Host-refresh_cookie=rt1.good"
	asForm = "Content-Type: application/x-www-form-urlencoded"
	asOwn  = "Origin: " + own
	// request is an authorization request.
	request = "client_id=web&redirect_uri=https%3A%2F%2Fclient.test%2Fcb&response_type=code&state=s"
)

// fake is a broker that answers as the test sets, and records what it was asked.
type fake struct {
	authorization broker.Authorization
	consented     broker.Authorization
	end           broker.EndSession
	err           error // of Authorize, Consent and EndSession
	signInErr     error
	kept          *broker.Grant // that comes with signInErr
	logOffErr     error
	logOff        broker.LogOffResult
	providers     []string

	calls     []string
	in        broker.AuthorizationRequest
	decision  broker.ConsentDecision
	endIn     broker.EndSessionRequest
	req       broker.Request
	user      [2]string
	logOffAsk [2]string
}

func (f *fake) Authorize(_ context.Context, in broker.AuthorizationRequest, _ broker.Request) (*broker.Authorization, error) {
	f.calls, f.in = append(f.calls, "authorize"), in
	a := f.authorization
	return &a, f.err
}

func (f *fake) Consent(_ context.Context, in broker.AuthorizationRequest, decision broker.ConsentDecision, _ broker.Request) (*broker.Authorization, error) {
	f.calls, f.in, f.decision = append(f.calls, "consent"), in, decision
	a := f.consented
	return &a, f.err
}

func (f *fake) EndSession(_ context.Context, in broker.EndSessionRequest, _ broker.Request) (*broker.EndSession, error) {
	f.calls, f.endIn = append(f.calls, "end"), in
	e := f.end
	return &e, f.err
}

func (f *fake) SignIn(_ context.Context, username, password string, req broker.Request) (*broker.Grant, error) {
	f.calls, f.user, f.req = append(f.calls, "sign-in"), [2]string{username, password}, req
	if f.signInErr != nil {
		return f.kept, f.signInErr
	}
	return &broker.Grant{RefreshToken: "rt1.new", RefreshMaxAge: time.Hour}, nil
}

func (f *fake) LogOff(_ context.Context, token, csrf string, _ broker.Request, _ ...string) (broker.LogOffResult, error) {
	f.calls, f.logOffAsk = append(f.calls, "log-off"), [2]string{token, csrf}
	return f.logOff, f.logOffErr
}

func (f *fake) Providers() []string { return f.providers }

// signInStep and consentStep are the answers of a broker that has to show a page.
func signInStep() broker.Authorization {
	return broker.Authorization{
		Step: broker.StepSignIn, ClientID: "web", ClientName: "Web Shop", RedirectURI: "https://client.test/cb?tenant=1", ResponseMode: "query",
		Continue: "sealed", LoginHint: "ada",
	}
}

func consentStep() broker.Authorization {
	return broker.Authorization{
		Step: broker.StepConsent, ClientID: "web", ClientName: "Web Shop", RedirectURI: "https://client.test:8443/cb", ResponseMode: "query",
		Scopes: []string{"openid", "offline_access", "orders:read", "plain:scope"}, UserName: "ada", CSRFToken: "csrf-1",
	}
}

func redirectStep(uri, mode string, answer url.Values) broker.Authorization {
	return broker.Authorization{Step: broker.StepRedirect, ClientID: "web", ClientName: "Web Shop", RedirectURI: uri, ResponseMode: mode, Answer: answer}
}

// serve returns the pages of f behind the layers of the public listener.
func serve(t *testing.T, f *fake, change ...func(*pages.Config, *httpapi.SiteConfig)) http.Handler {
	t.Helper()
	cfg := pages.Config{Authorizations: f, Logouts: f, Sessions: f, Logins: f, Scopes: map[string]string{"orders:read": "Read your <orders>"}}
	at := httpapi.SiteConfig{Issuer: own, Origins: []string{spa}}
	for _, c := range change {
		c(&cfg, &at)
	}
	site, err := httpapi.NewSite(at)
	if err != nil {
		t.Fatal(err)
	}
	h, err := pages.New(cfg, site)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	for _, route := range h.Routes() {
		endpoint := route.Endpoint
		if route.Wrap != nil {
			endpoint = route.Wrap(endpoint)
		}
		for _, method := range route.Methods {
			if method == http.MethodHead {
				continue // of GET
			}
			mux.HandleFunc(method+" "+route.Path, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Cache-Control", "no-store")
				if err := endpoint(w, r); err != nil {
					httpapi.Fail(w, r, err)
				}
			})
		}
	}
	outermost := httpapi.Middleware{Logger: slog.New(slog.DiscardHandler), HTTPS: true, Home: site.Home, Look: site.Look}
	return outermost.Wrap(site.CORS(mux, httpapi.CrossOrigin{}))
}

// answer is an answer with its body.
type answer struct {
	*http.Response
	body string
	page *html.Node
}

// call sends one request. Headers are "Name: value" lines.
func call(t *testing.T, h http.Handler, method, target, body string, headers ...string) answer {
	t.Helper()
	r := httptest.NewRequest(method, own+target, strings.NewReader(body))
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	res := w.Result()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	page, err := html.Parse(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return answer{res, string(text), page}
}

// post sends a form of the broker's own page.
func post(t *testing.T, h http.Handler, target string, fields url.Values, headers ...string) answer {
	t.Helper()
	return call(t, h, http.MethodPost, target, fields.Encode(), append([]string{asForm, asOwn}, headers...)...)
}

// wantPage checks the status and the headers that every page has.
func (a answer) wantPage(t *testing.T, status int) {
	t.Helper()
	if a.StatusCode != status || a.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("%d %q: %s", a.StatusCode, a.Header.Get("Content-Type"), a.body)
	}
	for name, value := range map[string]string{
		"Cache-Control": "no-store", "X-Frame-Options": "DENY", "Cross-Origin-Opener-Policy": "same-origin", "X-Content-Type-Options": "nosniff",
		"Access-Control-Allow-Origin": "", "Cross-Origin-Resource-Policy": "same-origin",
	} {
		if got := a.Header.Get(name); got != value {
			t.Errorf("%s is %q, want %q", name, got, value)
		}
	}
	if policy := a.Header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-") ||
		!strings.Contains(policy, "; img-src 'self'; frame-ancestors 'none'; base-uri 'none'; ") || strings.Contains(policy, "unsafe") {
		t.Errorf("policy %q", policy)
	}
	if a.find("main") == nil || a.find("h1") == nil || attr(a.find("html"), "lang") != "en" || text(a.find("title")) == "" {
		t.Errorf("no main, h1, lang or title: %s", a.body)
	}
}

// all returns the elements of that name or, with #, of that id.
func (a answer) all(selector string) []*html.Node {
	var found []*html.Node
	for n := range a.page.Descendants() {
		id, isID := strings.CutPrefix(selector, "#")
		if n.Type == html.ElementNode && (isID && attr(n, "id") == id || n.Data == selector) {
			found = append(found, n)
		}
	}
	return found
}

func (a answer) find(selector string) *html.Node {
	if found := a.all(selector); len(found) > 0 {
		return found[0]
	}
	return nil
}

func attr(n *html.Node, name string) string {
	if n == nil {
		return ""
	}
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func text(n *html.Node) string {
	if n == nil {
		return ""
	}
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// fields returns the inputs of the page's form, as a browser sends them.
func (a answer) fields() url.Values {
	all := url.Values{}
	for _, input := range a.all("input") {
		all.Add(attr(input, "name"), attr(input, "value"))
	}
	return all
}

// formAction returns the sources of the policy's form-action.
func (a answer) formAction() string {
	_, after, _ := strings.Cut(a.Header.Get("Content-Security-Policy"), "form-action ")
	sources, _, _ := strings.Cut(after, ";")
	return sources
}

func TestEveryPageIsAccessible(t *testing.T) {
	f := &fake{authorization: signInStep(), end: broker.EndSession{Ask: true, CSRFToken: "c", UserName: "ada", ClientName: "Web Shop"}, providers: []string{"corp"}}
	h := serve(t, f)
	shown := map[string]answer{
		"sign-in": call(t, h, "GET", "/auth/authorize?"+request, ""),
		"logout":  call(t, h, "GET", "/auth/logout", ""),
		"bounce":  call(t, h, "GET", "/auth/authorize?"+request, "", "Sec-Fetch-Site: cross-site"),
	}
	f.authorization, f.end = consentStep(), broker.EndSession{}
	shown["consent"] = call(t, h, "GET", "/auth/authorize?"+request, "")
	shown["signed out"] = call(t, h, "GET", "/auth/logout", "")
	for name, a := range shown {
		t.Run(name, func(t *testing.T) {
			a.wantPage(t, http.StatusOK)
			if a.Header.Get("Referrer-Policy") != "same-origin" {
				t.Errorf("Referrer-Policy %q", a.Header.Get("Referrer-Policy"))
			}
			if len(a.all("h1")) != 1 || len(a.all("main")) != 1 || len(a.all("script")) != 0 {
				t.Errorf("not one h1 and main, or a script: %s", a.body)
			}
			var labels []string
			for _, l := range a.all("label") {
				labels = append(labels, attr(l, "for"))
			}
			for _, input := range a.all("input") {
				if attr(input, "type") != "hidden" && !slices.Contains(labels, attr(input, "id")) {
					t.Errorf("the input %s has no label", attr(input, "name"))
				}
			}
			for n := range a.page.Descendants() {
				for _, x := range n.Attr {
					if x.Key == "style" || strings.HasPrefix(x.Key, "on") || strings.HasPrefix(x.Val, "javascript:") {
						t.Errorf("<%s %s=%q> is blocked by the policy", n.Data, x.Key, x.Val)
					}
				}
			}
		})
	}
}

func TestPagesAreNotReadableByScripts(t *testing.T) {
	h := serve(t, &fake{authorization: consentStep()})
	for _, origin := range []string{spa, own, "https://evil.test", "null"} {
		for _, path := range []string{"/auth/authorize?" + request, "/auth/authorize/", "/auth/logout"} {
			a := call(t, h, "GET", path, "", "Origin: "+origin, cookie)
			if a.Header.Get("Access-Control-Allow-Origin") != "" || a.Header.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("%s is readable from %s", path, origin)
			}
		}
		a := call(t, h, "OPTIONS", "/auth/authorize/consent", "", "Origin: "+origin, "Access-Control-Request-Method: POST")
		if a.StatusCode < 400 || a.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("a pre-flight from %s is answered %d", origin, a.StatusCode)
		}
	}
}

// The operator's name, texts and logos are on every page. A logo that is opened as a page runs nothing.
func TestLookIsTheOperators(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"brand.yaml": "name: Example <Ltd>\nlanguage: de\nsupport_url: https://help.test/\ntexts: {sign_in.title: Anmelden, error.invalid_redirect.text: Unbekannt., back.to_host: 'Zurück zu {host}'}\n",
		"logo.svg":   `<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l, err := look.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{authorization: signInStep()}
	h := serve(t, f, func(_ *pages.Config, at *httpapi.SiteConfig) { at.Look = l })
	a := call(t, h, "GET", "/auth/authorize?"+request, "")
	if text(a.find("h1")) != "Anmelden" || text(a.find("title")) != "Anmelden · Example <Ltd>" || attr(a.find("html"), "lang") != "de" ||
		attr(a.find("img"), "src") != "/auth/pages/logo" || attr(a.find("img"), "alt") != "Example <Ltd>" || attr(a.all("a")[0], "href") != "https://help.test/" {
		t.Errorf("the page: %s", a.body)
	}
	f.err = &broker.Error{Code: broker.CodeInvalidRedirect}
	a = call(t, h, "GET", "/auth/authorize?"+request, "")
	if !strings.Contains(text(a.find("main")), "Unbekannt.") || text(a.find("a")) != "Zurück zu app.example.com" || a.find("img") == nil {
		t.Errorf("the page: %s", a.body)
	}
	for _, origin := range []string{"", "Origin: " + spa} {
		a = call(t, h, "GET", "/auth/pages/logo", "", origin)
		if a.StatusCode != 200 || a.Header.Get("Content-Type") != "image/svg+xml" || a.Header.Get("X-Content-Type-Options") != "nosniff" ||
			!strings.Contains(a.Header.Get("Content-Security-Policy"), "; sandbox") || a.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%d %v", a.StatusCode, a.Header)
		}
	}
	if a := call(t, h, "GET", "/auth/pages/logo-dark", ""); a.StatusCode != 404 {
		t.Errorf("a logo that does not exist: %d", a.StatusCode)
	}
}

func TestNewRefuses(t *testing.T) {
	site, err := httpapi.NewSite(httpapi.SiteConfig{Issuer: own})
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{}
	for name, cfg := range map[string]pages.Config{
		"missing: Authorizations, Logouts, Sessions": {},
		"missing: Sessions":                          {Authorizations: f, Logouts: f},
		"cookie path":                                {Authorizations: f, Logouts: f, Sessions: f, Cookie: httpapi.Cookie{Path: "/x"}},
	} {
		if _, err := pages.New(cfg, site); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v, want %s", err, name)
		}
	}
}
