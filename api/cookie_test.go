package api_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenbroker/api"
	"tokenbroker/broker"
)

// hostMode has the cookie of a broker with https: __Host-refresh_cookie.
func hostMode(c *api.Config) { c.Cookie.Insecure = false }

// secureMode has the cookie of an https broker whose operator chose the path /auth.
func secureMode(c *api.Config) { c.Cookie.Insecure, c.Cookie.Path = false, "/auth" }

// replaced removes the cookie of a broker that had the default path /auth with https.
const replaced = "__Secure-refresh_cookie=; Path=/auth; Max-Age=0; HttpOnly; Secure; SameSite=Strict"

// FuzzRefreshCookieName: a cookie is the broker's exactly if the bytes of its name are, after
// spaces and tabs. A browser lets every host of the domain set any other name.
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
	broker := &fake{}
	h, err := newHandler(broker, hostMode)
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
		broker.token = ""
		call(h, "POST", "/auth/refresh/", "", "Cookie: a=b;"+sent+"=planted; c=d")
		if found, want := broker.token == "planted", string(bare) == name; found != want {
			t.Errorf("cookie %q: found %v, want %v", sent, found, want)
		}
	})
}

// What a neighbouring host can set does not make the cookie of this host a duplicate.
func TestLookalikesOfTheHostCookieAreIgnored(t *testing.T) {
	for _, lookalike := range []string{"\u2000__Host-refresh_cookie", "\u0085__Host-refresh_cookie", "__Host-refresh_cookie\u3000", "__Secure-refresh_cookie", "refresh_cookie"} {
		f := &fake{}
		h := newAPI(t, f, hostMode)
		for path, method := range map[string]string{"/auth/session/": "GET", "/auth/refresh/": "POST", "/auth/logoff/": "POST"} {
			res := call(h, method, path, "", "Cookie: "+lookalike+"=planted; __Host-refresh_cookie=rt1.good; "+lookalike+"=planted")
			if res.StatusCode != http.StatusOK || f.token != "rt1.good" || f.duplicates != nil {
				t.Errorf("%s with %q: %d, asked for %q and %q", path, lookalike, res.StatusCode, f.token, f.duplicates)
			}
			f.token = ""
			if call(h, method, path, "", "Cookie: "+lookalike+"=planted"); f.token != "" {
				t.Errorf("%s took %q for the cookie", path, lookalike)
			}
		}
	}
}

func TestTheReplacedCookieIsClearedAndNeverRead(t *testing.T) {
	signIn := func(h http.Handler) *http.Response {
		return call(h, "POST", "/auth/sign-in/", `{"username":"a","password":"b"}`)
	}
	refresh := func(h http.Handler) *http.Response {
		return call(h, "POST", "/auth/refresh/", "", "Cookie: __Host-refresh_cookie=rt1.good")
	}
	logOff := func(h http.Handler) *http.Response { return call(h, "POST", "/auth/logoff/", "") }
	const host = "__Host-refresh_cookie"
	for name, tt := range map[string]struct {
		f      *fake
		call   func(http.Handler) *http.Response
		change func(*api.Config)
		want   []string // names in their order
	}{
		"a sign-in":                    {&fake{}, signIn, hostMode, []string{host, "__Secure-refresh_cookie"}},
		"a sign-in without an answer":  {&fake{err: &broker.Error{Code: broker.CodeClaimsFailed}, kept: &broker.Grant{RefreshToken: "rt1.kept", RefreshMaxAge: time.Hour}}, signIn, hostMode, []string{host, "__Secure-refresh_cookie"}},
		"a refused sign-in":            {&fake{err: &broker.Error{Code: broker.CodeInvalidCredentials}}, signIn, hostMode, nil},
		"a refresh":                    {&fake{}, refresh, hostMode, []string{host}},
		"a refused refresh":            {&fake{err: &broker.Error{Code: broker.CodeSessionEnded}}, refresh, hostMode, []string{host, "__Secure-refresh_cookie"}},
		"a refresh without a cookie":   {&fake{}, func(h http.Handler) *http.Response { return call(h, "POST", "/auth/refresh/", "") }, hostMode, []string{host, "__Secure-refresh_cookie"}},
		"a log-off":                    {&fake{}, logOff, hostMode, []string{host, "__Secure-refresh_cookie"}},
		"a log-off at the path /auth":  {&fake{}, logOff, secureMode, []string{"__Secure-refresh_cookie"}},
		"a log-off over http":          {&fake{}, logOff, func(*api.Config) {}, []string{"refresh_cookie"}},
		"a log-off over http, at root": {&fake{}, logOff, func(c *api.Config) { c.Cookie.Path = "/" }, []string{"refresh_cookie"}},
	} {
		t.Run(name, func(t *testing.T) {
			res := tt.call(newAPI(t, tt.f, tt.change))
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
	f := &fake{}
	h := newAPI(t, f, hostMode)
	want(t, call(h, "GET", "/auth/session/", "", "Cookie: __Secure-refresh_cookie=rt1.good"), 401, "no_session")
	want(t, call(h, "POST", "/auth/refresh/", "", "Cookie: __Secure-refresh_cookie=rt1.good"), 401, "no_session")
	wantJSON(t, call(h, "POST", "/auth/logoff/", "", "Cookie: __Secure-refresh_cookie=rt1.good"), 200, "{}")
	if len(f.calls) > 0 {
		t.Errorf("the broker was asked: %v", f.calls)
	}
}

// Without the prefix __Host- another host can plant the cookie: a log-off has to end it all.
func TestLogOffOfDuplicates(t *testing.T) {
	two := "Cookie: __Secure-refresh_cookie=rt1.one; __Secure-refresh_cookie=rt1.two"
	three := "Cookie: __Secure-refresh_cookie=rt1.three"
	f := &fake{logOff: broker.LogOffResult{Ended: true, Broadcast: true}}
	h := newAPI(t, f, secureMode)
	res := call(h, "POST", "/auth/logoff/", `{"CSRF_token":"c"}`, two, three)
	wantJSON(t, res, 200, "{}")
	if _, cleared := cookies(res); !cleared || f.token != "rt1.one" || !slices.Equal(f.duplicates, []string{"rt1.two", "rt1.three"}) || f.csrf != "c" {
		t.Errorf("cleared %v, asked for %q and %q with %q", cleared, f.token, f.duplicates, f.csrf)
	}
	call(h, "POST", "/auth/logoff/", "", "Cookie: __Secure-refresh_cookie=; __Secure-refresh_cookie=rt1.two")
	if !slices.Equal(f.duplicates, []string{"rt1.two"}) {
		t.Errorf("an empty duplicate hides the other: %q", f.duplicates)
	}
	f.err = &broker.Error{Code: broker.CodeCSRF}
	res = call(h, "POST", "/auth/logoff/", "", two)
	want(t, res, 403, "csrf_mismatch")
	if len(res.Cookies()) > 0 {
		t.Errorf("cookies %v", res.Cookies())
	}
	f.calls = nil
	want(t, call(h, "POST", "/auth/refresh/", "", two), 400, "duplicate_cookie")
	want(t, call(h, "GET", "/auth/session/", "", two), 400, "duplicate_cookie")
	host := newAPI(t, f, hostMode)
	for _, path := range []string{"/auth/refresh/", "/auth/logoff/"} {
		want(t, call(host, "POST", path, "", "Cookie: __Host-refresh_cookie=rt1.one; __Host-refresh_cookie=rt1.two"), 400, "duplicate_cookie")
	}
	if len(f.calls) > 0 {
		t.Errorf("the broker was asked: %v", f.calls)
	}
}
