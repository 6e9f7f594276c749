package browser_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"tokenbroker/api"
	"tokenbroker/api/internal/apitest"
	"tokenbroker/broker"
)

func TestReturnToStaysAtAllowedOrigins(t *testing.T) {
	f, h := apitest.NewWithLogins(t, "cognito")
	for _, foreign := range []string{
		"//evil.test", "///evil.test", "/\\evil.test", "\\\\evil.test", "https://evil.test", "http://evil.test/", "https:evil.test",
		"https:/evil.test", "javascript:alert(1)", "data:text/html,x", "evil.test", "app", "?x", "/\t/evil.test", "/%09/evil.test\n",
		"\t//evil.test", " //evil.test", "/%2f/evil.test/..//", "/%5cevil.test", "/%2fevil.test", "http://127.0.0.1:8080@evil.test/",
		"http://127.0.0.1:8080.evil.test/", "http://127.0.0.1:8081/", "/.//evil.test", "/%2e//evil.test", "/a/..//evil.test", "/..//evil.test", "/.%2F/evil.test", "//127.0.0.1:8080@evil.test", "HTTP://EVIL.test",
		"#top", "#/app", "//evil.test#/", "/\\evil.test#", "https://evil.test#" + apitest.SPA, "/app#\n", "/app#\u2028", "\\#/",
		"/\xff", "/\u2028", "/app?x=\x7f", "/\u00a0", "/\u200b/evil.test", "/\ufeff/evil.test", "/\u0085/evil.test", "/\u202e",
		"\uff0f\uff0fevil.test", "/\uff0fevil.test", "/\uff3cevil.test", "/\ufe68evil.test", "/\u2044evil.test", "/\u2215evil.test",
		"http://127.0.0.1:8080\uff0eevil.test/", "http://127.0.0.1:8080\u3002evil.test/", "http://caf\u00e9.evil.test/", "http://127.0.0.1:8080\u00e9/",
		"\u00e9", "//\u00e9", "//evil.test/" + strings.Repeat("x", 600), "https://evil.test/" + strings.Repeat("\u00e9", 600), "/\\" + strings.Repeat("x", 600),
		"/%2f" + strings.Repeat("x", 600), "/" + strings.Repeat("x", 600) + "\t", "http://127.0.0.1:8080@evil.test/" + strings.Repeat("x", 600),
	} {
		resp := apitest.Get(h, "/auth/login/?return_to="+url.QueryEscape(foreign))
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%q: %d %s", foreign, resp.StatusCode, resp.Header.Get("Location"))
		}
	}
	for good, want := range map[string]string{
		"": apitest.SPA + "/", "/": "/", "/app": "/app", "/app?x=//y": "/app?x=//y", "/a/../b": "/a/../b", "/a//b": "/a//b", "http://127.0.0.1:8080/app": "http://127.0.0.1:8080/app", apitest.SPA + "/done#top": apitest.SPA + "/done#top",
		"/#/orders/7?tab=2": "/#/orders/7?tab=2", apitest.SPA + "/#/orders/7?tab=2#part": apitest.SPA + "/#/orders/7?tab=2#part", "/app#100%": "/app#100%", "/app#\\": "/app#\\",
		"/app#//evil.test": "/app#//evil.test", "/app#": "/app#", "/app#\u00e9": "/app#%C3%A9",
		"/caf\u00e9": "/caf%C3%A9", "/caf%C3%A9": "/caf%C3%A9", apitest.SPA + "/\u6771\u4eac?q=\u20ac#\u00fc": apitest.SPA + "/%E6%9D%B1%E4%BA%AC?q=%E2%82%AC#%C3%BC",
		"/" + strings.Repeat("x", 511): "/" + strings.Repeat("x", 511), "/" + strings.Repeat("x", 512): "/", "/" + strings.Repeat("&", 512): "/",
		apitest.SPA + "/search?q=" + strings.Repeat("x", 600): apitest.SPA + "/", "/" + strings.Repeat("\u00e9", 171): "/", "/\U0001f600": "/%F0%9F%98%80",
	} {
		if resp := apitest.Get(h, "/auth/login/?return_to="+url.QueryEscape(good)); resp.StatusCode != http.StatusFound || f.ReturnTo != want {
			t.Errorf("%.40q: %d %q, want %q", good, resp.StatusCode, f.ReturnTo, want)
		}
	}
}

