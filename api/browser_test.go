package api_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"tokenbroker/api"
	"tokenbroker/broker"
)

const grantJSON = `{"access_token":"access.jwt","token_type":"Bearer","expires":1700000300,"expires_in":299,"CSRF_token":"csrf-1","user":{"username":"admin"}}`

func TestSignInAnswersTokensAndCookie(t *testing.T) {
	for _, path := range []string{"/auth/sign-in/", "/auth/sign-in"} {
		f := &fake{}
		res := call(newAPI(t, f), "POST", path, "{\n\"username\": \"admin\",\n\"password\": \"admin\"\n}", "User-Agent: curl/8")
		wantJSON(t, res, 200, grantJSON)
		if got, want := res.Header.Get("Set-Cookie"), "refresh_cookie=rt1.new; Path=/auth; Max-Age=1209600; HttpOnly; SameSite=Strict"; got != want {
			t.Errorf("cookie %q, want %q", got, want)
		}
		if res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("cache control %q", res.Header.Get("Cache-Control"))
		}
		if f.username != "admin" || f.password != "admin" || f.req.Addr != "192.0.2.1" || f.req.UserAgent != "curl/8" || f.req.ID == "" {
			t.Errorf("the broker was asked %+v", f)
		}
	}
}

func TestCookieAttributes(t *testing.T) {
	tests := map[string]struct {
		change func(*api.Config)
		want   string
	}{
		"secure, at /auth": {func(c *api.Config) { c.Cookie.Insecure, c.Cookie.Path = false, "/auth" }, "__Secure-refresh_cookie=rt1.new; Path=/auth; Max-Age=1209600; HttpOnly; Secure; SameSite=Strict"},
		"secure":           {func(c *api.Config) { c.Cookie.Insecure = false }, "__Host-refresh_cookie=rt1.new; Path=/; Max-Age=1209600; HttpOnly; Secure; SameSite=Strict"},
		"own name":         {func(c *api.Config) { c.Cookie.Name = "rc" }, "rc=rt1.new; Path=/auth; Max-Age=1209600; HttpOnly; SameSite=Strict"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			res := call(newAPI(t, &fake{}, tt.change), "POST", "/auth/sign-in/", `{"username":"a","password":"b"}`)
			if got := res.Header.Get("Set-Cookie"); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
	t.Run("a prefixed cookie is read, a bare one is not", func(t *testing.T) {
		f := &fake{}
		h := newAPI(t, f, func(c *api.Config) { c.Cookie.Insecure = false })
		call(h, "POST", "/auth/refresh/", `{"CSRF_token":"x"}`, "Cookie: refresh_cookie=planted; __Host-refresh_cookie=rt1.good")
		if f.token != "rt1.good" {
			t.Errorf("read %q", f.token)
		}
	})
}

// Each code of the broker has its status; 401 and 410 clear the cookie, the rest leaves it.
func TestStatusOfEachCode(t *testing.T) {
	tests := []struct {
		code    broker.Code
		status  int
		cleared bool
	}{
		{broker.CodeNoSession, 401, true},
		{broker.CodeWrongChannel, 401, true},
		{broker.CodeSessionEnded, 401, true},
		{broker.CodeSessionRevoked, 401, true},
		{broker.CodeRefreshReused, 401, true},
		{broker.CodeGenerationAhead, 401, true},
		{broker.CodeUserDisabled, 401, true},
		{broker.CodeSessionExpired, 410, true},
		{broker.CodeCSRF, 403, false},
		{broker.CodeTooManyReplays, 429, false},
		{broker.CodeBusy, 503, false},
		{broker.CodeWritesRefused, 503, false},
		{broker.CodeUnavailable, 503, false},
		{broker.CodeInternal, 500, false},
	}
	for _, tt := range tests {
		t.Run(string(tt.code), func(t *testing.T) {
			h := newAPI(t, &fake{err: &broker.Error{Code: tt.code, Message: "why"}})
			for path, method := range map[string]string{"/auth/refresh/": "POST", "/auth/session/": "GET"} {
				res := call(h, method, path, "", "Cookie: "+cookie)
				want(t, res, tt.status, string(tt.code))
				if set, cleared := cookies(res); cleared != tt.cleared || set != "" {
					t.Errorf("%s: cleared %v, set %q; want cleared %v", path, cleared, set, tt.cleared)
				}
				if (res.Header.Get("Retry-After") != "") != (tt.status == 503 || tt.status == 429) || (res.Header.Get("WWW-Authenticate") != "") != (tt.status == 401) {
					t.Errorf("%s: headers %v", path, res.Header)
				}
			}
			res := call(h, "POST", "/auth/logoff/", "", "Cookie: "+cookie)
			if tt.cleared {
				wantJSON(t, res, 200, `{}`)
			} else {
				want(t, res, tt.status, string(tt.code))
			}
			if _, cleared := cookies(res); cleared != tt.cleared {
				t.Errorf("log-off cleared %v", cleared)
			}
		})
	}
}

// TestASupersededTokenKeepsTheCookie: by now the browser may have a newer one of that name,
// which clearing would delete.
func TestASupersededTokenKeepsTheCookie(t *testing.T) {
	h := newAPI(t, &fake{err: &broker.Error{Code: broker.CodeRefreshSuperseded, Message: "why"}})
	res := call(h, "GET", "/auth/session/", "", "Cookie: "+cookie)
	want(t, res, 401, "refresh_token_superseded")
	if len(res.Cookies()) != 0 || res.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("headers %v", res.Header)
	}
}

func TestSignInRefusals(t *testing.T) {
	tests := map[string]struct {
		err    error
		status int
		code   string
		retry  string
	}{
		"wrong password": {&broker.Error{Code: broker.CodeInvalidCredentials}, 401, "invalid_credentials", ""},
		"too many":       {&broker.Error{Code: broker.CodeTooManyAttempts, RetryAfter: 1100 * time.Millisecond}, 429, "too_many_attempts", "2"},
		"busy":           {&broker.Error{Code: broker.CodeBusy}, 503, "busy", "1"},
		"unknown code":   {&broker.Error{Code: "surprise", Message: "secret"}, 500, "internal", ""},
		"plain error":    {errors.New("disk at /var broke"), 500, "internal", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			res := call(newAPI(t, &fake{err: tt.err}), "POST", "/auth/sign-in/", `{"username":"a","password":"b"}`)
			p := want(t, res, tt.status, tt.code)
			if got := res.Header.Get("Retry-After"); got != tt.retry {
				t.Errorf("Retry-After %q, want %q", got, tt.retry)
			}
			if tt.status == 500 && p.Detail != "the broker's log tells more under this request id" {
				t.Errorf("the detail tells %q", p.Detail)
			}
		})
	}
}

