package api_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/api"
	"tokenbroker/api/web"
	"tokenbroker/broker"
)

func sortStrings(s []string) { sort.Strings(s) }

func nullDocument() ([]byte, string, time.Duration) { return nil, "", 0 }

func TestCORS(t *testing.T) {
	h := newAPI(t, &fake{err: &broker.Error{Code: broker.CodeCSRF}})
	allowed := func(t *testing.T, res *http.Response, want bool) {
		t.Helper()
		origin := ""
		if want {
			origin = spa
		}
		if got := res.Header.Get("Access-Control-Allow-Origin"); got != origin || (res.Header.Get("Access-Control-Allow-Credentials") == "true") != want {
			t.Errorf("allowed %q, want %q", got, origin)
		}
		if !strings.Contains(strings.Join(res.Header.Values("Vary"), ","), "Origin") {
			t.Errorf("Vary %v", res.Header.Values("Vary"))
		}
	}
	for name, res := range map[string]*http.Response{
		"refusal by the broker": call(h, "POST", "/auth/refresh/", "{}", "Origin: "+spa, "Cookie: "+cookie),
		"415":                   call(h, "POST", "/auth/refresh/", "{}", "Origin: "+spa, "Content-Type: text/plain"),
		"413":                   call(h, "POST", "/auth/refresh/", strings.Repeat("x", 70<<10), "Origin: "+spa),
		"404":                   call(h, "POST", "/auth/nothing/", "", "Origin: "+spa),
		"405":                   call(h, "GET", "/auth/refresh/", "", "Origin: "+spa),
		"401":                   call(h, "GET", "/auth/session/", "", "Origin: "+spa),
	} {
		t.Run(name, func(t *testing.T) { allowed(t, res, true) })
	}
	t.Run("pre-flight", func(t *testing.T) {
		res := call(h, "OPTIONS", "/auth/refresh/", "", "Origin: "+spa, "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: content-type,x-csrf-token")
		allowed(t, res, true)
		if res.StatusCode != 204 || !strings.Contains(res.Header.Get("Access-Control-Allow-Methods"), "POST") ||
			!strings.Contains(res.Header.Get("Access-Control-Allow-Headers"), "Content-Type, X-CSRF-Token") {
			t.Errorf("%d %v", res.StatusCode, res.Header)
		}
	})
	t.Run("pre-flight of what front ends send with every request", func(t *testing.T) {
		for _, asked := range [][]string{
			{"content-type,x-requested-with"}, {"content-type, x-csrftoken"}, {"X-CSRFToken"}, {"x-csrf-token"}, {"traceparent", "tracestate", "baggage"},
			{"sentry-trace,baggage", "x-requested-with"}, {"b3"}, {"x-b3-traceid,x-b3-spanid,x-b3-sampled"}, {"x-amzn-trace-id"}, {"request-id"},
			{"accept,authorization,content-type,user-agent,x-csrftoken,x-requested-with"}, {"cache-control,pragma"}, {"SENTRY-TRACE"},
		} {
			headers := []string{"Origin: " + spa, "Access-Control-Request-Method: POST"}
			for _, line := range asked {
				headers = append(headers, "Access-Control-Request-Headers: "+line)
			}
			res := call(h, "OPTIONS", "/auth/sign-in/", "", headers...)
			allowed(t, res, true)
			if missing := notAllowed(res, asked); res.StatusCode != 204 || missing != "" {
				t.Errorf("%q: %d, %q may not be sent", asked, res.StatusCode, missing)
			}
		}
		res := call(h, "OPTIONS", "/auth/sign-in/", "", "Origin: "+spa, "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: x-http-method-override")
		if notAllowed(res, []string{"x-http-method-override"}) == "" || notAllowed(res, []string{"cookie"}) == "" {
			t.Errorf("any header may be sent: %v", res.Header)
		}
	})
	t.Run("a wait can be read", func(t *testing.T) {
		h := newAPI(t, &fake{err: &broker.Error{Code: broker.CodeTooManyAttempts, RetryAfter: 7 * time.Second}})
		res := call(h, "POST", "/auth/sign-in/", `{"username":"a","password":"b"}`, "Origin: "+spa)
		exposed := strings.Split(res.Header.Get("Access-Control-Expose-Headers"), ", ")
		for _, name := range []string{"Retry-After", "X-Request-Id", "WWW-Authenticate"} {
			if !slices.Contains(exposed, name) {
				t.Errorf("%s cannot be read", name)
			}
		}
		if res.Header.Get("Retry-After") != "7" {
			t.Errorf("%v", res.Header)
		}
	})
	t.Run("pre-flight of a foreign origin", func(t *testing.T) {
		res := call(h, "OPTIONS", "/auth/refresh/", "", "Origin: http://evil.example", "Access-Control-Request-Method: POST")
		allowed(t, res, false)
		want(t, res, 403, "forbidden_origin")
	})
	t.Run("null", func(t *testing.T) { allowed(t, call(h, "GET", "/auth/session/", "", "Origin: null"), false) })
	t.Run("not outside /auth", func(t *testing.T) {
		for _, path := range []string{"/livez", "/authority"} {
			if res := call(h, "GET", path, "", "Origin: "+spa); res.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s: %v", path, res.Header)
			}
		}
	})
}

