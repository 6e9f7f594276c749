package browser_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"tokenbroker/api"
	"tokenbroker/api/internal/apitest"
	"tokenbroker/broker"
)

func TestLoginGoesToTheOnlyProvider(t *testing.T) {
	f, h := apitest.NewWithLogins(t, "cognito")
	resp := apitest.Get(h, "/auth/login/?return_to=/app%3Fx=1")
	if resp.StatusCode != http.StatusFound || f.Provider != "cognito" || f.ReturnTo != "/app?x=1" {
		t.Fatalf("%d, %q, %q", resp.StatusCode, f.Provider, f.ReturnTo)
	}
	if want := url.QueryEscape("http://127.0.0.1:8080/auth/callback/cognito/"); !strings.Contains(resp.Header.Get("Location"), want) {
		t.Errorf("Location %q does not contain %s", resp.Header.Get("Location"), want)
	}
	c := resp.Cookies()
	if len(c) != 1 || c[0].Name != "tb_login_abc" || c[0].SameSite != http.SameSiteLaxMode || !c[0].HttpOnly || c[0].MaxAge != 600 {
		t.Errorf("login cookie %+v", c)
	}
}

func TestLoginLetsTheUserChoose(t *testing.T) {
	_, h := apitest.NewWithLogins(t, "cognito", "google")
	resp := apitest.Get(h, "/auth/login/?return_to=/app")
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

func TestCallback(t *testing.T) {
	state := "s1"
	cookie := "tb_login_" + broker.LoginCookieSuffix(state) + "=sealed"
	f, h := apitest.NewWithLogins(t, "cognito")
	resp := apitest.Get(h, "/auth/callback/cognito/?code=c1&state=s1&iss=https://idp.test", cookie)
	if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/app" {
		t.Fatalf("%d %q", resp.StatusCode, resp.Header.Get("Location"))
	}
	if want := (broker.LoginCallback{Provider: "cognito", Code: "c1", State: "s1", Issuer: "https://idp.test", Cookie: "sealed"}); f.Got != want {
		t.Errorf("got %+v", f.Got)
	}
	set := resp.Header.Values("Set-Cookie")
	if len(set) != 2 || !strings.Contains(set[0], "Max-Age=0") || !strings.Contains(set[1], "refresh_cookie=rt1.new") || !strings.Contains(set[1], "SameSite=Strict") {
		t.Errorf("cookies %q", set)
	}

	f.Err = &broker.Error{Code: broker.CodeProviderError, Message: "no"}
	resp = apitest.Get(h, "/auth/callback/cognito/?error=access_denied&state=s1", cookie)
	if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/app?error=provider_error" {
		t.Errorf("%d %q", resp.StatusCode, resp.Header.Get("Location"))
	}

	f.ReturnTo, f.Err = "", &broker.Error{Code: broker.CodeLoginState, Message: "not started here"}
	resp = apitest.Call(h, "GET", "/auth/callback/cognito/?code=c1&state=s1", "", apitest.AsBrowser)
	if resp.StatusCode != http.StatusBadRequest || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") || len(resp.Header.Values("Set-Cookie")) != 0 {
		t.Errorf("without a cookie: %d %v", resp.StatusCode, resp.Header)
	}
	for _, twice := range []string{"?code=a&code=b&state=s1", "?code=a&state=s1&state=s1"} {
		f.Got = broker.LoginCallback{}
		if resp := apitest.Get(h, "/auth/callback/cognito/"+twice, cookie); resp.StatusCode != http.StatusBadRequest || f.Got.Code != "" {
			t.Errorf("%s: %d", twice, resp.StatusCode)
		}
	}
	if resp := apitest.Get(h, "/auth/callback/cognito/?code=c1&state=s1", cookie, cookie); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("two cookies of one name: %d", resp.StatusCode)
	}
}

