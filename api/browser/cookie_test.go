package browser_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenbroker/api"
	"tokenbroker/api/internal/apitest"
	"tokenbroker/broker"
)

// hostMode has the cookie of a broker with https: __Host-refresh_cookie.
func hostMode(c *api.Config) { c.Browser.Cookie.Insecure = false }

// secureMode has the cookie of an https broker whose operator chose the path /auth.
func secureMode(c *api.Config) { c.Browser.Cookie.Insecure, c.Browser.Cookie.Path = false, "/auth" }

// replaced removes the cookie of a broker that had the default path /auth with https.
const replaced = "__Secure-refresh_cookie=; Path=/auth; Max-Age=0; HttpOnly; Secure; SameSite=Strict"

// FuzzRefreshCookieName: a cookie is the broker's only if its name has exactly the right bytes after
// spaces and tabs are trimmed. Browsers allow every host of the domain to set cookies of any other name.
func FuzzRefreshCookieName(f *testing.F) {
	const name = "__Host-refresh_cookie"
	for _, space := range []string{
		"", " ", "\t", " \t ", "\u0085", "\u00a0", "\u1680", "\u2000", "\u200a", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000",
		"\ufeff", "\u200b", "\v", "\f", "\r", "\n", "\x00", "\x1f", "\x7f", "\x85", "\xa0", `"`, "$", ",",
	} {
		f.Add(space + name)
		f.Add(name + space)
	}
	f.Add("__host-refresh_cookie")
	f.Add("__Secure-refresh_cookie")
	f.Add("refresh_cookie")
	f.Add("__Host-refresh\u212aookie")
	broker := &apitest.Fake{}
	h, err := apitest.NewHandler(broker, hostMode)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, sent string) {
		if strings.ContainsAny(sent, ";=") {
			return
		}
		bare := []byte(sent)
		for len(bare) > 0 && (bare[0] == ' ' || bare[0] == '\t') {
			bare = bare[1:]
		}
		for n := len(bare); n > 0 && (bare[n-1] == ' ' || bare[n-1] == '\t'); n = len(bare) {
			bare = bare[:n-1]
		}
		broker.Token = ""
		apitest.Call(h, "POST", "/auth/refresh/", "", "Cookie: a=b;"+sent+"=planted; c=d")
		if found, want := broker.Token == "planted", string(bare) == name; found != want {
			t.Errorf("cookie %q: found %v, want %v", sent, found, want)
		}
	})
}

// A cookie that a neighbouring host can set does not make this host's cookie a duplicate.
func TestLookalikesOfTheHostCookieAreIgnored(t *testing.T) {
	for _, lookalike := range []string{"\u2000__Host-refresh_cookie", "\u0085__Host-refresh_cookie", "__Host-refresh_cookie\u3000", "__Secure-refresh_cookie", "refresh_cookie"} {
		f := &apitest.Fake{}
		h := apitest.New(t, f, hostMode)
		for path, method := range map[string]string{"/auth/session/": "GET", "/auth/refresh/": "POST", "/auth/logoff/": "POST"} {
			res := apitest.Call(h, method, path, "", "Cookie: "+lookalike+"=planted; __Host-refresh_cookie=rt1.good; "+lookalike+"=planted")
			if res.StatusCode != http.StatusOK || f.Token != "rt1.good" || f.Duplicates != nil {
				t.Errorf("%s with %q: %d, asked for %q and %q", path, lookalike, res.StatusCode, f.Token, f.Duplicates)
			}
			f.Token = ""
			if apitest.Call(h, method, path, "", "Cookie: "+lookalike+"=planted"); f.Token != "" {
				t.Errorf("%s accepted %q as the cookie", path, lookalike)
			}
		}
	}
}

