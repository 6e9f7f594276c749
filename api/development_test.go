package api_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"tokenbroker/api"
	"tokenbroker/broker"
)

func inDevelopment(c *api.Config) { c.InsecureDevelopment = true }

// loopbackPages are origins of pages on this machine that are not configured.
var loopbackPages = []string{"http://localhost:5173", "http://localhost", "http://127.0.0.1:4200", "http://[::1]:3000"}

func TestDevelopmentAllowsLoopbackOriginsOnly(t *testing.T) {
	h := newAPI(t, &fake{}, inDevelopment, func(c *api.Config) { c.Origins = []string{"http://app.test:3000", "https://app.test"} })
	for _, origin := range slices.Concat(loopbackPages, []string{"http://app.test:3000", "https://app.test", own}) {
		if res := preflight(h, origin); res.StatusCode != http.StatusNoContent || res.Header.Get("Access-Control-Allow-Origin") != origin {
			t.Errorf("%s: its pre-flight is answered %d, %v", origin, res.StatusCode, res.Header)
		}
		if res := call(h, "POST", "/auth/sign-in/", `{"username":"a","password":"b"}`, "Origin: "+origin); res.StatusCode != http.StatusOK {
			t.Errorf("%s: its sign-in is answered %d", origin, res.StatusCode)
		}
	}
	for _, origin := range []string{
		"null", "*", "https://localhost:5173", "http://localhost:5173/", "http://localhost:080", "http://localhost:80", "http://LOCALHOST:5173",
		"http://localhost.evil.example", "http://evil.localhost", "http://127.0.0.1.evil.example", "http://evil.example", "http://a@localhost:5173",
		"http://127.0.0.2:5173", "http://127.1:5173", "http://[::1%25lo]:5173", "http://[::ffff:127.0.0.1]:5173", "http://0.0.0.0:5173",
		"ws://localhost:5173", "http://localhost:5173 http://localhost:5174", "http://localhost:70000", "http://app.test:3001", "",
	} {
		want(t, preflight(h, origin), 403, "forbidden_origin")
		want(t, call(h, "POST", "/auth/sign-in/", `{"username":"a","password":"b"}`, "Origin: "+origin), 403, "forbidden_origin")
	}
}

// A broker that serves has the origins of its configuration, and no others, also on loopback.
func TestLoopbackOriginsAreForDevelopmentOnly(t *testing.T) {
	_, h := loginServer(t, "cognito")
	for _, origin := range loopbackPages {
		want(t, preflight(h, origin), 403, "forbidden_origin")
		want(t, call(h, "POST", "/auth/sign-in/", `{"username":"a","password":"b"}`, "Origin: "+origin), 403, "forbidden_origin")
		want(t, get(h, "/auth/login/?return_to="+url.QueryEscape(origin+"/")), 400, "invalid_return_to")
	}
	for _, host := range []string{"localhost:8080", "localhost:5173", "[::1]:8080", "app.test", "127.0.0.1:1"} {
		r := httptest.NewRequest(http.MethodGet, "/auth/login/", nil)
		r.Host = host
		if got := callbackOf(t, h, r); got != own+"/auth/callback/cognito/" {
			t.Errorf("Host %s: the callback is %s", host, got)
		}
	}
	if _, err := newHandler(&fake{}, func(c *api.Config) { c.Origins = []string{"http://localhost:5173"} }); err == nil || !strings.Contains(err.Error(), "same-site") {
		t.Errorf("an origin of another site: %v", err)
	}
}

func TestDevelopmentIsRefusedOffLoopback(t *testing.T) {
	for issuer, insecureCookies := range map[string]bool{
		"https://127.0.0.1:8080": true, "https://auth.example.com": true, "http://auth.example.com": true, "http://192.168.1.2:8080": true,
		"http://localhost.example.com": true, own: false,
	} {
		if _, err := newHandler(&fake{}, inDevelopment, func(c *api.Config) {
			c.Issuer, c.Origins, c.Cookie.Insecure = issuer, nil, insecureCookies
		}); err == nil || !strings.Contains(err.Error(), "InsecureDevelopment") {
			t.Errorf("issuer %s, insecure cookies %t: %v", issuer, insecureCookies, err)
		}
	}
	for _, issuer := range []string{own, "http://localhost:1", "http://[::1]:1", "http://127.0.0.9:1"} {
		if _, err := newHandler(&fake{}, inDevelopment, func(c *api.Config) { c.Issuer, c.Origins = issuer, nil }); err != nil {
			t.Errorf("issuer %s: %v", issuer, err)
		}
	}
}

