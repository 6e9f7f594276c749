package browser_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"tokenbroker/api"
	"tokenbroker/api/internal/apitest"
)

func TestDemoPage(t *testing.T) {
	h := apitest.New(t, &apitest.Fake{}, func(c *api.Config) {
		c.Browser.Demo.Services = []string{"http://127.0.0.1:8082", "http://127.0.0.1:8092/", "http://127.0.0.1:8093"}
		c.Browser.Demo.Thief = "http://127.0.0.1:8093/auth/stolen-cookie/"
		c.Browser.Demo.Docs = fstest.MapFS{"http.md": {Data: []byte("# <b>HTTP</b>\n")}, "guides/mcp.md": {Data: []byte("# MCP\n")}}
		c.Browser.Logins = &apitest.Logins{Names: []string{"cognito"}}
	})
	res := apitest.Call(h, "GET", "/", "", apitest.AsBrowser)
	policy := res.Header.Get("Content-Security-Policy")
	for _, part := range []string{"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; ",
		"connect-src 'self' http://127.0.0.1:8082 http://127.0.0.1:8092 http://127.0.0.1:8093 http://localhost:8093; "} {
		if !strings.Contains(policy, part) {
			t.Errorf("the policy has no %q: %s", part, policy)
		}
	}
	body := apitest.Page(t, res)
	for _, part := range []string{`data-origin="http://127.0.0.1:8082"`, `data-origin="http://127.0.0.1:8092"`, `data-origin="http://127.0.0.1:8093"`,
		`data-thief="http://127.0.0.1:8093/auth/stolen-cookie/"`, `href="/docs/http.md"`, `href="/favicon.ico"`, `data-provider="cognito"`} {
		if !strings.Contains(body, part) {
			t.Errorf("the page has no %s", part)
		}
	}
	if strings.Contains(body, "<style") || strings.Contains(body, " style=") || strings.Contains(body, "onclick") {
		t.Error("the page has inline content that its policy does not allow")
	}

	for _, path := range []string{"/docs/http.md", "/docs/guides/mcp.md"} {
		res = apitest.Call(h, "GET", path, "", apitest.AsBrowser)
		if got := res.Header.Get("Content-Type"); res.StatusCode != 200 || got != "text/plain; charset=utf-8" || res.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %s", path, res.StatusCode, got)
		}
	}
	for _, path := range []string{"/docs/", "/docs/none.md", "/docs/..", "/docs/..%2fconfig.go", "/docs/.", "/docs/guides", "/docs/guides/", "/docs/guides/../http.md", "/docs//http.md"} {
		if res := apitest.Call(h, "GET", path, ""); res.StatusCode != 404 {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
}

func TestDemoPageShowsOnlyWhatIsConfigured(t *testing.T) {
	h := apitest.New(t, &apitest.Fake{}, func(c *api.Config) { c.Browser.Demo.Services = []string{"http://127.0.0.1:8082"} })
	body := apitest.Page(t, apitest.Call(h, "GET", "/", "", apitest.AsBrowser))
	for _, part := range []string{"thief", "/docs/", `id="providers"`} {
		if strings.Contains(body, part) {
			t.Errorf("the page has %s", part)
		}
	}
	for _, path := range []string{"/docs/http.md", "/auth/stolen-cookie/", "/auth/stolen-cookie/use/"} {
		if res := apitest.Call(h, "GET", path, ""); res.StatusCode != 404 {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
	for _, change := range []func(*api.Config){
		func(c *api.Config) { c.Browser.Demo.Services = []string{"127.0.0.1:8082"} },
		func(c *api.Config) { c.Browser.Demo.Services = []string{"http://127.0.0.1:8082", "nonsense"} },
		func(c *api.Config) {
			c.Browser.Demo.Services, c.Browser.Demo.Thief = []string{"http://127.0.0.1:8082"}, "/auth/stolen-cookie/"
		},
	} {
		cfg := apitest.Config(&apitest.Fake{})
		change(&cfg)
		if _, err := api.New(cfg); err == nil || !strings.Contains(err.Error(), "want scheme://host:port") {
			t.Errorf("error %v", err)
		}
	}
}

// TestServeHasNoDemo: without a sample service, only the icon is served, and nothing of the demo.
func TestServeHasNoDemo(t *testing.T) {
	h := apitest.New(t, &apitest.Fake{}, func(c *api.Config) {
		c.Browser.Demo.Thief, c.Browser.Demo.Docs = "http://127.0.0.1:8093/auth/stolen-cookie/", fstest.MapFS{"http.md": {}}
	})
	for _, path := range []string{"/web/demo.js", "/web/demo.css", "/web/demo-story.js", "/docs/http.md"} {
		if res := apitest.Call(h, "GET", path, ""); res.StatusCode != 404 {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
	if res := apitest.Call(h, "GET", "/favicon.ico", ""); res.StatusCode != 200 || res.Header.Get("Content-Type") != "image/svg+xml" {
		t.Errorf("the icon: %d %s", res.StatusCode, res.Header.Get("Content-Type"))
	}
}

func TestRootIsAPageForPeople(t *testing.T) {
	for name, tt := range map[string]struct {
		home    string
		origins []string
		link    string
	}{
		"the first origin": {"", []string{apitest.SPA, "http://127.0.0.1:9999"}, apitest.SPA + "/"},
		"home":             {apitest.SPA + "/start#x", []string{apitest.SPA}, apitest.SPA + "/start#x"},
		"no link":          {"", nil, ""},
		"the own root":     {apitest.Own + "/", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := apitest.New(t, &apitest.Fake{}, func(c *api.Config) { c.Browser.HomeURL, c.Origins = tt.home, tt.origins })
			res := apitest.Call(h, "GET", "/", "", apitest.AsBrowser)
			if tt.link != "" {
				apitest.WantPage(t, res, 200, `href="`+tt.link+`"`, "Continue to ")
			} else if body := apitest.Page(t, res); res.StatusCode != 200 || strings.Contains(body, "href") {
				t.Errorf("%d %s", res.StatusCode, body)
			}
			apitest.Want(t, apitest.Call(h, "GET", "/", "", "Accept: */*"), 404, "not_found")
			apitest.Want(t, apitest.Call(h, "GET", "/", ""), 404, "not_found")
		})
	}
	cfg := apitest.Config(&apitest.Fake{})
	for _, home := range []string{"https://evil.test/", "//evil.test", "javascript:alert(1)", "/\\evil.test"} {
		cfg.Browser.HomeURL = home
		if _, err := api.New(cfg); err == nil {
			t.Errorf("the home URL %q was accepted", home)
		}
	}
}