// notAllowed returns the first of the headers that a browser would not send after this pre-flight
// (Fetch §4.8), or "".
func notAllowed(preflight *http.Response, asked []string) string {
	allowed := strings.Split(strings.Join(preflight.Header.Values("Access-Control-Allow-Headers"), ","), ",")
	for _, name := range strings.Split(strings.Join(asked, ","), ",") {
		name = strings.TrimSpace(name)
		if !slices.ContainsFunc(allowed, func(one string) bool { return strings.EqualFold(strings.TrimSpace(one), name) }) {
			return name
		}
	}
	return ""
}

// trustClient makes a trusted proxy of the tests' client.
func trustClient(c *api.Config) { c.TrustedProxies = []string{"192.0.2.1"} }

// Anybody else could give their requests the id of another's in the log.
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
		r := httptest.NewRequest("GET", own+"/livez", nil)
		r.RemoteAddr = tt.peer
		r.Header.Set("X-Request-Id", "id-1")
		r.Header.Set("X-Forwarded-For", "192.0.2.1")
		res := serve(newAPI(t, &fake{}, func(c *api.Config) { c.TrustedProxies = tt.proxies }), r)
		if id := res.Header.Get("X-Request-Id"); id == "" || (id == "id-1") != tt.taken {
			t.Errorf("%s by %v: id %q, taken: want %v", tt.peer, tt.proxies, id, tt.taken)
		}
	}
	r := httptest.NewRequest("GET", own+"/livez", nil)
	r.RemoteAddr = "192.0.2.1:1234"
	r.Header["X-Request-Id"] = []string{"id-1", "id-2"}
	if id := serve(newAPI(t, &fake{}, trustClient), r).Header.Get("X-Request-Id"); id == "id-1" || id == "id-2" {
		t.Errorf("two ids: %q was taken", id)
	}
}

func TestStrictTransportSecurity(t *testing.T) {
	answers := map[string]func(h http.Handler) *http.Response{
		"200": func(h http.Handler) *http.Response { return call(h, "GET", "/livez", "") },
		"404": func(h http.Handler) *http.Response { return call(h, "GET", "/nothing", "") },
		"405": func(h http.Handler) *http.Response { return call(h, "GET", "/auth/sign-in", "") },
		"415": func(h http.Handler) *http.Response { return call(h, "POST", "/auth/sign-in", "", "Content-Type: ") },
		"403": func(h http.Handler) *http.Response {
			return call(h, "OPTIONS", "/auth/refresh", "", "Origin: null", "Access-Control-Request-Method: POST")
		},
		"500": func(h http.Handler) *http.Response {
			return call(h, "POST", "/auth/sign-in", `{"username":"a","password":"b"}`)
		},
	}
	for issuer, want := range map[string]string{"https://auth.example.com": "max-age=31536000", own: ""} {
		h := newAPI(t, &fake{panics: "a panic"}, func(c *api.Config) { c.Issuer, c.Origins = issuer, nil })
		for status, ask := range answers {
			res := ask(h)
			if got := res.Header.Get("Strict-Transport-Security"); got != want || strconv.Itoa(res.StatusCode) != status {
				t.Errorf("%s: %d with %q, want %s with %q", issuer, res.StatusCode, got, status, want)
			}
		}
	}
}