func TestTheReplacedCookieIsClearedAndNeverRead(t *testing.T) {
	signIn := func(h http.Handler) *http.Response {
		return apitest.Call(h, "POST", "/auth/sign-in/", `{"username":"a","password":"b"}`)
	}
	refresh := func(h http.Handler) *http.Response {
		return apitest.Call(h, "POST", "/auth/refresh/", "", "Cookie: __Host-refresh_cookie=rt1.good")
	}
	logOff := func(h http.Handler) *http.Response { return apitest.Call(h, "POST", "/auth/logoff/", "") }
	const host = "__Host-refresh_cookie"
	for name, tt := range map[string]struct {
		f      *apitest.Fake
		call   func(http.Handler) *http.Response
		change func(*api.Config)
		want   []string // names in their order
	}{
		"a sign-in":                    {&apitest.Fake{}, signIn, hostMode, []string{host, "__Secure-refresh_cookie"}},
		"a sign-in without an answer":  {&apitest.Fake{Err: &broker.Error{Code: broker.CodeClaimsFailed}, Kept: &broker.Grant{RefreshToken: "rt1.kept", RefreshMaxAge: time.Hour}}, signIn, hostMode, []string{host, "__Secure-refresh_cookie"}},
		"a refused sign-in":            {&apitest.Fake{Err: &broker.Error{Code: broker.CodeInvalidCredentials}}, signIn, hostMode, nil},
		"a refresh":                    {&apitest.Fake{}, refresh, hostMode, []string{host}},
		"a refused refresh":            {&apitest.Fake{Err: &broker.Error{Code: broker.CodeSessionEnded}}, refresh, hostMode, []string{host, "__Secure-refresh_cookie"}},
		"a refresh without a cookie":   {&apitest.Fake{}, func(h http.Handler) *http.Response { return apitest.Call(h, "POST", "/auth/refresh/", "") }, hostMode, []string{host, "__Secure-refresh_cookie"}},
		"a log-off":                    {&apitest.Fake{}, logOff, hostMode, []string{host, "__Secure-refresh_cookie"}},
		"a log-off at the path /auth":  {&apitest.Fake{}, logOff, secureMode, []string{"__Secure-refresh_cookie"}},
		"a log-off over http":          {&apitest.Fake{}, logOff, func(*api.Config) {}, []string{"refresh_cookie"}},
		"a log-off over http, at root": {&apitest.Fake{}, logOff, func(c *api.Config) { c.Browser.Cookie.Path = "/" }, []string{"refresh_cookie"}},
	} {
		t.Run(name, func(t *testing.T) {
			res := tt.call(apitest.New(t, tt.f, tt.change))
			var names []string
			for _, c := range res.Cookies() {
				names = append(names, c.Name)
			}
			if !slices.Equal(names, tt.want) {
				t.Fatalf("cookies %q, want %q", res.Header.Values("Set-Cookie"), tt.want)
			}
			if len(names) == 2 && res.Header.Values("Set-Cookie")[1] != replaced {
				t.Errorf("got  %s\nwant %s", res.Header.Values("Set-Cookie")[1], replaced)
			}
		})
	}
	f := &apitest.Fake{}
	h := apitest.New(t, f, hostMode)
	apitest.Want(t, apitest.Call(h, "GET", "/auth/session/", "", "Cookie: __Secure-refresh_cookie=rt1.good"), 401, "no_session")
	apitest.Want(t, apitest.Call(h, "POST", "/auth/refresh/", "", "Cookie: __Secure-refresh_cookie=rt1.good"), 401, "no_session")
	apitest.WantJSON(t, apitest.Call(h, "POST", "/auth/logoff/", "", "Cookie: __Secure-refresh_cookie=rt1.good"), 200, "{}")
	if len(f.Calls) > 0 {
		t.Errorf("the broker was called: %v", f.Calls)
	}
}

