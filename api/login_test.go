package api_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"tokenbroker/api"
	"tokenbroker/broker"
)

// fakeLogins is a broker with providers that answers as it is told.
type fakeLogins struct {
	names    []string
	returnTo string
	err      error
	got      broker.LoginCallback
	provider string
	tokens   broker.UpstreamTokens
	req      broker.Request
	nonces   int
	// nonce is the suffix whose cookie the exchange asks for, and nonceCookie what it got.
	nonce, nonceCookie string
	fake               *fake
}

func (f *fakeLogins) Providers() []string { return f.names }

func (f *fakeLogins) StartLogin(_ context.Context, provider, redirectURI, returnTo string, req broker.Request) (*broker.LoginStart, error) {
	f.provider, f.returnTo, f.req = provider, returnTo, req
	return &broker.LoginStart{RedirectURL: "https://idp.test/authorize?redirect_uri=" + url.QueryEscape(redirectURI), CookieSuffix: "abc", CookieValue: "sealed"}, f.err
}

func (f *fakeLogins) CompleteLogin(_ context.Context, cb broker.LoginCallback, _ broker.Request) (*broker.Grant, string, error) {
	f.got = cb
	if f.err != nil {
		return nil, f.returnTo, f.err
	}
	g, err := f.fake.grant()
	return g, f.returnTo, err
}

func (f *fakeLogins) NewExchangeNonce() broker.ExchangeNonce {
	f.nonces++
	return broker.ExchangeNonce{
		Nonce: "n1", ExpiresAt: time.Unix(1_800_000_600, 0), ExpiresIn: 599_900 * time.Millisecond,
		CookieSuffix: "suffix" + strconv.Itoa(f.nonces), CookieValue: "bound",
	}
}

func (f *fakeLogins) ExchangeTokens(_ context.Context, provider string, tokens broker.UpstreamTokens, req broker.Request) (*broker.Grant, error) {
	f.provider, f.tokens, f.req = provider, tokens, req
	if f.nonce != "" {
		cookie, err := tokens.NonceCookie(f.nonce)
		if f.nonceCookie = cookie; err != nil {
			return nil, err
		}
	}
	if f.err != nil {
		return nil, f.err
	}
	return f.fake.grant()
}

func loginServer(t *testing.T, names ...string) (*fakeLogins, http.Handler) {
	t.Helper()
	f := &fakeLogins{names: names, returnTo: "/app", fake: &fake{}}
	cfg := config(f.fake)
	cfg.Logins = f
	h, err := api.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return f, h
}