func TestRefresh(t *testing.T) {
	t.Run("CSRF token in the body", func(t *testing.T) {
		f := &fake{}
		res := call(newAPI(t, f), "POST", "/auth/refresh/", `{"CSRF_token": "c1"}`, "Cookie: a=b; "+cookie, "Authorization: Bearer jwt_token_string", "X-CSRF-Token: c2")
		wantJSON(t, res, 200, grantJSON)
		if set, _ := cookies(res); set != "rt1.new" || f.token != "rt1.good" || f.csrf != "c1" {
			t.Errorf("set %q, asked %q %q", set, f.token, f.csrf)
		}
	})
	t.Run("CSRF token in the header, empty body", func(t *testing.T) {
		f := &fake{}
		call(newAPI(t, f), "POST", "/auth/refresh", "", "Cookie: "+cookie, "X-CSRF-Token: c2")
		if f.csrf != "c2" {
			t.Errorf("asked with %q", f.csrf)
		}
	})
	t.Run("no cookie", func(t *testing.T) {
		f := &fake{}
		res := call(newAPI(t, f), "POST", "/auth/refresh/", `{"CSRF_token":"c"}`)
		want(t, res, 401, "no_session")
		if _, cleared := cookies(res); !cleared || len(f.calls) > 0 {
			t.Errorf("cleared %v, calls %v", cleared, f.calls)
		}
	})
}

func TestLogOff(t *testing.T) {
	tests := map[string]struct {
		result broker.LogOffResult
		cookie string
		status int
	}{
		"ended and told":            {broker.LogOffResult{Ended: true, Broadcast: true}, cookie, 200},
		"ended, broadcast pending":  {broker.LogOffResult{Ended: true}, cookie, 202},
		"a forged token ends none":  {broker.LogOffResult{}, "refresh_cookie=forged", 200},
		"an empty cookie ends none": {broker.LogOffResult{}, "refresh_cookie=", 200},
		"no cookie":                 {broker.LogOffResult{Ended: true}, "a=b", 200},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			res := call(newAPI(t, &fake{logOff: tt.result}), "POST", "/auth/logoff/", `{"CSRF_token": "c"}`, "Cookie: "+tt.cookie)
			wantJSON(t, res, tt.status, `{}`)
			if _, cleared := cookies(res); !cleared {
				t.Error("the cookie stays")
			}
		})
	}
}