// An authorization request is the return_to of a sign-in at a provider, and cannot be cut.
func TestReturnToHasRoomForAnAuthorizationRequest(t *testing.T) {
	f, h := apitest.NewWithLogins(t, "cognito")
	request := "/auth/authorize?state=" + strings.Repeat("x", broker.MaxAuthorizationQuery-len("state=")) + "&tb_continue=" + strings.Repeat("c", 200)
	for given, want := range map[string]string{
		request: request, request + strings.Repeat("c", 200): "/", "/auth/authorized?" + strings.Repeat("x", 600): "/",
	} {
		if resp := apitest.Get(h, "/auth/login/?return_to="+url.QueryEscape(given)); resp.StatusCode != http.StatusFound || f.ReturnTo != want {
			t.Errorf("%d: return to %.40q of %d bytes, want %d bytes", resp.StatusCode, f.ReturnTo, len(f.ReturnTo), len(want))
		}
	}
}

// FuzzReturnTo: an accepted return_to is ASCII and short, and leads a browser to an allowed origin.
func FuzzReturnTo(f *testing.F) {
	for _, seed := range []string{"/", "/app?x=1#y", "//evil.test", "/\\evil.test", "/\t/evil.test", apitest.SPA + "/caf\u00e9", "/\uff0f\uff0fevil.test", "https:evil.test", "/%5cevil.test", "/..//evil.test", "/.//evil.test", "http://127.0.0.1:8080@evil.test/"} {
		f.Add(seed)
	}
	logins := &apitest.Logins{Names: []string{"cognito"}, Fake: &apitest.Fake{}}
	cfg := apitest.Config(logins.Fake)
	cfg.Browser.Logins = logins
	h, err := api.New(cfg)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		resp := apitest.Get(h, "/auth/login/?return_to="+url.QueryEscape(text))
		if resp.StatusCode != http.StatusFound {
			return
		}
		to := logins.ReturnTo
		if len(to) > 512 && !strings.HasPrefix(to, "/auth/authorize?") || len(to) > 2400 || strings.ContainsFunc(to, func(c rune) bool { return c <= ' ' || c > '~' }) {
			t.Fatalf("%q was accepted as %q", text, to)
		}
		base, _ := url.Parse("http://127.0.0.1:8080/auth/callback/cognito/")
		target, _, _ := strings.Cut(to, "#")
		u, err := base.Parse(target)
		if strings.Contains(target, "\\") || err != nil || u.User != nil || u.Scheme+"://"+u.Host != apitest.SPA && u.Host != base.Host || strings.HasPrefix(to, "//") {
			t.Fatalf("%q leads to %v, %v", text, u, err)
		}
	})
}

// TestErrorIsAddedToTheQuery: the SPA's own part of return_to is unchanged.
func TestErrorIsAddedToTheQuery(t *testing.T) {
	f, h := apitest.NewWithLogins(t, "cognito")
	f.Err = &broker.Error{Code: broker.CodeProviderError}
	cookie := "tb_login_" + broker.LoginCookieSuffix("s1") + "=sealed"
	for returnTo, want := range map[string]string{
		"/app":                     "/app?error=provider_error",
		"/app#top":                 "/app?error=provider_error#top",
		"/app#100%zz\\|":           "/app?error=provider_error#100%zz\\|",
		"/#/orders?x=1#y":          "/?error=provider_error#/orders?x=1#y",
		"/app#":                    "/app?error=provider_error#",
		"/app?z=1&a=%20b;c&flag#t": "/app?z=1&a=%20b;c&flag&error=provider_error#t",
		"/app?error=old&x=1":       "/app?x=1&error=provider_error",
		apitest.SPA + "/?x=a+b":    apitest.SPA + "/?x=a+b&error=provider_error",
	} {
		f.ReturnTo = returnTo
		if got := apitest.Get(h, "/auth/callback/cognito/?code=c1&state=s1", cookie).Header.Get("Location"); got != want {
			t.Errorf("%s: got %s, want %s", returnTo, got, want)
		}
	}
}

// The browser is sent back to the page that it came from, as after a callback.
func TestALoginThatCannotStartReturnsToThePage(t *testing.T) {
	f, h := apitest.NewWithLogins(t, "cognito")
	f.Err = &broker.Error{Code: broker.CodeUpstreamUnavailable}
	target := "/auth/login/?provider=cognito&return_to=" + url.QueryEscape(apitest.SPA+"/orders?x=1#top")
	res := apitest.Call(h, "GET", target, "", apitest.AsBrowser)
	if got, want := res.Header.Get("Location"), apitest.SPA+"/orders?x=1&error=upstream_unavailable#top"; res.StatusCode != 303 || got != want {
		t.Errorf("%d %s, want 303 %s", res.StatusCode, got, want)
	}
	if !strings.Contains(strings.Join(res.Header.Values("Vary"), ","), "Accept") || len(res.Cookies()) > 0 {
		t.Errorf("headers %v", res.Header)
	}
	apitest.Want(t, apitest.Call(h, "GET", target, "", "Accept: */*"), 503, "upstream_unavailable")
}
