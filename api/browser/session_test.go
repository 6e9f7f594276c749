package browser_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"tokenbroker/api/internal/apitest"
	"tokenbroker/broker"
)

func TestSignInAnswersTokensAndCookie(t *testing.T) {
	for _, path := range []string{"/auth/sign-in/", "/auth/sign-in"} {
		f := &apitest.Fake{}
		res := apitest.Call(apitest.New(t, f), "POST", path, "{\n\"username\": \"admin\",\n\"password\": \"admin\"\n}", "User-Agent: curl/8")
		apitest.WantJSON(t, res, 200, apitest.GrantJSON)
		if got, want := res.Header.Get("Set-Cookie"), "refresh_cookie=rt1.new; Path=/auth; Max-Age=1209600; HttpOnly; SameSite=Strict"; got != want {
			t.Errorf("cookie %q, want %q", got, want)
		}
		if res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("cache control %q", res.Header.Get("Cache-Control"))
		}
		if f.Username != "admin" || f.Password != "admin" || f.Req.Addr != "192.0.2.1" || f.Req.UserAgent != "curl/8" || f.Req.ID == "" {
			t.Errorf("the broker was called with %+v", f)
		}
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
			res := apitest.Call(apitest.New(t, &apitest.Fake{Err: tt.err}), "POST", "/auth/sign-in/", `{"username":"a","password":"b"}`)
			p := apitest.Want(t, res, tt.status, tt.code)
			if got := res.Header.Get("Retry-After"); got != tt.retry {
				t.Errorf("Retry-After %q, want %q", got, tt.retry)
			}
			if tt.status == 500 && p.Detail != "an internal error occurred; the broker's log has the details under this request id" {
				t.Errorf("detail %q reveals the cause", p.Detail)
			}
		})
	}
}

func TestRefresh(t *testing.T) {
	t.Run("CSRF token in the body", func(t *testing.T) {
		f := &apitest.Fake{}
		res := apitest.Call(apitest.New(t, f), "POST", "/auth/refresh/", `{"CSRF_token": "c1"}`, "Cookie: a=b; "+apitest.Cookie, "Authorization: Bearer jwt_token_string", "X-CSRF-Token: c2")
		apitest.WantJSON(t, res, 200, apitest.GrantJSON)
		if set, _ := apitest.Cookies(res); set != "rt1.new" || f.Token != "rt1.good" || f.CSRF != "c1" {
			t.Errorf("set %q, asked %q %q", set, f.Token, f.CSRF)
		}
	})
	t.Run("CSRF token in the header, empty body", func(t *testing.T) {
		f := &apitest.Fake{}
		apitest.Call(apitest.New(t, f), "POST", "/auth/refresh", "", "Cookie: "+apitest.Cookie, "X-CSRF-Token: c2")
		if f.CSRF != "c2" {
			t.Errorf("called with the CSRF token %q", f.CSRF)
		}
	})
	t.Run("no cookie", func(t *testing.T) {
		f := &apitest.Fake{}
		res := apitest.Call(apitest.New(t, f), "POST", "/auth/refresh/", `{"CSRF_token":"c"}`)
		apitest.Want(t, res, 401, "no_session")
		if _, cleared := apitest.Cookies(res); !cleared || len(f.Calls) > 0 {
			t.Errorf("cleared %v, calls %v", cleared, f.Calls)
		}
	})
}

func TestLogOff(t *testing.T) {
	tests := map[string]struct {
		result broker.LogOffResult
		cookie string
		status int
	}{
		"ended and broadcast":             {broker.LogOffResult{Ended: true, Broadcast: true}, apitest.Cookie, 200},
		"ended, broadcast pending":        {broker.LogOffResult{Ended: true}, apitest.Cookie, 202},
		"a forged token ends no session":  {broker.LogOffResult{}, "refresh_cookie=forged", 200},
		"an empty cookie ends no session": {broker.LogOffResult{}, "refresh_cookie=", 200},
		"no cookie":                       {broker.LogOffResult{Ended: true}, "a=b", 200},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			res := apitest.Call(apitest.New(t, &apitest.Fake{LogOffResult: tt.result}), "POST", "/auth/logoff/", `{"CSRF_token": "c"}`, "Cookie: "+tt.cookie)
			apitest.WantJSON(t, res, tt.status, `{}`)
			if _, cleared := apitest.Cookies(res); !cleared {
				t.Error("the cookie was not cleared")
			}
		})
	}
}

func TestSession(t *testing.T) {
	h := apitest.New(t, &apitest.Fake{})
	res := apitest.Call(h, "GET", "/auth/session/", "", "Cookie: "+apitest.Cookie)
	apitest.WantJSON(t, res, 200, `{"sub":"u1","sid":"s1","client_id":"demo-spa","scope":"hello:read","auth_time":1700000000,"created_at":1700000000,"expires":1700001000,"CSRF_token":"csrf-1"}`)
	if len(res.Cookies()) != 0 || res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", res.Header)
	}
	res = apitest.Call(h, "GET", "/auth/session", "")
	apitest.Want(t, res, 401, "no_session")
	if len(res.Cookies()) != 0 {
		t.Error("the answer without a session cleared a cookie, which could undo another tab's sign-in")
	}
	apitest.Want(t, apitest.Call(h, "GET", "/auth/session/", "", "Cookie: "+apitest.Cookie, "Origin: http://evil.example"), 403, "forbidden_origin")
}