// TestWhyALoginFailedIsLogged: the browser gets a redirect, and the log has the cause.
func TestWhyALoginFailedIsLogged(t *testing.T) {
	for code, level := range map[broker.Code]string{
		broker.CodeUpstreamUnavailable: "ERROR", broker.CodeInternal: "ERROR", broker.CodeUpstreamToken: "INFO",
	} {
		t.Run(string(code), func(t *testing.T) {
			f := &apitest.Logins{Names: []string{"cognito"}, ReturnTo: "/app", Fake: &apitest.Fake{}, Err: &broker.Error{Code: code, Err: errors.New("the token endpoint answered status 502")}}
			var log bytes.Buffer
			cfg := apitest.Config(f.Fake)
			cfg.Browser.Logins, cfg.Logger = f, slog.New(slog.NewTextHandler(&log, nil))
			h, err := api.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			resp := apitest.Get(h, "/auth/callback/cognito/?code=c1&state=s1", "tb_login_"+broker.LoginCookieSuffix("s1")+"=sealed")
			for _, want := range []string{"level=" + level, "code=" + string(code), "the token endpoint answered status 502"} {
				if resp.StatusCode != http.StatusSeeOther || !strings.Contains(log.String(), want) {
					t.Errorf("status %d, the log lacks %q: %s", resp.StatusCode, want, log.String())
				}
			}
		})
	}
}

// TestNeighbouringHostCannotPlantALoginCookie: over TLS its name starts with __Host- (RFC
// 6265bis §4.1.3.2), which browsers accept only from this host.
func TestNeighbouringHostCannotPlantALoginCookie(t *testing.T) {
	f := &apitest.Logins{Names: []string{"cognito"}, ReturnTo: "/app", Fake: &apitest.Fake{}}
	cfg := apitest.Config(f.Fake)
	cfg.Browser.Logins, cfg.Browser.Cookie.Insecure = f, false
	cfg.Issuer, cfg.Origins = "https://auth.example.test", []string{"https://app.example.test"}
	h, err := api.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c := apitest.Get(h, "https://auth.example.test/auth/login/").Cookies()
	if len(c) != 1 || c[0].Name != "__Host-tb_login_abc" || c[0].Path != "/" || c[0].Domain != "" || !c[0].Secure {
		t.Fatalf("login cookie %+v", c)
	}
	suffix := broker.LoginCookieSuffix("s1")
	resp := apitest.Get(h, "https://auth.example.test/auth/callback/cognito/?code=c1&state=s1", "__Host-tb_login_"+suffix+"=sealed; __Secure-tb_login_"+suffix+"=planted")
	if cleared := resp.Cookies(); f.Got.Cookie != "sealed" || len(cleared) != 3 || cleared[1].Name != "__Host-refresh_cookie" || cleared[2].Name != "__Secure-refresh_cookie" || cleared[2].MaxAge >= 0 || cleared[0].Path != "/" || cleared[0].MaxAge >= 0 {
		t.Errorf("read %q, cookies %+v", f.Got.Cookie, cleared)
	}
	set := apitest.Call(h, "POST", "/auth/social-exchange/", `{"id_token": "i"}`).Cookies()
	if len(set) != 2 || set[0].Name != "__Host-refresh_cookie" || set[1].Name != "__Secure-refresh_cookie" || set[1].MaxAge >= 0 {
		t.Errorf("cookies of an exchange %+v", set)
	}
}

func TestOpenLoginsAreBounded(t *testing.T) {
	_, h := apitest.NewWithLogins(t, "cognito")
	resp := apitest.Get(h, "/auth/login/", "tb_login_1=a; tb_login_2=a; tb_login_3=a; tb_login_4=a; tb_login_5=a")
	set := resp.Header.Values("Set-Cookie")
	if len(set) != 2 || !strings.HasPrefix(set[0], "tb_login_1=;") || !strings.HasPrefix(set[1], "tb_login_abc=sealed") {
		t.Errorf("cookies %q", set)
	}
}

// Browsers send these cookies with every request, and the server refuses requests with too many bytes of them.
func TestBytesOfOpenLoginsAreBounded(t *testing.T) {
	_, h := apitest.NewWithLogins(t, "cognito")
	large := strings.Repeat("x", 3500)
	resp := apitest.Get(h, "/auth/login/", "tb_login_1="+large+"; tb_login_2="+large+"; tb_login_3="+large)
	set := resp.Header.Values("Set-Cookie")
	if len(set) != 2 || !strings.HasPrefix(set[0], "tb_login_1=;") || !strings.HasPrefix(set[1], "tb_login_abc=sealed") {
		t.Errorf("cookies %q", set)
	}
}

