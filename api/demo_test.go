package api_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"tokenbroker/api"
)

func TestDemoPage(t *testing.T) {
	h := newAPI(t, &fake{}, func(c *api.Config) {
		c.DemoSample, c.DemoSamples = "http://127.0.0.1:8082", []string{"http://127.0.0.1:8092/", "http://127.0.0.1:8093"}
		c.DemoThief = "http://127.0.0.1:8093/auth/stolen-cookie/"
		c.DemoDocs = fstest.MapFS{"http.md": {Data: []byte("# <b>HTTP</b>\n")}}
		c.Logins = &fakeLogins{names: []string{"cognito"}}
	})
	res := call(h, "GET", "/", "", asBrowser)
	policy := res.Header.Get("Content-Security-Policy")
	for _, part := range []string{"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; ",
		"connect-src 'self' http://127.0.0.1:8082 http://127.0.0.1:8092 http://127.0.0.1:8093 http://localhost:8093; "} {
		if !strings.Contains(policy, part) {
			t.Errorf("the policy has no %q: %s", part, policy)
		}
	}
	body := pageOf(t, res)
	for _, part := range []string{`data-origin="http://127.0.0.1:8082"`, `data-origin="http://127.0.0.1:8092"`, `data-origin="http://127.0.0.1:8093"`,
		`data-thief="http://127.0.0.1:8093/auth/stolen-cookie/"`, `href="/docs/http.md"`, `href="/favicon.ico"`, `data-provider="cognito"`} {
		if !strings.Contains(body, part) {
			t.Errorf("the page has no %s", part)
		}
	}
	if strings.Contains(body, "<style") || strings.Contains(body, " style=") || strings.Contains(body, "onclick") {
		t.Error("the page has what its policy does not allow")
	}

	res = call(h, "GET", "/docs/http.md", "", asBrowser)
	if got := res.Header.Get("Content-Type"); res.StatusCode != 200 || got != "text/plain; charset=utf-8" || res.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("a document: %d %s", res.StatusCode, got)
	}
	for _, path := range []string{"/docs/", "/docs/none.md", "/docs/..", "/docs/..%2fconfig.go", "/docs/."} {
		if res := call(h, "GET", path, ""); res.StatusCode != 404 {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
}

func TestDemoPageShowsOnlyWhatThereIs(t *testing.T) {
	h := newAPI(t, &fake{}, func(c *api.Config) { c.DemoSample = "http://127.0.0.1:8082" })
	body := pageOf(t, call(h, "GET", "/", "", asBrowser))
	for _, part := range []string{"thief", "/docs/", `id="providers"`} {
		if strings.Contains(body, part) {
			t.Errorf("the page has %s", part)
		}
	}
	for _, path := range []string{"/docs/http.md", "/auth/stolen-cookie/", "/auth/stolen-cookie/use/"} {
		if res := call(h, "GET", path, ""); res.StatusCode != 404 {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
	for _, change := range []func(*api.Config){
		func(c *api.Config) { c.DemoSample = "127.0.0.1:8082" },
		func(c *api.Config) { c.DemoSample, c.DemoSamples = "http://127.0.0.1:8082", []string{"nonsense"} },
		func(c *api.Config) { c.DemoSample, c.DemoThief = "http://127.0.0.1:8082", "/auth/stolen-cookie/" },
	} {
		cfg := config(&fake{})
		change(&cfg)
		if _, err := api.New(cfg); err == nil || !strings.Contains(err.Error(), "want scheme://host:port") {
			t.Errorf("error %v", err)
		}
	}
}

// TestServeHasNoDemo: without a sample service nothing of the demo is there, but the icon is.
func TestServeHasNoDemo(t *testing.T) {
	h := newAPI(t, &fake{}, func(c *api.Config) {
		c.DemoThief, c.DemoDocs = "http://127.0.0.1:8093/auth/stolen-cookie/", fstest.MapFS{"http.md": {}}
	})
	for _, path := range []string{"/web/demo.js", "/web/demo.css", "/web/demo-story.js", "/docs/http.md"} {
		if res := call(h, "GET", path, ""); res.StatusCode != 404 {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
	if res := call(h, "GET", "/favicon.ico", ""); res.StatusCode != 200 || res.Header.Get("Content-Type") != "image/svg+xml" {
		t.Errorf("the icon: %d %s", res.StatusCode, res.Header.Get("Content-Type"))
	}
}