func get(h http.Handler, target string, cookies ...string) *http.Response {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	for _, c := range cookies {
		r.Header.Add("Cookie", c)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func TestLoginGoesToTheOnlyProvider(t *testing.T) {
	f, h := loginServer(t, "cognito")
	resp := get(h, "/auth/login/?return_to=/app%3Fx=1")
	if resp.StatusCode != http.StatusFound || f.provider != "cognito" || f.returnTo != "/app?x=1" {
		t.Fatalf("%d, %q, %q", resp.StatusCode, f.provider, f.returnTo)
	}
	if want := url.QueryEscape("http://127.0.0.1:8080/auth/callback/cognito/"); !strings.Contains(resp.Header.Get("Location"), want) {
		t.Errorf("Location %q has not %s", resp.Header.Get("Location"), want)
	}
	c := resp.Cookies()
	if len(c) != 1 || c[0].Name != "tb_login_abc" || c[0].SameSite != http.SameSiteLaxMode || !c[0].HttpOnly || c[0].MaxAge != 600 {
		t.Errorf("login cookie %+v", c)
	}
}

func TestLoginLetsTheUserChoose(t *testing.T) {
	_, h := loginServer(t, "cognito", "google")
	resp := get(h, "/auth/login/?return_to=/app")
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK || !strings.Contains(string(body), "provider=google&amp;return_to=%2Fapp") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if coop := resp.Header.Get("Cross-Origin-Opener-Policy"); coop != "same-origin" {
		t.Errorf("opener policy %q", coop)
	}
	if csp := resp.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'; style-src 'sha256-") {
		t.Errorf("policy %q", csp)
	}
}

func TestReturnToStaysHere(t *testing.T) {
	f, h := loginServer(t, "cognito")
	for _, foreign := range []string{
		"//evil.test", "///evil.test", "/\\evil.test", "\\\\evil.test", "https://evil.test", "http://evil.test/", "https:evil.test",
		"https:/evil.test", "javascript:alert(1)", "data:text/html,x", "evil.test", "app", "?x", "/\t/evil.test", "/%09/evil.test\n",
		"\t//evil.test", " //evil.test", "/%2f/evil.test/..//", "/%5cevil.test", "/%2fevil.test", "http://127.0.0.1:8080@evil.test/",
		"http://127.0.0.1:8080.evil.test/", "http://127.0.0.1:8081/", "/.//evil.test", "/%2e//evil.test", "/a/..//evil.test", "/..//evil.test", "/.%2F/evil.test", "//127.0.0.1:8080@evil.test", "HTTP://EVIL.test",
		"#top", "#/app", "//evil.test#/", "/\\evil.test#", "https://evil.test#" + spa, "/app#\n", "/app#\u2028", "\\#/",
		"/\xff", "/\u2028", "/app?x=\x7f", "/\u00a0", "/\u200b/evil.test", "/\ufeff/evil.test", "/\u0085/evil.test", "/\u202e",
		"\uff0f\uff0fevil.test", "/\uff0fevil.test", "/\uff3cevil.test", "/\ufe68evil.test", "/\u2044evil.test", "/\u2215evil.test",
		"http://127.0.0.1:8080\uff0eevil.test/", "http://127.0.0.1:8080\u3002evil.test/", "http://caf\u00e9.evil.test/", "http://127.0.0.1:8080\u00e9/",
		"\u00e9", "//\u00e9", "//evil.test/" + strings.Repeat("x", 600), "https://evil.test/" + strings.Repeat("\u00e9", 600), "/\\" + strings.Repeat("x", 600),
		"/%2f" + strings.Repeat("x", 600), "/" + strings.Repeat("x", 600) + "\t", "http://127.0.0.1:8080@evil.test/" + strings.Repeat("x", 600),
	} {
		resp := get(h, "/auth/login/?return_to="+url.QueryEscape(foreign))
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%q: %d %s", foreign, resp.StatusCode, resp.Header.Get("Location"))
		}
	}
	for good, want := range map[string]string{
		"": spa + "/", "/": "/", "/app": "/app", "/app?x=//y": "/app?x=//y", "/a/../b": "/a/../b", "/a//b": "/a//b", "http://127.0.0.1:8080/app": "http://127.0.0.1:8080/app", spa + "/done#top": spa + "/done#top",
		"/#/orders/7?tab=2": "/#/orders/7?tab=2", spa + "/#/orders/7?tab=2#part": spa + "/#/orders/7?tab=2#part", "/app#100%": "/app#100%", "/app#\\": "/app#\\",
		"/app#//evil.test": "/app#//evil.test", "/app#": "/app#", "/app#\u00e9": "/app#%C3%A9",
		"/caf\u00e9": "/caf%C3%A9", "/caf%C3%A9": "/caf%C3%A9", spa + "/\u6771\u4eac?q=\u20ac#\u00fc": spa + "/%E6%9D%B1%E4%BA%AC?q=%E2%82%AC#%C3%BC",
		"/" + strings.Repeat("x", 511): "/" + strings.Repeat("x", 511), "/" + strings.Repeat("x", 512): "/", "/" + strings.Repeat("&", 512): "/",
		spa + "/search?q=" + strings.Repeat("x", 600): spa + "/", "/" + strings.Repeat("\u00e9", 171): "/", "/\U0001f600": "/%F0%9F%98%80",
	} {
		if resp := get(h, "/auth/login/?return_to="+url.QueryEscape(good)); resp.StatusCode != http.StatusFound || f.returnTo != want {
			t.Errorf("%.40q: %d %q, want %q", good, resp.StatusCode, f.returnTo, want)
		}
	}
}