func TestHintsReachTheProvider(t *testing.T) {
	f, h := apitest.NewWithLogins(t, "cognito")
	apitest.Get(h, "/auth/login/?prompt=select_account&max_age=0&login_hint=ada%40a.test&acr_values=a+b")
	if want := (broker.LoginHints{Prompt: "select_account", MaxAge: "0", LoginHint: "ada@a.test", ACRValues: "a b"}); f.Req.Hints != want {
		t.Errorf("hints %+v", f.Req.Hints)
	}
	for _, query := range []string{"prompt=none", "prompt=consent", "max_age=-1", "max_age=1e3", "max_age=12345678901", "login_hint=a&login_hint=b", "prompt=login&prompt=login",
		"login_hint=" + strings.Repeat("a", 2049), "acr_values=" + strings.Repeat("a", 2049)} {
		f.Provider = ""
		if resp := apitest.Get(h, "/auth/login/?"+query); resp.StatusCode != http.StatusBadRequest || f.Provider != "" {
			t.Errorf("%.40s: %d", query, resp.StatusCode)
		}
	}
}

func TestSocialExchange(t *testing.T) {
	f, h := apitest.NewWithLogins(t, "cognito")
	post := func(body string) *http.Response {
		r := httptest.NewRequest(http.MethodPost, "/auth/social-exchange/", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Result()
	}
	full := `{"id_token": "i", "access_token": "a", "refresh_token": "r", "expires_in": 300, "token_type": "Bearer"}`
	if resp := post(full); resp.StatusCode != http.StatusOK || f.Tokens.IDToken != "i" || f.Tokens.AccessToken != "a" || f.Provider != "cognito" {
		t.Errorf("%d %+v", resp.StatusCode, f.Tokens)
	}
	for code, status := range map[broker.Code]int{
		broker.CodeExchangeDisabled: 403, broker.CodeIDTokenUnproven: 401, broker.CodeNonceInvalid: 401, broker.CodeNonceUsed: 401,
		broker.CodeNonceExpired: 410, broker.CodeUpstreamToken: 401, broker.CodeTokenUsed: 401, broker.CodeUpstreamExpired: 410,
		broker.CodeEmailNotVerified: 403, broker.CodeProfileTooLarge: 403, broker.CodeProfileInvalid: 403, broker.CodeUpstreamUnavailable: 503, broker.CodeUnknownProvider: 404,
	} {
		f.Err = &broker.Error{Code: code}
		if resp := post(full); resp.StatusCode != status || len(resp.Cookies()) != 0 {
			t.Errorf("%s: %d", code, resp.StatusCode)
		}
	}
	if resp := post(`{"access_token": "a"}`); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("without an id token: %d", resp.StatusCode)
	}
}

// TestSignInPassesTheCookieToTheBroker: the broker ends that session. A cookie that occurs twice is
// ignored.
func TestSignInPassesTheCookieToTheBroker(t *testing.T) {
	for sent, want := range map[string]string{apitest.Cookie: "rt1.good", "a=b": "", apitest.Cookie + "; " + apitest.Cookie: ""} {
		f, h := apitest.NewWithLogins(t, "cognito")
		for path, at := range map[string]*broker.Request{"/auth/sign-in/": &f.Fake.Req, "/auth/social-exchange/": &f.Req} {
			res := apitest.Call(h, "POST", path, `{"username":"a","password":"b","id_token":"c"}`, "Cookie: "+sent)
			if res.StatusCode != http.StatusOK || at.RefreshToken != want {
				t.Errorf("%s with %q: %d, %q reached the broker", path, sent, res.StatusCode, at.RefreshToken)
			}
		}
		f.Req = broker.Request{}
		if res := apitest.Get(h, "/auth/login/", sent); res.StatusCode != http.StatusFound || f.Req.RefreshToken != want {
			t.Errorf("login with %q: %d, %q reached the broker", sent, res.StatusCode, f.Req.RefreshToken)
		}
	}
}
