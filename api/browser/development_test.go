package browser_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"tokenbroker/api"
	"tokenbroker/api/internal/apitest"
	"tokenbroker/broker"
)

// Outside of development, a broker allows only the configured origins, also on loopback.
func TestLoopbackOriginsAreForDevelopmentOnly(t *testing.T) {
	_, h := apitest.NewWithLogins(t, "cognito")
	for _, origin := range apitest.LoopbackPages {
		apitest.Want(t, apitest.Preflight(h, origin), 403, "forbidden_origin")
		apitest.Want(t, apitest.Call(h, "POST", "/auth/sign-in/", `{"username":"a","password":"b"}`, "Origin: "+origin), 403, "forbidden_origin")
		apitest.Want(t, apitest.Get(h, "/auth/login/?return_to="+url.QueryEscape(origin+"/")), 400, "invalid_return_to")
	}
	for _, host := range []string{"localhost:8080", "localhost:5173", "[::1]:8080", "app.test", "127.0.0.1:1"} {
		r := httptest.NewRequest(http.MethodGet, "/auth/login/", nil)
		r.Host = host
		if got := callbackOf(t, h, r); got != apitest.Own+"/auth/callback/cognito/" {
			t.Errorf("Host %s: the callback is %s", host, got)
		}
	}
	if _, err := apitest.NewHandler(&apitest.Fake{}, func(c *api.Config) { c.Origins = []string{"http://localhost:5173"} }); err == nil || !strings.Contains(err.Error(), "same-site") {
		t.Errorf("an origin of another site: %v", err)
	}
}

func TestLoginInDevelopmentReturnsToTheRequestsHost(t *testing.T) {
	f := &apitest.Logins{Names: []string{"cognito"}, Fake: &apitest.Fake{}}
	cfg := apitest.Config(f.Fake)
	cfg.Browser.Logins, cfg.InsecureDevelopment, cfg.Origins = f, true, []string{"https://app.test", "http://broker.test:8080"}
	h, err := api.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for host, base := range map[string]string{
		"127.0.0.1:8080": apitest.Own, "localhost:8080": "http://localhost:8080", "LocalHost:8080": "http://localhost:8080", "[::1]:8080": "http://[::1]:8080",
		"localhost:5173": "http://localhost:5173", // through the proxy of the SPA's development server
		"app.test":       "https://app.test", "broker.test:8080": "http://broker.test:8080",
		"evil.example": apitest.Own, "localhost.evil.example:8080": apitest.Own, "localhost:8080@evil.example": apitest.Own, "app.test:81": apitest.Own, "": apitest.Own, "localhost:8080/x": apitest.Own,
	} {
		r := httptest.NewRequest(http.MethodGet, "/auth/login/?return_to="+url.QueryEscape("http://localhost:5173/tasks?id=1#open"), nil)
		r.Host = host
		r.Header.Set("X-Forwarded-Host", "evil.example")
		if got := callbackOf(t, h, r); got != base+"/auth/callback/cognito/" {
			t.Errorf("Host %q: the callback is %s, want it at %s", host, got, base)
		}
		if f.ReturnTo != "http://localhost:5173/tasks?id=1#open" {
			t.Errorf("Host %q: return_to is %s", host, f.ReturnTo)
		}
	}
	for _, to := range []string{"https://localhost:5173/", "http://localhost.evil.example/", "http://localhost:5173@evil.example/", "//localhost:5173/"} {
		apitest.Want(t, apitest.Get(h, "/auth/login/?return_to="+url.QueryEscape(to)), 400, "invalid_return_to")
	}
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

// A page that logs off in development is where the provider's log-out ends. Outside of
// development, it is the configured page, independent of the Origin.
func TestLogOffInDevelopmentReturnsToThePage(t *testing.T) {
	logOff := func(h http.Handler, headers ...string) {
		t.Helper()
		res := apitest.Call(h, "POST", "/auth/logoff/", `{"CSRF_token":"csrf-1"}`, append(headers, "Cookie: refresh_cookie=t")...)
		if res.StatusCode != http.StatusOK {
			t.Fatalf("%v: %d", headers, res.StatusCode)
		}
	}
	f := &apitest.Fake{LogOffResult: broker.LogOffResult{Ended: true, Broadcast: true}}
	h := apitest.New(t, f, func(c *api.Config) { c.InsecureDevelopment = true }, func(c *api.Config) { c.Origins = []string{"https://app.test"} })
	for _, page := range append(apitest.LoopbackPages, "https://app.test", apitest.Own) {
		if logOff(h, "Origin: "+page); f.Req.LogoutReturn != page+"/" {
			t.Errorf("%s: the log-out returns to %q", page, f.Req.LogoutReturn)
		}
	}
	if logOff(h); f.Req.LogoutReturn != "" {
		t.Errorf("without an Origin: the log-out returns to %q", f.Req.LogoutReturn)
	}
	if logOff(apitest.New(t, f), "Origin: "+apitest.Own); f.Req.LogoutReturn != "" {
		t.Errorf("outside of development: the log-out returns to %q", f.Req.LogoutReturn)
	}
}
