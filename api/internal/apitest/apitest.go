package apitest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tokenbroker/api"
	"tokenbroker/api/browser"
	"tokenbroker/api/feed"
	"tokenbroker/api/httpapi"
	"tokenbroker/api/oauth"
	"tokenbroker/api/pages"
)

const (
	// Own is the broker's issuer.
	Own = "http://127.0.0.1:8080"
	// SPA is the origin of the broker's only SPA.
	SPA = "http://127.0.0.1:5173"
	// Cookie is a refresh cookie as a browser sends it.
	Cookie = "refresh_cookie=rt1.good"
	// DemoService is the header by which the client demo-service authenticates.
	DemoService = "Authorization: Basic ZGVtby1zZXJ2aWNlOmRlbW8tc2VydmljZS1zZWNyZXQ="
	// AsBrowser is the Accept of a browser that opens a page.
	AsBrowser = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
)

// BadWaits are values of the query's wait that are refused.
var BadWaits = []string{"", "2", "0s", "-1s", "10.001s", "1h", "soon", "2s&wait=2s", "%zz"}

// LoopbackPages are origins of pages on this machine that are not configured.
var LoopbackPages = []string{"http://localhost:5173", "http://localhost", "http://127.0.0.1:4200", "http://[::1]:3000"}

// Document returns a document with a body and an entity tag.
func Document(body, etag string, maxAge time.Duration) httpapi.Document {
	return func() ([]byte, string, time.Duration) { return []byte(body), etag, maxAge }
}

// Config returns the configuration of a broker whose use cases are those of f.
func Config(f *Fake) api.Config {
	return api.Config{
		SiteConfig: httpapi.SiteConfig{Issuer: Own, Origins: []string{SPA}},
		Browser:    browser.Config{Sessions: f, Cookie: httpapi.Cookie{Insecure: true}},
		Pages:      pages.Config{Authorizations: Clients{f}, Logouts: Clients{f}, Sessions: f},
		OAuth: oauth.Config{
			Clients: Clients{f}, Verifier: f, AnyAudience: f, Origins: f, JWKS: Document(`{"keys":["a"]}`, "tag-a", 300*time.Second),
			MaxTokenLifetime: func() time.Duration { return 5 * time.Minute }, Algorithms: func() []string { return []string{"ES256"} },
			Scopes: []string{"openid", "hello:read"}, Claims: []string{"email", "name"}, AssertionAlgorithms: []string{"ES256"},
		},
		Feed:      feed.Config{Clients: f, Catchup: f, Receipts: f, JWKS: Document(`{"keys":["f"]}`, `"tag-f"`, 60*time.Second)},
		Readiness: func(context.Context) []httpapi.Check { return f.Checks },
		Logger:    slog.New(slog.DiscardHandler),
	}
}

// NewHandler returns the handler of a changed [Config].
func NewHandler(f *Fake, change ...func(*api.Config)) (*api.Public, error) {
	cfg := Config(f)
	for _, c := range change {
		c(&cfg)
	}
	return api.New(cfg)
}