// FuzzReturnTo: a return_to that is taken is ASCII, short, and leads a browser to an allowed origin.
func FuzzReturnTo(f *testing.F) {
	for _, seed := range []string{"/", "/app?x=1#y", "//evil.test", "/\\evil.test", "/\t/evil.test", spa + "/caf\u00e9", "/\uff0f\uff0fevil.test", "https:evil.test", "/%5cevil.test", "/..//evil.test", "/.//evil.test", "http://127.0.0.1:8080@evil.test/"} {
		f.Add(seed)
	}
	logins := &fakeLogins{names: []string{"cognito"}, fake: &fake{}}
	cfg := config(logins.fake)
	cfg.Logins = logins
	h, err := api.New(cfg)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		resp := get(h, "/auth/login/?return_to="+url.QueryEscape(text))
		if resp.StatusCode != http.StatusFound {
			return
		}
		to := logins.returnTo
		if len(to) > 512 || strings.ContainsFunc(to, func(c rune) bool { return c <= ' ' || c > '~' }) {
			t.Fatalf("%q was taken as %q", text, to)
		}
		base, _ := url.Parse("http://127.0.0.1:8080/auth/callback/cognito/")
		target, _, _ := strings.Cut(to, "#")
		u, err := base.Parse(target)
		if strings.Contains(target, "\\") || err != nil || u.User != nil || u.Scheme+"://"+u.Host != spa && u.Host != base.Host || strings.HasPrefix(to, "//") {
			t.Fatalf("%q leads to %v, %v", text, u, err)
		}
	})
}

func TestCallback(t *testing.T) {
	state := "s1"
	cookie := "tb_login_" + broker.LoginCookieSuffix(state) + "=sealed"
	f, h := loginServer(t, "cognito")
	resp := get(h, "/auth/callback/cognito/?code=c1&state=s1&iss=https://idp.test", cookie)
	if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/app" {
		t.Fatalf("%d %q", resp.StatusCode, resp.Header.Get("Location"))
	}
	if want := (broker.LoginCallback{Provider: "cognito", Code: "c1", State: "s1", Issuer: "https://idp.test", Cookie: "sealed"}); f.got != want {
		t.Errorf("got %+v", f.got)
	}
	set := resp.Header.Values("Set-Cookie")
	if len(set) != 2 || !strings.Contains(set[0], "Max-Age=0") || !strings.Contains(set[1], "refresh_cookie=rt1.new") || !strings.Contains(set[1], "SameSite=Strict") {
		t.Errorf("cookies %q", set)
	}

	f.err = &broker.Error{Code: broker.CodeProviderError, Message: "no"}
	resp = get(h, "/auth/callback/cognito/?error=access_denied&state=s1", cookie)
	if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/app?error=provider_error" {
		t.Errorf("%d %q", resp.StatusCode, resp.Header.Get("Location"))
	}

	f.returnTo, f.err = "", &broker.Error{Code: broker.CodeLoginState, Message: "not started here"}
	resp = call(h, "GET", "/auth/callback/cognito/?code=c1&state=s1", "", asBrowser)
	if resp.StatusCode != http.StatusBadRequest || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") || len(resp.Header.Values("Set-Cookie")) != 0 {
		t.Errorf("without a cookie: %d %v", resp.StatusCode, resp.Header)
	}
	for _, twice := range []string{"?code=a&code=b&state=s1", "?code=a&state=s1&state=s1"} {
		f.got = broker.LoginCallback{}
		if resp := get(h, "/auth/callback/cognito/"+twice, cookie); resp.StatusCode != http.StatusBadRequest || f.got.Code != "" {
			t.Errorf("%s: %d", twice, resp.StatusCode)
		}
	}
	if resp := get(h, "/auth/callback/cognito/?code=c1&state=s1", cookie, cookie); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("two cookies of one name: %d", resp.StatusCode)
	}
}