func TestSession(t *testing.T) {
	h := newAPI(t, &fake{})
	res := call(h, "GET", "/auth/session/", "", "Cookie: "+cookie)
	wantJSON(t, res, 200, `{"sub":"u1","sid":"s1","client_id":"demo-spa","scope":"hello:read","auth_time":1700000000,"created_at":1700000000,"expires":1700001000,"CSRF_token":"csrf-1"}`)
	if len(res.Cookies()) != 0 || res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", res.Header)
	}
	res = call(h, "GET", "/auth/session", "")
	want(t, res, 401, "no_session")
	if len(res.Cookies()) != 0 {
		t.Error("nothing to clear was cleared: it could undo another tab's sign-in")
	}
	want(t, call(h, "GET", "/auth/session/", "", "Cookie: "+cookie, "Origin: http://evil.example"), 403, "forbidden_origin")
}

func TestVerify(t *testing.T) {
	f := &fake{claims: `{"sub":"u1"}`}
	h := newAPI(t, f)
	wantJSON(t, call(h, "POST", "/auth/verify/", `{"token":"t1"}`), 200, `{"sub":"u1"}`)
	if f.token != "t1" {
		t.Errorf("asked for %q", f.token)
	}
	for _, code := range []broker.Code{api.CodeTokenExpired, api.CodeTokenRevoked, api.CodeTokenInvalid} {
		f.verifyErr = &broker.Error{Code: code}
		res := call(h, "POST", "/auth/verify", `{"token":"t1"}`)
		want(t, res, 401, string(code))
		if got := res.Header.Get("WWW-Authenticate"); got != `Bearer realm="tokenbroker", error="invalid_token"` {
			t.Errorf("challenge %q", got)
		}
	}
	f.verifyErr = &broker.Error{Code: broker.CodeUnavailable}
	want(t, call(h, "POST", "/auth/verify", `{"token":"t1"}`), 503, "unavailable")
	f.verifyErr, f.claims = nil, ""
	want(t, call(h, "POST", "/auth/verify", `{"token":"t1"}`), 500, "internal")
}

func TestBothSlashFormsAnswerWithoutRedirect(t *testing.T) {
	h := newAPI(t, &fake{claims: "{}", answer: 1})
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
			res := call(h, method, p, body, "Cookie: "+cookie, "Authorization: Basic ZGVtby1zZXJ2aWNlOmRlbW8tc2VydmljZS1zZWNyZXQ=")
			if res.StatusCode != 200 {
				t.Errorf("%s %s: %d", method, p, res.StatusCode)
			}
		}
	}
	want(t, call(h, "POST", "/auth/refresh//", ""), 404, "not_found")
	want(t, call(h, "GET", "/", ""), 404, "not_found")
	res := call(h, "GET", "/auth/refresh/", "")
	want(t, res, 405, "method_not_allowed")
	if res.Header.Get("Allow") != http.MethodPost {
		t.Errorf("Allow %q", res.Header.Get("Allow"))
	}
}

// A step that is on disk has rotated the refresh token: the browser gets it although the
// access token could not be made.
func TestARotatedTokenComesWithTheError(t *testing.T) {
	failed := &broker.Error{Code: broker.CodeClaimsFailed, Message: "no claims"}
	f := &fake{err: failed, kept: &broker.Grant{RefreshToken: "rotated", RefreshMaxAge: time.Hour}}
	h := newAPI(t, f)
	for _, resp := range []*http.Response{
		call(h, "POST", "/auth/sign-in/", `{"username":"a","password":"b"}`),
		call(h, "POST", "/auth/refresh/", `{"CSRF_token":"c"}`, "Cookie: refresh_cookie=old"),
	} {
		if c := resp.Header.Get("Set-Cookie"); !strings.HasPrefix(c, "refresh_cookie=rotated;") {
			t.Errorf("cookie %q", c)
		}
		want(t, resp, 500, "claims_failed")
	}
}
