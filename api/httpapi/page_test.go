package httpapi_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"tokenbroker/api"
	"tokenbroker/api/httpapi"
	"tokenbroker/api/internal/apitest"
	"tokenbroker/broker"
)

// Every refusal that a browser can reach is a page for it, and has the same status, code and
// headers for other clients.
func TestRefusalsArePagesForPeople(t *testing.T) {
	f := &apitest.Logins{Names: []string{"cognito"}, Fake: &apitest.Fake{}}
	serverOf := func(change func(*api.Config)) http.Handler {
		cfg := apitest.Config(f.Fake)
		cfg.Browser.Logins = f
		change(&cfg)
		h, err := api.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	h := serverOf(func(*api.Config) {})
	failing := func(code broker.Code) func() {
		return func() { f.Err = &broker.Error{Code: code, Message: "the <b>reason</b>"} }
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
		{"an internal error", "GET", "/auth/login/", "", func() { f.Err = errors.New("secret cause") }, 500, "internal"},
		{"callback without a login", "GET", "/auth/callback/cognito/?code=x&state=y", "", failing(broker.CodeLoginState), 400, "login_state_invalid"},
		{"callback parameter twice", "GET", "/auth/callback/cognito/?code=x&code=y", "", nil, 400, "repeated_parameter"},
		{"not signed in", "GET", "/auth/session/", "", nil, 401, "no_session"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f.Err, f.ReturnTo = nil, ""
			if tt.prepare != nil {
				tt.prepare()
			}
			header := []string{"Content-Type: application/x-www-form-urlencoded"}
			res := apitest.Call(h, tt.method, tt.target, tt.body, append(header, apitest.AsBrowser)...)
			id := res.Header.Get("X-Request-Id")
			apitest.WantPage(t, res, tt.status, "<small>"+tt.code+" · "+id+"</small>", `<a class="choice" href="`+apitest.SPA+`/">Back to `)
			for _, accept := range []string{"Accept: */*", "Accept: application/json, text/plain, */*"} {
				other := apitest.Call(h, tt.method, tt.target, tt.body, append(header, accept)...)
				apitest.Want(t, other, tt.status, tt.code)
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
	t.Run("no page leads to a home that does not exist", func(t *testing.T) {
		for name, tt := range map[string]struct {
			change func(*api.Config)
			link   string
		}{
			"no home":      {func(*api.Config) {}, ""},
			"a home URL":   {func(c *api.Config) { c.Browser.HomeURL = apitest.Own + "/" }, apitest.Own + "/"},
			"the demo":     {func(c *api.Config) { c.Browser.Demo.Services = []string{"http://127.0.0.1:8082"} }, "/"},
			"no providers": {func(c *api.Config) { f.Names = nil }, ""},
		} {
			h := serverOf(func(c *api.Config) { c.Origins = nil; tt.change(c) })
			for _, target := range []string{"/nothing", "/auth/authorize", "/auth/logout", "/auth/login/"} {
				res := apitest.Call(h, "GET", target, "", apitest.AsBrowser)
				body := apitest.Page(t, res)
				if links := strings.Contains(body, `href="`+tt.link+`"`); links != (tt.link != "") && target != "/auth/login/" || tt.link == "" && strings.Contains(body, "href") {
					t.Errorf("%s: %s answers %d %s", name, target, res.StatusCode, body)
				}
			}
		}
		f.Names = []string{"cognito"}
	})
	t.Run("not ready", func(t *testing.T) {
		h := serverOf(func(c *api.Config) {
			c.Readiness = func(context.Context) []httpapi.Check {
				return []httpapi.Check{{Name: "store", Detail: "the disk is full"}, {Name: "nats", OK: true}}
			}
		})
		apitest.WantPage(t, apitest.Call(h, "GET", "/readyz?verbose", "", apitest.AsBrowser), 503, "not ready: store", "<li>store: not ready (the disk is full)</li>", "<li>nats: ready</li>")
	})
	t.Run("panic", func(t *testing.T) {
		f.Fake.Panics = "secret"
		defer func() { f.Fake.Panics = nil }()
		apitest.WantPage(t, apitest.Call(h, "POST", "/auth/sign-in/", `{"username":"a","password":"b"}`, apitest.AsBrowser), 500, "Something went wrong", "internal")
	})
}

// Pages escape all text of a request.
func TestPagesEscape(t *testing.T) {
	f, h := apitest.NewWithLogins(t, "a", `<img src=x onerror=alert(1)>`)
	f.Err = &broker.Error{Code: broker.CodeProviderError, Message: `<script>alert(1)</script>`}
	f.ReturnTo = ""
	for _, target := range []string{"/auth/login/", "/auth/login/?return_to=" + url.QueryEscape(`/"><script>alert(1)</script>`), "/auth/callback/%3Cscript%3E/?error=%3Cscript%3E&state=1", "/%3Cscript%3E"} {
		if body := apitest.Page(t, apitest.Call(h, "GET", target, "", apitest.AsBrowser)); strings.Contains(body, "<script") || strings.Contains(body, "<img") {
			t.Errorf("%s: %s", target, body)
		}
	}
}