func TestLoginInDevelopmentComesBackToTheRequestsHost(t *testing.T) {
	f := &fakeLogins{names: []string{"cognito"}, fake: &fake{}}
	cfg := config(f.fake)
	cfg.Logins, cfg.InsecureDevelopment, cfg.Origins = f, true, []string{"https://app.test", "http://broker.test:8080"}
	h, err := api.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for host, base := range map[string]string{
		"127.0.0.1:8080": own, "localhost:8080": "http://localhost:8080", "LocalHost:8080": "http://localhost:8080", "[::1]:8080": "http://[::1]:8080",
		"localhost:5173": "http://localhost:5173", // through the proxy of the SPA's development server
		"app.test":       "https://app.test", "broker.test:8080": "http://broker.test:8080",
		"evil.example": own, "localhost.evil.example:8080": own, "localhost:8080@evil.example": own, "app.test:81": own, "": own, "localhost:8080/x": own,
	} {
		r := httptest.NewRequest(http.MethodGet, "/auth/login/?return_to="+url.QueryEscape("http://localhost:5173/tasks?id=1#open"), nil)
		r.Host = host
		r.Header.Set("X-Forwarded-Host", "evil.example")
		if got := callbackOf(t, h, r); got != base+"/auth/callback/cognito/" {
			t.Errorf("Host %q: the callback is %s, want it at %s", host, got, base)
		}
		if f.returnTo != "http://localhost:5173/tasks?id=1#open" {
			t.Errorf("Host %q: return_to is %s", host, f.returnTo)
		}
	}
	for _, to := range []string{"https://localhost:5173/", "http://localhost.evil.example/", "http://localhost:5173@evil.example/", "//localhost:5173/"} {
		want(t, get(h, "/auth/login/?return_to="+url.QueryEscape(to)), 400, "invalid_return_to")
	}
}

// A page that logs off in development is where the provider's log-out ends. A broker that serves uses the
// configured page, whatever the Origin is.
func TestLogOffInDevelopmentComesBackToThePage(t *testing.T) {
	logOff := func(h http.Handler, headers ...string) {
		t.Helper()
		res := call(h, "POST", "/auth/logoff/", `{"CSRF_token":"csrf-1"}`, append(headers, "Cookie: refresh_cookie=t")...)
		if res.StatusCode != http.StatusOK {
			t.Fatalf("%v: %d", headers, res.StatusCode)
		}
	}
	f := &fake{logOff: broker.LogOffResult{Ended: true, Broadcast: true}}
	h := newAPI(t, f, inDevelopment, func(c *api.Config) { c.Origins = []string{"https://app.test"} })
	for _, page := range append(loopbackPages, "https://app.test", own) {
		if logOff(h, "Origin: "+page); f.req.LogoutReturn != page+"/" {
			t.Errorf("%s: the log-out comes back to %q", page, f.req.LogoutReturn)
		}
	}
	if logOff(h); f.req.LogoutReturn != "" {
		t.Errorf("without an Origin: the log-out comes back to %q", f.req.LogoutReturn)
	}
	if logOff(newAPI(t, f), "Origin: "+own); f.req.LogoutReturn != "" {
		t.Errorf("a broker that serves: the log-out comes back to %q", f.req.LogoutReturn)
	}
}

func preflight(h http.Handler, origin string) *http.Response {
	return call(h, "OPTIONS", "/auth/sign-in/", "", "Origin: "+origin, "Access-Control-Request-Method: POST")
}

// callbackOf returns the redirect_uri that a login sends to the provider.
func callbackOf(t *testing.T, h http.Handler, r *http.Request) string {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	res := w.Result()
	to, err := res.Location()
	if err != nil {
		body, _ := io.ReadAll(res.Body)
		t.Fatalf("%d %s", res.StatusCode, body)
	}
	return to.Query().Get("redirect_uri")
}