func TestRequestIDAndSecurityHeaders(t *testing.T) {
	h := newAPI(t, &fake{}, trustClient)
	for sent, keep := range map[string]bool{
		"abc-1.2_3": true, strings.Repeat("a", 64): true, strings.Repeat("a", 65): false, "a b": false, "ä": false, "a\nb": false, "": false,
	} {
		res := call(h, "GET", "/livez", "", "X-Request-Id: "+sent)
		if got := res.Header.Get("X-Request-Id"); (got == sent) != keep || got == "" {
			t.Errorf("sent %q, got %q", sent, got)
		}
		if res.Header.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(res.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
			t.Errorf("headers %v", res.Header)
		}
	}
}

func TestLogHoldsNoSecretAndObserveNoPath(t *testing.T) {
	var log bytes.Buffer
	var seen []string
	f := &fake{err: &broker.Error{Code: broker.CodeInternal, Err: errors.New("the cause")}}
	h := newAPI(t, f, trustClient, func(c *api.Config) {
		c.Logger = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		c.Observe = func(route, method string, status int, _ time.Duration) {
			seen = append(seen, fmt.Sprintf("%s %s %d", method, route, status))
		}
	})
	call(h, "POST", "/auth/sign-in/?q=secret-1", `{"username":"secret-2","password":"secret-3"}`, "X-Request-Id: id-1")
	call(h, "POST", "/auth/refresh/", `{"CSRF_token":"secret-4"}`, "Cookie: refresh_cookie=secret-5", "Authorization: Bearer secret-6")
	call(h, "secret-7", "/secret-8/secret-9", "")
	f.panics = errors.New("secret-10")
	res := call(h, "POST", "/auth/sign-in/", `{"username":"a","password":"b"}`, "Origin: "+spa)
	want(t, res, 500, "internal")
	if res.Header.Get("Access-Control-Allow-Origin") != spa {
		t.Errorf("the answer to a panic lacks CORS: %v", res.Header)
	}
	if strings.Contains(log.String(), "secret") {
		t.Errorf("the log holds a secret:\n%s", log.String())
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

func TestCallerWhoLeft(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequestWithContext(ctx, "POST", own+"/auth/sign-in/", strings.NewReader(`{"username":"a","password":"b"}`))
	r.Header.Set("Content-Type", "application/json")
	want(t, serve(newAPI(t, &fake{err: context.Canceled}), r), 499, "client_closed_request")
	want(t, call(newAPI(t, &fake{err: fmt.Errorf("asking: %w", context.DeadlineExceeded)}), "POST", "/auth/sign-in/", `{"username":"a","password":"b"}`), 503, "unavailable")
}

func TestNewRefuses(t *testing.T) {
	tests := map[string]struct {
		change func(*api.Config)
		want   string
	}{
		"no issuer":            {func(c *api.Config) { c.Issuer = "" }, "issuer"},
		"cookie elsewhere":     {func(c *api.Config) { c.Cookie.Path = "/app" }, "cookie path"},
		"a prefixed cookie":    {func(c *api.Config) { c.Cookie.Name = "__Host-x" }, "cookie name"},
		"no token life":        {func(c *api.Config) { c.MaxTokenLifetime = nil }, "missing: MaxTokenLifetime"},
		"no broker":            {func(c *api.Config) { c.Sessions = nil }, "missing: Sessions"},
		"a bad proxy":          {func(c *api.Config) { c.TrustedProxies = []string{"nonsense"} }, "trusted proxies"},
		"an origin with path":  {func(c *api.Config) { c.Origins = []string{spa + "/app"} }, "want scheme://host"},
		"the null origin":      {func(c *api.Config) { c.Origins = []string{"null"} }, "want scheme://host"},
		"localhost, 127.0.0.1": {func(c *api.Config) { c.Origins = []string{"http://localhost:5173"} }, "not same-site"},
		"another scheme":       {func(c *api.Config) { c.Origins = []string{"https://127.0.0.1:5173"} }, "not same-site"},
		"another tenant": {func(c *api.Config) { c.Issuer, c.Origins = "https://a.github.io", []string{"https://b.github.io"} },
			"not same-site"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := config(&fake{})
			tt.change(&cfg)
			if _, err := api.New(cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
	cfg := config(&fake{})
	cfg.Issuer, cfg.Origins = "https://auth.example.co.uk/", []string{"https://App.example.co.uk:443/"}
	if _, err := api.New(cfg); err != nil {
		t.Errorf("same site: %v", err)
	}
}

// TestAnyPageMayImportTheSDK: a module script needs CORS, and a page with
// Cross-Origin-Embedder-Policy also Cross-Origin-Resource-Policy.
func TestAnyPageMayImportTheSDK(t *testing.T) {
	cfg := config(&fake{})
	cfg.DemoSample = "http://127.0.0.1:8082"
	h, err := api.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	headers := func(res *http.Response) [2]string {
		return [2]string{res.Header.Get("Access-Control-Allow-Origin"), res.Header.Get("Cross-Origin-Resource-Policy")}
	}
	for _, path := range []string{"/web/client.js", "/web/client.js/", "/web/client.d.ts", "/web/client.js?v=1"} {
		var tag string
		for _, origin := range []string{"Origin: " + spa, "Origin: https://elsewhere.example", "Origin: null", "X-None: "} {
			res := call(h, "GET", path, "", origin)
			if got := headers(res); res.StatusCode != 200 || got != [2]string{"*", "cross-origin"} {
				t.Errorf("%s, %s: %d %q", path, origin, res.StatusCode, got)
			}
			if res.Header.Get("Access-Control-Allow-Credentials") != "" || res.Header.Get("Vary") != "" || res.Header.Get("Cache-Control") != "no-cache" {
				t.Errorf("%s: one cached copy is not good for all: %v", path, res.Header)
			}
			tag = res.Header.Get("ETag")
		}
		again := call(h, "GET", path, "", "Origin: "+spa, "If-None-Match: "+tag)
		if got := headers(again); again.StatusCode != 304 || got != [2]string{"*", "cross-origin"} || again.Header.Get("ETag") != tag {
			t.Errorf("%s again: %d %v", path, again.StatusCode, again.Header)
		}
		if res := call(h, "GET", path, "", `If-None-Match: "another"`); res.StatusCode != 200 {
			t.Errorf("%s with another tag: %d", path, res.StatusCode)
		}
		preflight := call(h, "OPTIONS", path, "", "Origin: https://elsewhere.example", "Access-Control-Request-Method: GET", "Access-Control-Request-Headers: x-trace")
		if got := headers(preflight); preflight.StatusCode != 204 || got != [2]string{"*", "cross-origin"} ||
			preflight.Header.Get("Access-Control-Allow-Methods") != "GET, HEAD" || preflight.Header.Get("Access-Control-Allow-Headers") != "*" {
			t.Errorf("%s, pre-flight: %d %v", path, preflight.StatusCode, preflight.Header)
		}
		if res := call(h, "POST", path, "", "Origin: "+spa); res.StatusCode != 405 {
			t.Errorf("POST %s: %d", path, res.StatusCode)
		}
	}
	for _, path := range []string{"/", "/web/demo.js", "/web/client.jsx", "/web/", "/web/client.js/x", "/WEB/client.js"} {
		if got := headers(call(h, "GET", path, "", "Origin: "+spa)); got != [2]string{"", "same-origin"} {
			t.Errorf("%s: %q", path, got)
		}
	}
}

// The SDK's types name every code that the public listener answers with.
func TestTypesOfTheSDKNameEveryCode(t *testing.T) {
	types, err := web.Files.ReadFile("client.d.ts")
	if err != nil {
		t.Fatal(err)
	}
	_, union, _ := strings.Cut(string(types), "type BrokerErrorCode =")
	union, _, _ = strings.Cut(union, ";")
	var named []string
	for _, m := range regexp.MustCompile(`"(\w+)"`).FindAllStringSubmatch(union, -1) {
		named = append(named, m[1])
	}
	answered := append(api.PublicCodes(), "invalid_parameter") // of ?wait, which operators have as well
	sortStrings(answered)
	if diff := cmp.Diff(answered, named); diff != "" {
		t.Errorf("client.d.ts differs (-answered +named):\n%s", diff)
	}
}
