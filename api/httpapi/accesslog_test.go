package httpapi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"tokenbroker/api"
	"tokenbroker/api/internal/apitest"
	"tokenbroker/broker"
)

// trustClient makes a trusted proxy of the tests' client.
func trustClient(c *api.Config) { c.TrustedProxies = []string{"192.0.2.1"} }

// Any other sender could use the id of another request in the log.
func TestRequestIDsOfTrustedProxiesOnly(t *testing.T) {
	for _, tt := range []struct {
		proxies []string
		peer    string
		taken   bool
	}{
		{nil, "192.0.2.1:1234", false},
		{[]string{"192.0.2.1"}, "192.0.2.1:1234", true},
		{[]string{"192.0.2.0/24"}, "192.0.2.200:1", true},
		{[]string{"192.0.2.1"}, "192.0.2.2:1234", false},
		{[]string{"192.0.2.1"}, "[::ffff:192.0.2.1]:1234", true},
		{[]string{"fd00::/16"}, "[fd00::5]:1234", true},
		{[]string{"fe80::/16"}, "[fe80::5%eth0]:1234", true},
		{[]string{"fd00::/16"}, "[fe80::5]:1234", false},
		{[]string{"192.0.2.1"}, "@", false},
	} {
		r := httptest.NewRequest("GET", apitest.Own+"/livez", nil)
		r.RemoteAddr = tt.peer
		r.Header.Set("X-Request-Id", "id-1")
		r.Header.Set("X-Forwarded-For", "192.0.2.1")
		res := apitest.Serve(apitest.New(t, &apitest.Fake{}, func(c *api.Config) { c.TrustedProxies = tt.proxies }), r)
		if id := res.Header.Get("X-Request-Id"); id == "" || (id == "id-1") != tt.taken {
			t.Errorf("%s by %v: id %q, taken: want %v", tt.peer, tt.proxies, id, tt.taken)
		}
	}
	r := httptest.NewRequest("GET", apitest.Own+"/livez", nil)
	r.RemoteAddr = "192.0.2.1:1234"
	r.Header["X-Request-Id"] = []string{"id-1", "id-2"}
	if id := apitest.Serve(apitest.New(t, &apitest.Fake{}, trustClient), r).Header.Get("X-Request-Id"); id == "id-1" || id == "id-2" {
		t.Errorf("two ids: %q was used", id)
	}
}

func TestStrictTransportSecurity(t *testing.T) {
	answers := map[string]func(h http.Handler) *http.Response{
		"200": func(h http.Handler) *http.Response { return apitest.Call(h, "GET", "/livez", "") },
		"404": func(h http.Handler) *http.Response { return apitest.Call(h, "GET", "/nothing", "") },
		"405": func(h http.Handler) *http.Response { return apitest.Call(h, "GET", "/auth/sign-in", "") },
		"415": func(h http.Handler) *http.Response {
			return apitest.Call(h, "POST", "/auth/sign-in", "", "Content-Type: ")
		},
		"403": func(h http.Handler) *http.Response {
			return apitest.Call(h, "OPTIONS", "/auth/refresh", "", "Origin: null", "Access-Control-Request-Method: POST")
		},
		"500": func(h http.Handler) *http.Response {
			return apitest.Call(h, "POST", "/auth/sign-in", `{"username":"a","password":"b"}`)
		},
	}
	for issuer, want := range map[string]string{"https://auth.example.com": "max-age=31536000", apitest.Own: ""} {
		h := apitest.New(t, &apitest.Fake{Panics: "a panic"}, func(c *api.Config) { c.Issuer, c.Origins = issuer, nil })
		for status, ask := range answers {
			res := ask(h)
			if got := res.Header.Get("Strict-Transport-Security"); got != want || strconv.Itoa(res.StatusCode) != status {
				t.Errorf("%s: %d with %q, want %s with %q", issuer, res.StatusCode, got, status, want)
			}
		}
	}
}

