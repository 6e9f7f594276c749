package httpapi_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenbroker/api"
	"tokenbroker/api/internal/apitest"
	"tokenbroker/broker"
)

func TestCORS(t *testing.T) {
	h := apitest.New(t, &apitest.Fake{Err: &broker.Error{Code: broker.CodeCSRF}})
	allowed := func(t *testing.T, res *http.Response, want bool) {
		t.Helper()
		origin := ""
		if want {
			origin = apitest.SPA
		}
		if got := res.Header.Get("Access-Control-Allow-Origin"); got != origin || (res.Header.Get("Access-Control-Allow-Credentials") == "true") != want {
			t.Errorf("allowed %q, want %q", got, origin)
		}
		if !strings.Contains(strings.Join(res.Header.Values("Vary"), ","), "Origin") {
			t.Errorf("Vary %v", res.Header.Values("Vary"))
		}
	}
	for name, res := range map[string]*http.Response{
		"refusal by the broker": apitest.Call(h, "POST", "/auth/refresh/", "{}", "Origin: "+apitest.SPA, "Cookie: "+apitest.Cookie),
		"415":                   apitest.Call(h, "POST", "/auth/refresh/", "{}", "Origin: "+apitest.SPA, "Content-Type: text/plain"),
		"413":                   apitest.Call(h, "POST", "/auth/refresh/", strings.Repeat("x", 70<<10), "Origin: "+apitest.SPA),
		"404":                   apitest.Call(h, "POST", "/auth/nothing/", "", "Origin: "+apitest.SPA),
		"405":                   apitest.Call(h, "GET", "/auth/refresh/", "", "Origin: "+apitest.SPA),
		"401":                   apitest.Call(h, "GET", "/auth/session/", "", "Origin: "+apitest.SPA),
	} {
		t.Run(name, func(t *testing.T) { allowed(t, res, true) })
	}
	t.Run("pre-flight", func(t *testing.T) {
		res := apitest.Call(h, "OPTIONS", "/auth/refresh/", "", "Origin: "+apitest.SPA, "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: content-type,x-csrf-token")
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
			headers := []string{"Origin: " + apitest.SPA, "Access-Control-Request-Method: POST"}
			for _, line := range asked {
				headers = append(headers, "Access-Control-Request-Headers: "+line)
			}
			res := apitest.Call(h, "OPTIONS", "/auth/sign-in/", "", headers...)
			allowed(t, res, true)
			if missing := notAllowed(res, asked); res.StatusCode != 204 || missing != "" {
				t.Errorf("%q: %d, %q may not be sent", asked, res.StatusCode, missing)
			}
		}
		res := apitest.Call(h, "OPTIONS", "/auth/sign-in/", "", "Origin: "+apitest.SPA, "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: x-http-method-override")
		if notAllowed(res, []string{"x-http-method-override"}) == "" || notAllowed(res, []string{"cookie"}) == "" {
			t.Errorf("any header may be sent: %v", res.Header)
		}
	})
	t.Run("a wait can be read", func(t *testing.T) {
		h := apitest.New(t, &apitest.Fake{Err: &broker.Error{Code: broker.CodeTooManyAttempts, RetryAfter: 7 * time.Second}})
		res := apitest.Call(h, "POST", "/auth/sign-in/", `{"username":"a","password":"b"}`, "Origin: "+apitest.SPA)
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
		res := apitest.Call(h, "OPTIONS", "/auth/refresh/", "", "Origin: http://evil.example", "Access-Control-Request-Method: POST")
		allowed(t, res, false)
		apitest.Want(t, res, 403, "forbidden_origin")
	})
	t.Run("null", func(t *testing.T) { allowed(t, apitest.Call(h, "GET", "/auth/session/", "", "Origin: null"), false) })
	t.Run("not outside /auth", func(t *testing.T) {
		for _, path := range []string{"/livez", "/authority"} {
			if res := apitest.Call(h, "GET", path, "", "Origin: "+apitest.SPA); res.Header.Get("Access-Control-Allow-Origin") != "" {
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

// TestAnyPageMayImportTheSDK: a module script needs CORS, and a page with
// Cross-Origin-Embedder-Policy also Cross-Origin-Resource-Policy.
func TestAnyPageMayImportTheSDK(t *testing.T) {
	cfg := apitest.Config(&apitest.Fake{})
	cfg.Browser.Demo.Services = []string{"http://127.0.0.1:8082"}
	h, err := api.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	headers := func(res *http.Response) [2]string {
		return [2]string{res.Header.Get("Access-Control-Allow-Origin"), res.Header.Get("Cross-Origin-Resource-Policy")}
	}
	for _, path := range []string{"/web/client.js", "/web/client.js/", "/web/client.d.ts", "/web/client.js?v=1"} {
		var tag string
		for _, origin := range []string{"Origin: " + apitest.SPA, "Origin: https://elsewhere.example", "Origin: null", "X-None: "} {
			res := apitest.Call(h, "GET", path, "", origin)
			if got := headers(res); res.StatusCode != 200 || got != [2]string{"*", "cross-origin"} {
				t.Errorf("%s, %s: %d %q", path, origin, res.StatusCode, got)
			}
			if res.Header.Get("Access-Control-Allow-Credentials") != "" || res.Header.Get("Vary") != "" || res.Header.Get("Cache-Control") != "no-cache" {
				t.Errorf("%s: callers cannot share one cached copy: %v", path, res.Header)
			}
			tag = res.Header.Get("ETag")
		}
		again := apitest.Call(h, "GET", path, "", "Origin: "+apitest.SPA, "If-None-Match: "+tag)
		if got := headers(again); again.StatusCode != 304 || got != [2]string{"*", "cross-origin"} || again.Header.Get("ETag") != tag {
			t.Errorf("%s again: %d %v", path, again.StatusCode, again.Header)
		}
		if res := apitest.Call(h, "GET", path, "", `If-None-Match: "another"`); res.StatusCode != 200 {
			t.Errorf("%s with another tag: %d", path, res.StatusCode)
		}
		preflight := apitest.Call(h, "OPTIONS", path, "", "Origin: https://elsewhere.example", "Access-Control-Request-Method: GET", "Access-Control-Request-Headers: x-trace")
		if got := headers(preflight); preflight.StatusCode != 204 || got != [2]string{"*", "cross-origin"} ||
			preflight.Header.Get("Access-Control-Allow-Methods") != "GET, HEAD" || preflight.Header.Get("Access-Control-Allow-Headers") != "*" {
			t.Errorf("%s, pre-flight: %d %v", path, preflight.StatusCode, preflight.Header)
		}
		if res := apitest.Call(h, "POST", path, "", "Origin: "+apitest.SPA); res.StatusCode != 405 {
			t.Errorf("POST %s: %d", path, res.StatusCode)
		}
	}
	for _, path := range []string{"/", "/web/demo.js", "/web/client.jsx", "/web/", "/web/client.js/x", "/WEB/client.js"} {
		if got := headers(apitest.Call(h, "GET", path, "", "Origin: "+apitest.SPA)); got != [2]string{"", "same-origin"} {
			t.Errorf("%s: %q", path, got)
		}
	}
}

func TestOriginAndFetchSite(t *testing.T) {
	tests := []struct {
		name    string
		headers []string
		ok      bool
	}{
		{"none (curl)", nil, true},
		{"own origin", []string{"Origin: " + apitest.Own}, true},
		{"configured origin of the same site", []string{"Origin: " + apitest.SPA, "Sec-Fetch-Site: same-site"}, true},
		{"null", []string{"Origin: null"}, false},
		{"empty", []string{"Origin: "}, false},
		{"another port", []string{"Origin: http://127.0.0.1:9999"}, false},
		{"another scheme", []string{"Origin: https://127.0.0.1:8080"}, false},
		{"a longer name", []string{"Origin: http://127.0.0.1:8080.evil.example"}, false},
		{"two", []string{"Origin: " + apitest.Own, "Origin: " + apitest.Own}, false},
		{"same-origin", []string{"Sec-Fetch-Site: same-origin"}, true},
		{"typed by the user", []string{"Sec-Fetch-Site: none"}, true},
		{"same-site without an origin", []string{"Sec-Fetch-Site: same-site"}, false},
		{"cross-site", []string{"Sec-Fetch-Site: cross-site"}, false},
		{"two fetch sites", []string{"Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site"}, false},
	}
	for _, path := range []string{"/auth/sign-in/", "/auth/refresh/", "/auth/logoff/", "/auth/verify/"} {
		for _, tt := range tests {
			t.Run(path+" "+tt.name, func(t *testing.T) {
				body := `{"username":"a","password":"b","token":"t","CSRF_token":"c"}`
				res := apitest.Call(apitest.New(t, &apitest.Fake{Claims: "{}"}), "POST", path, body, append(tt.headers, "Cookie: "+apitest.Cookie)...)
				if tt.ok && res.StatusCode != 200 {
					t.Errorf("status %d", res.StatusCode)
				}
				if !tt.ok {
					apitest.Want(t, res, 403, "forbidden_origin")
				}
			})
		}
	}
}

// The log names the refused origin, so that an operator can add it; the answer does not repeat it.
func TestARefusedOriginIsNamedInTheLog(t *testing.T) {
	long := "http://" + strings.Repeat("a", 4000) + ".example"
	for name, tt := range map[string]struct {
		method, origin string
		headers        []string
		want           string
	}{
		"sign-in":    {"POST", "http://localhost:5173", nil, `origin \"http://localhost:5173\" is not allowed: if your pages are served there, add it to origins`},
		"pre-flight": {"OPTIONS", "http://localhost:5173", []string{"Access-Control-Request-Method: POST"}, `origin \"http://localhost:5173\" is not allowed`},
		"long":       {"POST", long, nil, long[:128] + `...\"`},
		"hostile":    {"POST", "http://x\u202e\" level=INFO", nil, `\\u202e`},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			h := apitest.New(t, &apitest.Fake{}, func(c *api.Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
			res := apitest.Call(h, tt.method, "/auth/sign-in/", `{"username":"ada","password":"x"}`, append(tt.headers, "Origin: "+tt.origin)...)
			apitest.Want(t, res, 403, "forbidden_origin")
			if !strings.Contains(log.String(), tt.want) || strings.Count(log.String(), "\n") != 1 || log.Len() > 700 {
				t.Errorf("the log: %s", &log)
			}
		})
	}
}

// A reload removes an origin and adds another between two requests; an invalid list changes nothing.
func TestOriginsAreReplacedWhileServing(t *testing.T) {
	cfg := apitest.Config(&apitest.Fake{})
	cfg.Origins = []string{"http://127.0.0.1:5173"}
	public, err := api.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	status := func(origin string) int {
		r := httptest.NewRequest("POST", "/auth/sign-in/", strings.NewReader(`{"username":"a","password":"b"}`))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Origin", origin)
		return apitest.Serve(public, r).StatusCode
	}
	const before, after = "http://127.0.0.1:5173", "http://127.0.0.1:5174"
	expect := func(origin string, want int) {
		t.Helper()
		if got := status(origin); got != want {
			t.Errorf("%s: %d, want %d", origin, got, want)
		}
	}
	expect(before, http.StatusOK)
	expect(after, http.StatusForbidden)
	if err := public.SetOrigins([]string{after, "https://elsewhere.example"}); err == nil {
		t.Error("an origin of another site was accepted")
	}
	expect(before, http.StatusOK)
	if err := public.SetOrigins([]string{after}); err != nil {
		t.Fatal(err)
	}
	expect(before, http.StatusForbidden)
	expect(after, http.StatusOK)
}

func inDevelopment(c *api.Config) { c.InsecureDevelopment = true }

func TestDevelopmentAllowsLoopbackOriginsOnly(t *testing.T) {
	h := apitest.New(t, &apitest.Fake{}, inDevelopment, func(c *api.Config) { c.Origins = []string{"http://app.test:3000", "https://app.test"} })
	for _, origin := range slices.Concat(apitest.LoopbackPages, []string{"http://app.test:3000", "https://app.test", apitest.Own}) {
		if res := apitest.Preflight(h, origin); res.StatusCode != http.StatusNoContent || res.Header.Get("Access-Control-Allow-Origin") != origin {
			t.Errorf("%s: its pre-flight is answered %d, %v", origin, res.StatusCode, res.Header)
		}
		if res := apitest.Call(h, "POST", "/auth/sign-in/", `{"username":"a","password":"b"}`, "Origin: "+origin); res.StatusCode != http.StatusOK {
			t.Errorf("%s: its sign-in is answered %d", origin, res.StatusCode)
		}
	}
	for _, origin := range []string{
		"null", "*", "https://localhost:5173", "http://localhost:5173/", "http://localhost:080", "http://localhost:80", "http://LOCALHOST:5173",
		"http://localhost.evil.example", "http://evil.localhost", "http://127.0.0.1.evil.example", "http://evil.example", "http://a@localhost:5173",
		"http://127.0.0.2:5173", "http://127.1:5173", "http://[::1%25lo]:5173", "http://[::ffff:127.0.0.1]:5173", "http://0.0.0.0:5173",
		"ws://localhost:5173", "http://localhost:5173 http://localhost:5174", "http://localhost:70000", "http://app.test:3001", "",
	} {
		apitest.Want(t, apitest.Preflight(h, origin), 403, "forbidden_origin")
		apitest.Want(t, apitest.Call(h, "POST", "/auth/sign-in/", `{"username":"a","password":"b"}`, "Origin: "+origin), 403, "forbidden_origin")
	}
}

func TestDevelopmentIsRefusedOffLoopback(t *testing.T) {
	for issuer, insecureCookies := range map[string]bool{
		"https://127.0.0.1:8080": true, "https://auth.example.com": true, "http://auth.example.com": true, "http://192.168.1.2:8080": true,
		"http://localhost.example.com": true, apitest.Own: false,
	} {
		if _, err := apitest.NewHandler(&apitest.Fake{}, inDevelopment, func(c *api.Config) {
			c.Issuer, c.Origins, c.Browser.Cookie.Insecure = issuer, nil, insecureCookies
		}); err == nil || !strings.Contains(err.Error(), "InsecureDevelopment") {
			t.Errorf("issuer %s, insecure cookies %t: %v", issuer, insecureCookies, err)
		}
	}
	for _, issuer := range []string{apitest.Own, "http://localhost:1", "http://[::1]:1", "http://127.0.0.9:1"} {
		if _, err := apitest.NewHandler(&apitest.Fake{}, inDevelopment, func(c *api.Config) { c.Issuer, c.Origins = issuer, nil }); err != nil {
			t.Errorf("issuer %s: %v", issuer, err)
		}
	}
}