// New is [NewHandler] for a configuration that is accepted.
func New(t testing.TB, f *Fake, change ...func(*api.Config)) *api.Public {
	t.Helper()
	h, err := NewHandler(f, change...)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// NewWithLogins is [New] with sign-in providers of those names.
func NewWithLogins(t testing.TB, names ...string) (*Logins, *api.Public) {
	t.Helper()
	f := &Logins{Names: names, ReturnTo: "/app", Fake: &Fake{}}
	return f, New(t, f.Fake, func(c *api.Config) { c.Browser.Logins = f })
}

// Call sends one request. Headers are "Name: value" lines; POST has the JSON type unless one is given.
func Call(h http.Handler, method, path, body string, headers ...string) *http.Response {
	var rd io.Reader
	if body != "" {
		rd = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, Own+path, rd)
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		switch {
		case name == "Content-Type" && value == "":
			r.Header.Del(name)
		case name == "Content-Type":
			r.Header.Set(name, value)
		default:
			r.Header.Add(name, value)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

// Get sends a GET with the cookies.
func Get(h http.Handler, target string, cookies ...string) *http.Response {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	for _, c := range cookies {
		r.Header.Add("Cookie", c)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

// Preflight sends the pre-flight of a sign-in by a page of that origin.
func Preflight(h http.Handler, origin string) *http.Response {
	return Call(h, http.MethodOptions, "/auth/sign-in/", "", "Origin: "+origin, "Access-Control-Request-Method: POST")
}

// Serve sends r.
func Serve(h http.Handler, r *http.Request) *http.Response {
	w := deadlineRecorder{httptest.NewRecorder()}
	h.ServeHTTP(w, r)
	return w.Result()
}

// deadlineRecorder accepts the deadlines that streams set, as a connection does.
type deadlineRecorder struct{ *httptest.ResponseRecorder }

func (deadlineRecorder) SetWriteDeadline(time.Time) error { return nil }

// Problem is the body of a refusal.
type Problem struct {
	Type, Title, Detail, Code string
	Status                    int
	RequestID                 string `json:"request_id"`
	Checks                    []httpapi.Check
}

// ReadProblem reads the body of a refusal and checks that it fits the answer.
func ReadProblem(t testing.TB, res *http.Response) Problem {
	t.Helper()
	if ct := res.Header.Get("Content-Type"); ct != "application/problem+json" {
		t.Errorf("content type %q, want a problem", ct)
	}
	var p Problem
	if err := json.NewDecoder(res.Body).Decode(&p); err != nil {
		t.Fatal(err)
	}
	if p.Status != res.StatusCode || p.Title == "" || p.RequestID == "" || p.RequestID != res.Header.Get("X-Request-Id") ||
		p.Type != "urn:tokenbroker:problem:"+p.Code {
		t.Errorf("problem %+v does not fit status %d, id %q", p, res.StatusCode, res.Header.Get("X-Request-Id"))
	}
	return p
}

// Want checks that res is a refusal with that status and code.
func Want(t testing.TB, res *http.Response, status int, code string) Problem {
	t.Helper()
	if res.StatusCode != status {
		t.Fatalf("status %d, want %d", res.StatusCode, status)
	}
	p := ReadProblem(t, res)
	if p.Code != code {
		t.Fatalf("code %q, want %q (%s)", p.Code, code, p.Detail)
	}
	return p
}

// WantJSON checks that res has that status and JSON body.
func WantJSON(t testing.TB, res *http.Response, status int, body string) {
	t.Helper()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != status || !bytes.Equal(bytes.TrimSpace(got), []byte(body)) {
		t.Fatalf("got %d %s\nwant %d %s", res.StatusCode, got, status, body)
	}
	if ct := res.Header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("content type %q", ct)
	}
}

// Page returns the body of an answer.
func Page(t testing.TB, res *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// WantPage checks that res is a page with a link to go on, whose policy allows only its style.
func WantPage(t testing.TB, res *http.Response, status int, parts ...string) {
	t.Helper()
	body := Page(t, res)
	if res.StatusCode != status || res.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("%d %s: %s", res.StatusCode, res.Header.Get("Content-Type"), body)
	}
	for _, part := range append(parts, `<html lang="en">`, "<title>", "width=device-width", `href="`) {
		if !strings.Contains(body, part) {
			t.Errorf("the page lacks %q: %s", part, body)
		}
	}
	if strings.Contains(body, "<script") || strings.Contains(body, "urn:tokenbroker") {
		t.Errorf("the page: %s", body)
	}
	policy := res.Header.Get("Content-Security-Policy")
	if !strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-") || !strings.Contains(policy, "frame-ancestors 'none'") || res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", res.Header)
	}
	if !strings.Contains(strings.Join(res.Header.Values("Vary"), ","), "Accept") {
		t.Errorf("Vary %v", res.Header.Values("Vary"))
	}
}

// Cookies returns the value that the answer sets the cookie to, and whether it removes a cookie.
func Cookies(res *http.Response) (set string, cleared bool) {
	for _, c := range res.Cookies() {
		if c.MaxAge < 0 {
			cleared = true
		} else {
			set = c.Value
		}
	}
	return set, cleared
}