func TestRequestIDAndSecurityHeaders(t *testing.T) {
	h := apitest.New(t, &apitest.Fake{}, trustClient)
	for sent, keep := range map[string]bool{
		"abc-1.2_3": true, strings.Repeat("a", 64): true, strings.Repeat("a", 65): false, "a b": false, "ä": false, "a\nb": false, "": false,
	} {
		res := apitest.Call(h, "GET", "/livez", "", "X-Request-Id: "+sent)
		if got := res.Header.Get("X-Request-Id"); (got == sent) != keep || got == "" {
			t.Errorf("sent %q, got %q", sent, got)
		}
		if res.Header.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(res.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
			t.Errorf("headers %v", res.Header)
		}
	}
}

func TestLogHasNoSecretAndObserveHasNoPath(t *testing.T) {
	var log bytes.Buffer
	var seen []string
	f := &apitest.Fake{Err: &broker.Error{Code: broker.CodeInternal, Err: errors.New("the cause")}}
	h := apitest.New(t, f, trustClient, func(c *api.Config) {
		c.Logger = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		c.Observe = func(route, method string, status int, _ time.Duration) {
			seen = append(seen, fmt.Sprintf("%s %s %d", method, route, status))
		}
	})
	apitest.Call(h, "POST", "/auth/sign-in/?q=secret-1", `{"username":"secret-2","password":"secret-3"}`, "X-Request-Id: id-1")
	apitest.Call(h, "POST", "/auth/refresh/", `{"CSRF_token":"secret-4"}`, "Cookie: refresh_cookie=secret-5", "Authorization: Bearer secret-6")
	apitest.Call(h, "secret-7", "/secret-8/secret-9", "")
	f.Panics = errors.New("secret-10")
	res := apitest.Call(h, "POST", "/auth/sign-in/", `{"username":"a","password":"b"}`, "Origin: "+apitest.SPA)
	apitest.Want(t, res, 500, "internal")
	if res.Header.Get("Access-Control-Allow-Origin") != apitest.SPA {
		t.Errorf("the answer to a panic lacks CORS: %v", res.Header)
	}
	if strings.Contains(log.String(), "secret") {
		t.Errorf("the log contains a secret:\n%s", log.String())
	}
	for _, part := range []string{`"request_id":"id-1"`, `"error":"internal: : the cause"`, `"route":"/auth/sign-in"`, `"code":"internal"`, `"status":500`, "panic in a handler"} {
		if !strings.Contains(log.String(), part) {
			t.Errorf("the log lacks %s:\n%s", part, log.String())
		}
	}
	observed := "POST /auth/sign-in 500,POST /auth/refresh 500,other unmatched 404,POST /auth/sign-in 500"
	if got := strings.Join(seen, ","); got != observed {
		t.Errorf("observed %s\nwant     %s", got, observed)
	}
}

// TestHostsOfStrangersAreNotErrors has requests that fail because a host that a client names does not answer: anyone can send those.
func TestHostsOfStrangersAreNotErrors(t *testing.T) {
	for _, tt := range []struct {
		cause error
		level string
	}{
		{broker.ErrUpstreamUnavailable, "level=ERROR"},
		{errors.Join(broker.ErrClientDocument, broker.ErrUpstreamUnavailable), "level=INFO"},
		{errors.Join(broker.ErrClientKeys, broker.ErrUpstreamUnavailable), "level=INFO"},
	} {
		var log bytes.Buffer
		f := &apitest.Fake{Err: &broker.Error{Code: broker.CodeUpstreamUnavailable, Err: tt.cause}}
		h := apitest.New(t, f, func(c *api.Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		apitest.Want(t, apitest.Call(h, "POST", "/auth/sign-in/", `{"username":"a","password":"b"}`), 503, "upstream_unavailable")
		if !strings.Contains(log.String(), tt.level+" msg=request") {
			t.Errorf("%v: want %s:\n%s", tt.cause, tt.level, log.String())
		}
	}
}

func TestCallerThatLeftIs499(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequestWithContext(ctx, "POST", apitest.Own+"/auth/sign-in/", strings.NewReader(`{"username":"a","password":"b"}`))
	r.Header.Set("Content-Type", "application/json")
	apitest.Want(t, apitest.Serve(apitest.New(t, &apitest.Fake{Err: context.Canceled}), r), 499, "client_closed_request")
	apitest.Want(t, apitest.Call(apitest.New(t, &apitest.Fake{Err: fmt.Errorf("asking: %w", context.DeadlineExceeded)}), "POST", "/auth/sign-in/", `{"username":"a","password":"b"}`), 503, "unavailable")
}