// Without the prefix __Host-, another host can plant the cookie: a log-off ends the sessions of all.
func TestLogOffOfDuplicates(t *testing.T) {
	two := "Cookie: __Secure-refresh_cookie=rt1.one; __Secure-refresh_cookie=rt1.two"
	three := "Cookie: __Secure-refresh_cookie=rt1.three"
	f := &apitest.Fake{LogOffResult: broker.LogOffResult{Ended: true, Broadcast: true}}
	h := apitest.New(t, f, secureMode)
	res := apitest.Call(h, "POST", "/auth/logoff/", `{"CSRF_token":"c"}`, two, three)
	apitest.WantJSON(t, res, 200, "{}")
	if _, cleared := apitest.Cookies(res); !cleared || f.Token != "rt1.one" || !slices.Equal(f.Duplicates, []string{"rt1.two", "rt1.three"}) || f.CSRF != "c" {
		t.Errorf("cleared %v, asked for %q and %q with %q", cleared, f.Token, f.Duplicates, f.CSRF)
	}
	apitest.Call(h, "POST", "/auth/logoff/", "", "Cookie: __Secure-refresh_cookie=; __Secure-refresh_cookie=rt1.two")
	if !slices.Equal(f.Duplicates, []string{"rt1.two"}) {
		t.Errorf("an empty duplicate hides the other: %q", f.Duplicates)
	}
	f.Err = &broker.Error{Code: broker.CodeCSRF}
	res = apitest.Call(h, "POST", "/auth/logoff/", "", two)
	apitest.Want(t, res, 403, "csrf_mismatch")
	if len(res.Cookies()) > 0 {
		t.Errorf("cookies %v", res.Cookies())
	}
	f.Calls = nil
	apitest.Want(t, apitest.Call(h, "POST", "/auth/refresh/", "", two), 400, "duplicate_cookie")
	apitest.Want(t, apitest.Call(h, "GET", "/auth/session/", "", two), 400, "duplicate_cookie")
	host := apitest.New(t, f, hostMode)
	for _, path := range []string{"/auth/refresh/", "/auth/logoff/"} {
		apitest.Want(t, apitest.Call(host, "POST", path, "", "Cookie: __Host-refresh_cookie=rt1.one; __Host-refresh_cookie=rt1.two"), 400, "duplicate_cookie")
	}
	if len(f.Calls) > 0 {
		t.Errorf("the broker was called: %v", f.Calls)
	}
}

func TestCookieAttributes(t *testing.T) {
	tests := map[string]struct {
		change func(*api.Config)
		want   string
	}{
		"secure, at /auth": {func(c *api.Config) { c.Browser.Cookie.Insecure, c.Browser.Cookie.Path = false, "/auth" }, "__Secure-refresh_cookie=rt1.new; Path=/auth; Max-Age=1209600; HttpOnly; Secure; SameSite=Strict"},
		"secure":           {func(c *api.Config) { c.Browser.Cookie.Insecure = false }, "__Host-refresh_cookie=rt1.new; Path=/; Max-Age=1209600; HttpOnly; Secure; SameSite=Strict"},
		"own name":         {func(c *api.Config) { c.Browser.Cookie.Name = "rc" }, "rc=rt1.new; Path=/auth; Max-Age=1209600; HttpOnly; SameSite=Strict"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			res := apitest.Call(apitest.New(t, &apitest.Fake{}, tt.change), "POST", "/auth/sign-in/", `{"username":"a","password":"b"}`)
			if got := res.Header.Get("Set-Cookie"); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
	t.Run("a prefixed cookie is read, a bare one is not", func(t *testing.T) {
		f := &apitest.Fake{}
		h := apitest.New(t, f, func(c *api.Config) { c.Browser.Cookie.Insecure = false })
		apitest.Call(h, "POST", "/auth/refresh/", `{"CSRF_token":"x"}`, "Cookie: refresh_cookie=planted; __Host-refresh_cookie=rt1.good")
		if f.Token != "rt1.good" {
			t.Errorf("read %q", f.Token)
		}
	})
}

func TestTwoCookies(t *testing.T) {
	for name, headers := range map[string][]string{
		"in one line":              {"Cookie: " + apitest.Cookie + "; refresh_cookie=rt1.other"},
		"in two lines":             {"Cookie: " + apitest.Cookie, "Cookie: refresh_cookie=rt1.other"},
		"one of them is malformed": {"Cookie: " + apitest.Cookie + `; refresh_cookie="a b\`},
		"one of them empty":        {"Cookie: " + apitest.Cookie + "; refresh_cookie="},
		"the same twice":           {"Cookie: " + apitest.Cookie + "; " + apitest.Cookie},
	} {
		t.Run(name, func(t *testing.T) {
			f := &apitest.Fake{}
			h := apitest.New(t, f)
			for path, method := range map[string]string{"/auth/refresh/": "POST", "/auth/logoff/": "POST", "/auth/session/": "GET"} {
				res := apitest.Call(h, method, path, "", headers...)
				apitest.Want(t, res, 400, "duplicate_cookie")
				if len(res.Cookies()) > 0 || len(f.Calls) > 0 {
					t.Errorf("%s: cookies %v, calls %v", path, res.Cookies(), f.Calls)
				}
			}
		})
	}
}
