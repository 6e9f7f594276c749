package api_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"tokenbroker/api"
	"tokenbroker/api/httpapi"
	"tokenbroker/api/internal/apitest"
	"tokenbroker/broker"
)

func TestNewRefuses(t *testing.T) {
	tests := map[string]struct {
		change func(*api.Config)
		want   string
	}{
		"no issuer":            {func(c *api.Config) { c.Issuer = "" }, "issuer"},
		"cookie elsewhere":     {func(c *api.Config) { c.Browser.Cookie.Path = "/app" }, "cookie path"},
		"a prefixed cookie":    {func(c *api.Config) { c.Browser.Cookie.Name = "__Host-x" }, "cookie name"},
		"no token life":        {func(c *api.Config) { c.OAuth.MaxTokenLifetime = nil }, "missing: MaxTokenLifetime"},
		"no broker":            {func(c *api.Config) { c.Browser.Sessions = nil }, "missing: Sessions"},
		"a bad proxy":          {func(c *api.Config) { c.TrustedProxies = []string{"nonsense"} }, "trusted proxies"},
		"an origin with path":  {func(c *api.Config) { c.Origins = []string{apitest.SPA + "/app"} }, "want scheme://host"},
		"the null origin":      {func(c *api.Config) { c.Origins = []string{"null"} }, "want scheme://host"},
		"localhost, 127.0.0.1": {func(c *api.Config) { c.Origins = []string{"http://localhost:5173"} }, "not same-site"},
		"another scheme":       {func(c *api.Config) { c.Origins = []string{"https://127.0.0.1:5173"} }, "not same-site"},
		"another tenant": {func(c *api.Config) { c.Issuer, c.Origins = "https://a.github.io", []string{"https://b.github.io"} },
			"not same-site"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := apitest.Config(&apitest.Fake{})
			tt.change(&cfg)
			if _, err := api.New(cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
	cfg := apitest.Config(&apitest.Fake{})
	cfg.Issuer, cfg.Origins = "https://auth.example.co.uk/", []string{"https://App.example.co.uk:443/"}
	if _, err := api.New(cfg); err != nil {
		t.Errorf("same site: %v", err)
	}
}

func TestBothSlashFormsAnswerWithoutRedirect(t *testing.T) {
	h := apitest.New(t, &apitest.Fake{Claims: "{}", Catchup: 1})
	for path, method := range map[string]string{
		"/auth/sign-in": "POST", "/auth/refresh": "POST", "/auth/verify": "POST", "/auth/logoff": "POST", "/auth/session": "GET",
		"/.well-known/openid-configuration": "GET", "/.well-known/oauth-authorization-server": "GET", "/.well-known/jwks.json": "GET",
		"/revocations": "GET", "/revocations/jwks.json": "GET", "/livez": "GET", "/healthz": "GET", "/readyz": "GET",
	} {
		body := ""
		if method == "POST" {
			body = `{"username":"a","password":"b","token":"t","CSRF_token":"c"}`
		}
		for _, p := range []string{path, path + "/"} {
			res := apitest.Call(h, method, p, body, "Cookie: "+apitest.Cookie, "Authorization: Basic ZGVtby1zZXJ2aWNlOmRlbW8tc2VydmljZS1zZWNyZXQ=")
			if res.StatusCode != 200 {
				t.Errorf("%s %s: %d", method, p, res.StatusCode)
			}
		}
	}
	apitest.Want(t, apitest.Call(h, "POST", "/auth/refresh//", ""), 404, "not_found")
	apitest.Want(t, apitest.Call(h, "GET", "/", ""), 404, "not_found")
	res := apitest.Call(h, "GET", "/auth/refresh/", "")
	apitest.Want(t, res, 405, "method_not_allowed")
	if res.Header.Get("Allow") != http.MethodPost {
		t.Errorf("Allow %q", res.Header.Get("Allow"))
	}
}

func TestHeadAnswersWithoutBody(t *testing.T) {
	srv := httptest.NewServer(apitest.New(t, &apitest.Fake{}))
	defer srv.Close()
	for path, length := range map[string]int64{"/.well-known/jwks.json": 14, "/livez": 15, "/readyz/": 18} {
		res, err := srv.Client().Head(srv.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != 200 || len(body) != 0 || res.ContentLength != length {
			t.Errorf("%s: %d, body %q, length %d", path, res.StatusCode, body, res.ContentLength)
		}
	}
}

// TestGuardRefusesBeforeTheEndpoint checks that a guard sees every route by its pattern, and that its refusal is
// answered as any other, with the headers that let a page of another origin read it.
func TestGuardRefusesBeforeTheEndpoint(t *testing.T) {
	h := apitest.New(t, &apitest.Fake{}, func(c *api.Config) {
		c.Guard = func(path string, next httpapi.Endpoint) httpapi.Endpoint {
			if path != "/auth/refresh" {
				return next
			}
			return func(http.ResponseWriter, *http.Request) error {
				return &broker.Error{Code: broker.CodeUnavailable, Message: "not now"}
			}
		}
	})
	res := apitest.Call(h, "POST", "/auth/refresh/", "{}", "Cookie: "+apitest.Cookie, "Origin: "+apitest.SPA)
	apitest.Want(t, res, 503, "unavailable")
	if _, cleared := apitest.Cookies(res); cleared || res.Header.Get("Retry-After") != "1" || res.Header.Get("Access-Control-Allow-Origin") != apitest.SPA {
		t.Errorf("the refusal has the headers %v", res.Header)
	}
	if res := apitest.Call(h, "GET", "/livez", ""); res.StatusCode != 200 {
		t.Errorf("another path: %d", res.StatusCode)
	}
}
