package api_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"tokenbroker/api"
	"tokenbroker/broker"
)

// asBrowser is the Accept of a browser that opens a page.
const asBrowser = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"

func pageOf(t *testing.T, res *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// wantPage checks that res is a page with a way on, and that its policy allows nothing but its style.
func wantPage(t *testing.T, res *http.Response, status int, parts ...string) {
	t.Helper()
	body := pageOf(t, res)
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

// Every refusal that a browser can reach is a page for it, and has the same status, code and
// headers for other clients.
func TestRefusalsArePagesForPeople(t *testing.T) {
	f := &fakeLogins{names: []string{"cognito"}, fake: &fake{}}
	serverOf := func(change func(*api.Config)) http.Handler {
		cfg := config(f.fake)
		cfg.Logins = f
		change(&cfg)
		h, err := api.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	h := serverOf(func(*api.Config) {})
	failing := func(code broker.Code) func() {
		return func() { f.err = &broker.Error{Code: code, Message: "the <b>reason</b>"} }
	}
	for _, tt := range []struct {
		name, method, target, body string
		prepare                    func()
		status                     int
		code                       string
	}{
		{"unknown path", "GET", "/orders/7?tab=<script>", "", nil, 404, "not_found"},
		{"unknown path of auth", "GET", "/auth/nothing/", "", nil, 404, "not_found"},
		{"method", "GET", "/auth/sign-in/", "", nil, 405, "method_not_allowed"},
		{"a form", "POST", "/auth/sign-in/", "username=a", nil, 415, "unsupported_media_type"},
		{"foreign return_to", "GET", "/auth/login/?return_to=//evil.test", "", nil, 400, "invalid_return_to"},
		{"parameter twice", "GET", "/auth/login/?provider=a&provider=b", "", nil, 400, "repeated_parameter"},
		{"provider down", "GET", "/auth/login/", "", failing(broker.CodeUpstreamUnavailable), 503, "upstream_unavailable"},
		{"unknown provider", "GET", "/auth/login/?provider=nobody", "", failing(broker.CodeUnknownProvider), 404, "unknown_provider"},
		{"throttled", "GET", "/auth/login/", "", failing(broker.CodeTooManyAttempts), 429, "too_many_attempts"},
		{"busy", "GET", "/auth/login/", "", failing(broker.CodeBusy), 503, "busy"},
		{"an error of ours", "GET", "/auth/login/", "", func() { f.err = errors.New("secret cause") }, 500, "internal"},
		{"callback without a login", "GET", "/auth/callback/cognito/?code=x&state=y", "", failing(broker.CodeLoginState), 400, "login_state_invalid"},
		{"callback parameter twice", "GET", "/auth/callback/cognito/?code=x&code=y", "", nil, 400, "repeated_parameter"},
		{"not signed in", "GET", "/auth/session/", "", nil, 401, "no_session"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f.err, f.returnTo = nil, ""
			if tt.prepare != nil {
				tt.prepare()
			}
			header := []string{"Content-Type: application/x-www-form-urlencoded"}
			res := call(h, tt.method, tt.target, tt.body, append(header, asBrowser)...)
			id := res.Header.Get("X-Request-Id")
			wantPage(t, res, tt.status, "<small>"+tt.code+" · "+id+"</small>", `<a class="choice" href="`+spa+`/">Back to `)
			for _, accept := range []string{"Accept: */*", "Accept: application/json, text/plain, */*"} {
				other := call(h, tt.method, tt.target, tt.body, append(header, accept)...)
				want(t, other, tt.status, tt.code)
				if other.Header.Get("Content-Type") != "application/problem+json" || !strings.Contains(strings.Join(other.Header.Values("Vary"), ","), "Accept") {
					t.Errorf("headers %v", other.Header)
				}
				for _, name := range []string{"Retry-After", "WWW-Authenticate", "Allow"} {
					if res.Header.Get(name) != other.Header.Get(name) {
						t.Errorf("%s is %q on the page, %q otherwise", name, res.Header.Get(name), other.Header.Get(name))
					}
				}
			}
		})
	}
	t.Run("not ready", func(t *testing.T) {
		h := serverOf(func(c *api.Config) {
			c.Readiness = func(context.Context) []api.Check {
				return []api.Check{{Name: "store", Detail: "the disk is full"}, {Name: "nats", OK: true}}
			}
		})
		wantPage(t, call(h, "GET", "/readyz?verbose", "", asBrowser), 503, "not ready: store", "<li>store: not ready (the disk is full)</li>", "<li>nats: ready</li>")
	})
	t.Run("panic", func(t *testing.T) {
		f.fake.panics = "secret"
		defer func() { f.fake.panics = nil }()
		wantPage(t, call(h, "POST", "/auth/sign-in/", `{"username":"a","password":"b"}`, asBrowser), 500, "Something went wrong", "internal")
	})
}

// Nothing of a request is on a page as it came.
func TestPagesEscape(t *testing.T) {
	f, h := loginServer(t, "a", `<img src=x onerror=alert(1)>`)
	f.err = &broker.Error{Code: broker.CodeProviderError, Message: `<script>alert(1)</script>`}
	f.returnTo = ""
	for _, target := range []string{"/auth/login/", "/auth/login/?return_to=" + url.QueryEscape(`/"><script>alert(1)</script>`), "/auth/callback/%3Cscript%3E/?error=%3Cscript%3E&state=1", "/%3Cscript%3E"} {
		if body := pageOf(t, call(h, "GET", target, "", asBrowser)); strings.Contains(body, "<script") || strings.Contains(body, "<img") {
			t.Errorf("%s: %s", target, body)
		}
	}
}

func TestRootIsAPageForPeople(t *testing.T) {
	for name, tt := range map[string]struct {
		home    string
		origins []string
		link    string
	}{
		"the first origin": {"", []string{spa, "http://127.0.0.1:9999"}, spa + "/"},
		"home":             {spa + "/start#x", []string{spa}, spa + "/start#x"},
		"no way on":        {"", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := newAPI(t, &fake{}, func(c *api.Config) { c.HomeURL, c.Origins = tt.home, tt.origins })
			res := call(h, "GET", "/", "", asBrowser)
			if tt.link != "" {
				wantPage(t, res, 200, `href="`+tt.link+`"`, "Continue to ")
			} else if body := pageOf(t, res); res.StatusCode != 200 || strings.Contains(body, "href") {
				t.Errorf("%d %s", res.StatusCode, body)
			}
			want(t, call(h, "GET", "/", "", "Accept: */*"), 404, "not_found")
			want(t, call(h, "GET", "/", ""), 404, "not_found")
		})
	}
	cfg := config(&fake{})
	for _, home := range []string{"https://evil.test/", "//evil.test", "javascript:alert(1)", "/\\evil.test"} {
		cfg.HomeURL = home
		if _, err := api.New(cfg); err == nil {
			t.Errorf("the home URL %q was accepted", home)
		}
	}
}

// A browser is sent back to the page that it came from, as by the callback.
func TestALoginThatCannotStartGoesBack(t *testing.T) {
	f, h := loginServer(t, "cognito")
	f.err = &broker.Error{Code: broker.CodeUpstreamUnavailable}
	target := "/auth/login/?provider=cognito&return_to=" + url.QueryEscape(spa+"/orders?x=1#top")
	res := call(h, "GET", target, "", asBrowser)
	if got, want := res.Header.Get("Location"), spa+"/orders?x=1&error=upstream_unavailable#top"; res.StatusCode != 303 || got != want {
		t.Errorf("%d %s, want 303 %s", res.StatusCode, got, want)
	}
	if !strings.Contains(strings.Join(res.Header.Values("Vary"), ","), "Accept") || len(res.Cookies()) > 0 {
		t.Errorf("headers %v", res.Header)
	}
	want(t, call(h, "GET", target, "", "Accept: */*"), 503, "upstream_unavailable")
}