// TestErrorJoinsTheQuery: what the SPA put into return_to comes back as it was.
func TestErrorJoinsTheQuery(t *testing.T) {
	f, h := loginServer(t, "cognito")
	f.err = &broker.Error{Code: broker.CodeProviderError}
	cookie := "tb_login_" + broker.LoginCookieSuffix("s1") + "=sealed"
	for returnTo, want := range map[string]string{
		"/app":                     "/app?error=provider_error",
		"/app#top":                 "/app?error=provider_error#top",
		"/app#100%zz\\|":           "/app?error=provider_error#100%zz\\|",
		"/#/orders?x=1#y":          "/?error=provider_error#/orders?x=1#y",
		"/app#":                    "/app?error=provider_error#",
		"/app?z=1&a=%20b;c&flag#t": "/app?z=1&a=%20b;c&flag&error=provider_error#t",
		"/app?error=old&x=1":       "/app?x=1&error=provider_error",
		spa + "/?x=a+b":            spa + "/?x=a+b&error=provider_error",
	} {
		f.returnTo = returnTo
		if got := get(h, "/auth/callback/cognito/?code=c1&state=s1", cookie).Header.Get("Location"); got != want {
			t.Errorf("%s: got %s, want %s", returnTo, got, want)
		}
	}
}

// TestWhyALoginFailedIsLogged: the browser gets a redirect, the log the cause.
func TestWhyALoginFailedIsLogged(t *testing.T) {
	for code, level := range map[broker.Code]string{
		broker.CodeUpstreamUnavailable: "ERROR", broker.CodeInternal: "ERROR", broker.CodeUpstreamToken: "INFO",
	} {
		t.Run(string(code), func(t *testing.T) {
			f := &fakeLogins{names: []string{"cognito"}, returnTo: "/app", fake: &fake{}, err: &broker.Error{Code: code, Err: errors.New("the token endpoint answered status 502")}}
			var log bytes.Buffer
			cfg := config(f.fake)
			cfg.Logins, cfg.Logger = f, slog.New(slog.NewTextHandler(&log, nil))
			h, err := api.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			resp := get(h, "/auth/callback/cognito/?code=c1&state=s1", "tb_login_"+broker.LoginCookieSuffix("s1")+"=sealed")
			for _, want := range []string{"level=" + level, "code=" + string(code), "the token endpoint answered status 502"} {
				if resp.StatusCode != http.StatusSeeOther || !strings.Contains(log.String(), want) {
					t.Errorf("status %d, the log lacks %q: %s", resp.StatusCode, want, log.String())
				}
			}
		})
	}
}

// TestNoNeighbourPlantsALoginCookie: over TLS its name begins with __Host- (RFC 6265bis
// §4.1.3.2), which browsers take from this host alone, and only so.
func TestNoNeighbourPlantsALoginCookie(t *testing.T) {
	f := &fakeLogins{names: []string{"cognito"}, returnTo: "/app", fake: &fake{}}
	cfg := config(f.fake)
	cfg.Logins, cfg.Cookie.Insecure = f, false
	cfg.Issuer, cfg.Origins = "https://auth.example.test", []string{"https://app.example.test"}
	h, err := api.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c := get(h, "https://auth.example.test/auth/login/").Cookies()
	if len(c) != 1 || c[0].Name != "__Host-tb_login_abc" || c[0].Path != "/" || c[0].Domain != "" || !c[0].Secure {
		t.Fatalf("login cookie %+v", c)
	}
	suffix := broker.LoginCookieSuffix("s1")
	resp := get(h, "https://auth.example.test/auth/callback/cognito/?code=c1&state=s1", "__Host-tb_login_"+suffix+"=sealed; __Secure-tb_login_"+suffix+"=planted")
	if cleared := resp.Cookies(); f.got.Cookie != "sealed" || len(cleared) != 3 || cleared[1].Name != "__Host-refresh_cookie" || cleared[2].Name != "__Secure-refresh_cookie" || cleared[2].MaxAge >= 0 || cleared[0].Path != "/" || cleared[0].MaxAge >= 0 {
		t.Errorf("read %q, cookies %+v", f.got.Cookie, cleared)
	}
	set := call(h, "POST", "/auth/social-exchange/", `{"id_token": "i"}`).Cookies()
	if len(set) != 2 || set[0].Name != "__Host-refresh_cookie" || set[1].Name != "__Secure-refresh_cookie" || set[1].MaxAge >= 0 {
		t.Errorf("cookies of an exchange %+v", set)
	}
}