// Each code of the broker has its status; 401 and 410 clear the cookie, the others do not.
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
			h := apitest.New(t, &apitest.Fake{Err: &broker.Error{Code: tt.code, Message: "why"}})
			for path, method := range map[string]string{"/auth/refresh/": "POST", "/auth/session/": "GET"} {
				res := apitest.Call(h, method, path, "", "Cookie: "+apitest.Cookie)
				apitest.Want(t, res, tt.status, string(tt.code))
				if set, cleared := apitest.Cookies(res); cleared != tt.cleared || set != "" {
					t.Errorf("%s: cleared %v, set %q; want cleared %v", path, cleared, set, tt.cleared)
				}
				if (res.Header.Get("Retry-After") != "") != (tt.status == 503 || tt.status == 429) || (res.Header.Get("WWW-Authenticate") != "") != (tt.status == 401) {
					t.Errorf("%s: headers %v", path, res.Header)
				}
			}
			res := apitest.Call(h, "POST", "/auth/logoff/", "", "Cookie: "+apitest.Cookie)
			if tt.cleared {
				apitest.WantJSON(t, res, 200, `{}`)
			} else {
				apitest.Want(t, res, tt.status, string(tt.code))
			}
			if _, cleared := apitest.Cookies(res); cleared != tt.cleared {
				t.Errorf("log-off cleared %v", cleared)
			}
		})
	}
}

// TestASupersededTokenKeepsTheCookie: the browser may already have a newer cookie of that name,
// which clearing would delete.
func TestASupersededTokenKeepsTheCookie(t *testing.T) {
	h := apitest.New(t, &apitest.Fake{Err: &broker.Error{Code: broker.CodeRefreshSuperseded, Message: "why"}})
	res := apitest.Call(h, "GET", "/auth/session/", "", "Cookie: "+apitest.Cookie)
	apitest.Want(t, res, 401, "refresh_token_superseded")
	if len(res.Cookies()) != 0 || res.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("headers %v", res.Header)
	}
}

// A step that is on disk has rotated the refresh token: the browser gets the new one even if the
// access token could not be signed.
func TestARotatedTokenComesWithTheError(t *testing.T) {
	failed := &broker.Error{Code: broker.CodeClaimsFailed, Message: "no claims"}
	f := &apitest.Fake{Err: failed, Kept: &broker.Grant{RefreshToken: "rotated", RefreshMaxAge: time.Hour}}
	h := apitest.New(t, f)
	for _, resp := range []*http.Response{
		apitest.Call(h, "POST", "/auth/sign-in/", `{"username":"a","password":"b"}`),
		apitest.Call(h, "POST", "/auth/refresh/", `{"CSRF_token":"c"}`, "Cookie: refresh_cookie=old"),
	} {
		if c := resp.Header.Get("Set-Cookie"); !strings.HasPrefix(c, "refresh_cookie=rotated;") {
			t.Errorf("cookie %q", c)
		}
		apitest.Want(t, resp, 500, "claims_failed")
	}
}

func TestLogOffWaits(t *testing.T) {
	services := broker.ReceiptSummary{Applied: 1, Of: 2, SlowestMS: 6, Laggards: []string{"billing/ab12cd34"}}
	f := &apitest.Fake{LogOffResult: broker.LogOffResult{Ended: true, Broadcast: true, LogoutURL: "https://idp.example/out", Receipts: &services}}
	apitest.WantJSON(t, apitest.Call(apitest.New(t, f), "POST", "/auth/logoff/?wait=1.5s", `{"CSRF_token":"c"}`, "Cookie: "+apitest.Cookie), 200,
		`{"logout_url":"https://idp.example/out","applied":1,"of":2,"slowest_ms":6}`)
	if len(services.Laggards) != 1 {
		t.Error("the broker's own summary was changed")
	}
	if f.Req.Wait != 1500*time.Millisecond {
		t.Errorf("waits %s", f.Req.Wait)
	}
	f.LogOffResult = broker.LogOffResult{Ended: true, Receipts: &broker.ReceiptSummary{}}
	apitest.WantJSON(t, apitest.Call(apitest.New(t, f), "POST", "/auth/logoff?wait=10s", "{}", "Cookie: "+apitest.Cookie), 202, `{"applied":0,"of":0,"slowest_ms":0}`)
	f.LogOffResult = broker.LogOffResult{Ended: true, Broadcast: true}
	apitest.WantJSON(t, apitest.Call(apitest.New(t, f), "POST", "/auth/logoff", "{}", "Cookie: "+apitest.Cookie), 200, "{}")
	if f.Req.Wait != 0 {
		t.Errorf("without the parameter wait it waits %s", f.Req.Wait)
	}
	for _, wait := range apitest.BadWaits {
		f := &apitest.Fake{}
		code := "invalid_parameter"
		if strings.Contains(wait, "&") {
			code = "repeated_parameter"
		}
		res := apitest.Call(apitest.New(t, f), "POST", "/auth/logoff/?wait="+wait, "{}", "Cookie: "+apitest.Cookie)
		apitest.Want(t, res, 400, code)
		if len(f.Calls) > 0 || len(res.Cookies()) > 0 {
			t.Errorf("%q: calls %v, cookies %v", wait, f.Calls, res.Cookies())
		}
	}
}