func TestAHandfulOfLoginsAtMost(t *testing.T) {
	_, h := loginServer(t, "cognito")
	resp := get(h, "/auth/login/", "tb_login_1=a; tb_login_2=a; tb_login_3=a; tb_login_4=a; tb_login_5=a")
	set := resp.Header.Values("Set-Cookie")
	if len(set) != 2 || !strings.HasPrefix(set[0], "tb_login_1=;") || !strings.HasPrefix(set[1], "tb_login_abc=sealed") {
		t.Errorf("cookies %q", set)
	}
}

func TestSocialExchange(t *testing.T) {
	f, h := loginServer(t, "cognito")
	post := func(body string) *http.Response {
		r := httptest.NewRequest(http.MethodPost, "/auth/social-exchange/", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Result()
	}
	full := `{"id_token": "i", "access_token": "a", "refresh_token": "r", "expires_in": 300, "token_type": "Bearer"}`
	if resp := post(full); resp.StatusCode != http.StatusOK || f.tokens.IDToken != "i" || f.tokens.AccessToken != "a" || f.provider != "cognito" {
		t.Errorf("%d %+v", resp.StatusCode, f.tokens)
	}
	for code, status := range map[broker.Code]int{
		broker.CodeExchangeDisabled: 403, broker.CodeIDTokenUnproven: 401, broker.CodeNonceInvalid: 401, broker.CodeNonceUsed: 401,
		broker.CodeNonceExpired: 410, broker.CodeUpstreamToken: 401, broker.CodeTokenUsed: 401, broker.CodeUpstreamExpired: 410,
		broker.CodeEmailNotVerified: 403, broker.CodeProfileTooLarge: 403, broker.CodeProfileInvalid: 403, broker.CodeUpstreamUnavailable: 503, broker.CodeUnknownProvider: 404,
	} {
		f.err = &broker.Error{Code: code}
		if resp := post(full); resp.StatusCode != status || len(resp.Cookies()) != 0 {
			t.Errorf("%s: %d", code, resp.StatusCode)
		}
	}
	if resp := post(`{"access_token": "a"}`); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("without an id token: %d", resp.StatusCode)
	}
}

// TestASignInBringsItsCookie to the broker, which ends that session. One that came twice is
// ignored.
func TestASignInBringsItsCookie(t *testing.T) {
	for sent, want := range map[string]string{cookie: "rt1.good", "a=b": "", cookie + "; " + cookie: ""} {
		f, h := loginServer(t, "cognito")
		for path, at := range map[string]*broker.Request{"/auth/sign-in/": &f.fake.req, "/auth/social-exchange/": &f.req} {
			res := call(h, "POST", path, `{"username":"a","password":"b","id_token":"c"}`, "Cookie: "+sent)
			if res.StatusCode != http.StatusOK || at.RefreshToken != want {
				t.Errorf("%s with %q: %d, %q reached the broker", path, sent, res.StatusCode, at.RefreshToken)
			}
		}
		f.req = broker.Request{}
		if res := get(h, "/auth/login/", sent); res.StatusCode != http.StatusFound || f.req.RefreshToken != want {
			t.Errorf("login with %q: %d, %q reached the broker", sent, res.StatusCode, f.req.RefreshToken)
		}
	}
}
