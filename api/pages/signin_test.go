package pages_test

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenbroker/api/httpapi"
	"tokenbroker/api/pages"
	"tokenbroker/broker"
)

func TestSignInPage(t *testing.T) {
	f := &fake{authorization: signInStep(), providers: []string{"corp", "pool"}}
	f.authorization.Hints = broker.LoginHints{Prompt: "login", MaxAge: "60", LoginHint: "ada", ACRValues: "mfa"}
	a := call(t, serve(t, f), "GET", "/auth/authorize?"+request+"&tb_continue=older", "")
	a.wantPage(t, http.StatusOK)
	for id, want := range map[string]map[string]string{
		"username": {"name": "username", "type": "text", "value": "ada", "autocomplete": "username", "aria-invalid": ""},
		"password": {"name": "password", "type": "password", "value": "", "autocomplete": "current-password"},
		"submit":   {"type": "submit"},
	} {
		for name, value := range want {
			if got := attr(a.find("#"+id), name); got != value {
				t.Errorf("#%s has %s=%q, want %q", id, name, got, value)
			}
		}
	}
	if form := a.find("form"); attr(form, "method") != "post" || attr(form, "action") != "/auth/authorize/sign-in" {
		t.Errorf("the form leads to %q", attr(form, "action"))
	}
	continued := request + "&tb_continue=sealed"
	if got := a.fields().Get("query"); !sameQuery(t, got, continued) {
		t.Errorf("query %q, want %q", got, continued)
	}
	if a.find("#error") != nil || !strings.Contains(text(a.find("main")), "to continue to Web Shop") {
		t.Errorf("the page: %s", text(a.find("main")))
	}
	var providers []string
	for _, link := range a.all("a") {
		u, err := url.Parse(attr(link, "href"))
		if err != nil {
			t.Fatal(err)
		}
		query := u.Query()
		providers = append(providers, u.Path+" "+query.Get("provider")+" "+text(link))
		returnTo, params, _ := strings.Cut(query.Get("return_to"), "?")
		if returnTo != "/auth/authorize" || !sameQuery(t, params, continued) || query.Get("prompt") != "login" || query.Get("max_age") != "60" ||
			query.Get("login_hint") != "ada" || query.Get("acr_values") != "mfa" {
			t.Errorf("the provider's link has %v", query)
		}
	}
	if want := []string{"/auth/login/ corp Continue with Corp", "/auth/login/ pool Continue with Pool"}; !slices.Equal(providers, want) {
		t.Errorf("providers %q, want %q", providers, want)
	}
	t.Run("without providers", func(t *testing.T) {
		f := &fake{authorization: signInStep()}
		a := call(t, serve(t, f, func(c *pages.Config, _ *httpapi.SiteConfig) { c.Logins = nil }), "GET", "/auth/authorize?"+request, "")
		if a.wantPage(t, http.StatusOK); len(a.all("a")) > 0 || strings.Contains(text(a.find("main")), " or ") {
			t.Errorf("the page: %s", text(a.find("main")))
		}
	})
}

func sameQuery(t *testing.T, a, b string) bool {
	t.Helper()
	x, err := url.ParseQuery(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := url.ParseQuery(b)
	if err != nil {
		t.Fatal(err)
	}
	return x.Encode() == y.Encode()
}

func TestSignInGoesOnWithTheRequest(t *testing.T) {
	f := &fake{authorization: signInStep()}
	h := serve(t, f)
	shown := call(t, h, "GET", "/auth/authorize?"+request, "")
	fields := shown.fields()
	fields.Set("username", "ada")
	fields.Set("password", "p& =ä")
	a := post(t, h, attr(shown.find("form"), "action"), fields, cookie)
	to, query, _ := strings.Cut(a.Header.Get("Location"), "?")
	if a.StatusCode != http.StatusSeeOther || to != "/auth/authorize" || !sameQuery(t, query, request+"&tb_continue=sealed") {
		t.Fatalf("%d to %q", a.StatusCode, a.Header.Get("Location"))
	}
	if f.user != [2]string{"ada", "p& =ä"} || f.req.RefreshToken != "rt1.good" {
		t.Errorf("signed in %q, replacing %q", f.user, f.req.RefreshToken)
	}
	want := []string{"__Host-refresh_cookie=rt1.new; Path=/; Max-Age=3600; HttpOnly; Secure; SameSite=Strict", "__Secure-refresh_cookie=; Path=/auth; Max-Age=0; HttpOnly; Secure; SameSite=Strict"}
	if got := a.Header.Values("Set-Cookie"); !slices.Equal(got, want) {
		t.Errorf("cookies %q, want %q", got, want)
	}
}

func TestRefusedSignInShowsThePageAgain(t *testing.T) {
	for name, tt := range map[string]struct {
		err        error
		status     int
		text       string
		retryAfter string
	}{
		"wrong password":    {&broker.Error{Code: broker.CodeInvalidCredentials}, 401, "The user name or the password is wrong.", ""},
		"disabled":          {&broker.Error{Code: broker.CodeUserDisabled}, 401, "This account is disabled.", ""},
		"throttled":         {&broker.Error{Code: broker.CodeTooManyAttempts, RetryAfter: 29500 * time.Millisecond}, 429, "Too many attempts. Try again in 30 s.", "30"},
		"throttled longer":  {&broker.Error{Code: broker.CodeTooManyAttempts, RetryAfter: 61 * time.Second}, 429, "Too many attempts. Try again in 2 min.", "61"},
		"too many sessions": {&broker.Error{Code: broker.CodeTooManySessions, RetryAfter: 0}, 429, "This account signed in too often. Try again in 1 s.", "1"},
		"busy":              {&broker.Error{Code: broker.CodeBusy, RetryAfter: time.Second}, 503, "The sign-in service is busy. Try again in a moment.", "1"},
		"unavailable":       {&broker.Error{Code: broker.CodeUnavailable, RetryAfter: time.Second}, 503, "The sign-in service is busy. Try again in a moment.", "1"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{authorization: signInStep(), signInErr: tt.err}
			a := post(t, serve(t, f), "/auth/authorize/sign-in", url.Values{"query": {request}, "username": {`a"><b>`}, "password": {"secret-password"}})
			a.wantPage(t, tt.status)
			if text(a.find("#error")) != tt.text || attr(a.find("#username"), "aria-describedby") != "error" || attr(a.find("#password"), "aria-invalid") != "true" {
				t.Errorf("the page says %q: %s", text(a.find("#error")), a.body)
			}
			if attr(a.find("#error").Parent, "role") != "alert" {
				t.Error("the error is not announced")
			}
			if attr(a.find("#username"), "value") != `a"><b>` || strings.Contains(a.body, "secret-password") {
				t.Errorf("the page: %s", a.body)
			}
			if a.Header.Get("Retry-After") != tt.retryAfter || (tt.status == 401) != (a.Header.Get("WWW-Authenticate") != "") || len(a.Cookies()) > 0 {
				t.Errorf("headers %v", a.Header)
			}
			if !sameQuery(t, a.fields().Get("query"), request+"&tb_continue=sealed") || a.formAction() != "'self' https://client.test" {
				t.Errorf("query %q, form-action %q", a.fields().Get("query"), a.formAction())
			}
		})
	}
	t.Run("without a password", func(t *testing.T) {
		f := &fake{authorization: signInStep()}
		a := post(t, serve(t, f), "/auth/authorize/sign-in", url.Values{"query": {request}, "username": {"ada"}})
		if a.wantPage(t, 401); slices.Contains(f.calls, "sign-in") {
			t.Errorf("calls %v", f.calls)
		}
	})
	t.Run("an internal error", func(t *testing.T) {
		f := &fake{authorization: signInStep(), signInErr: errors.New("secret cause")}
		a := post(t, serve(t, f), "/auth/authorize/sign-in", url.Values{"query": {request}, "username": {"ada"}, "password": {"x"}})
		if a.wantPage(t, 500); strings.Contains(a.body, "secret cause") {
			t.Errorf("the page: %s", a.body)
		}
	})
	t.Run("a session without an access token", func(t *testing.T) {
		f := &fake{authorization: signInStep(), signInErr: &broker.Error{Code: broker.CodeClaimsFailed}, kept: &broker.Grant{RefreshToken: "rt1.kept", RefreshMaxAge: time.Hour}}
		a := post(t, serve(t, f), "/auth/authorize/sign-in", url.Values{"query": {request}, "username": {"ada"}, "password": {"x"}})
		if a.StatusCode != http.StatusSeeOther || a.Cookies()[0].Value != "rt1.kept" {
			t.Errorf("%d %v", a.StatusCode, a.Cookies())
		}
	})
	t.Run("the browser signed in elsewhere", func(t *testing.T) {
		f := &fake{authorization: redirectStep("https://client.test/cb", "query", url.Values{"code": {"c"}}), signInErr: &broker.Error{Code: broker.CodeInvalidCredentials}}
		a := post(t, serve(t, f), "/auth/authorize/sign-in", url.Values{"query": {request}, "username": {"ada"}, "password": {"x"}}, cookie)
		if a.Header.Get("Location") != "https://client.test/cb?code=c" {
			t.Errorf("%d to %q", a.StatusCode, a.Header.Get("Location"))
		}
	})
}

func TestRefusalOfAProviderIsShownOnTheSignInPage(t *testing.T) {
	for code, want := range map[string]string{
		"upstream_unavailable": "The sign-in provider does not answer. Try again in a few minutes.",
		"email_not_verified":   "The sign-in provider has not verified your e-mail address.",
		"user_disabled":        "This account is disabled.",
		"busy":                 "The sign-in service is busy. Try again in a moment.",
		"provider_error":       "The sign-in did not succeed. Try again.",
		"%3Cscript%3E":         "The sign-in did not succeed. Try again.",
	} {
		f := &fake{authorization: signInStep()}
		a := call(t, serve(t, f), "GET", "/auth/authorize?"+request+"&error="+code, "")
		a.wantPage(t, http.StatusOK)
		if text(a.find("#error")) != want || f.in.Params.Has("error") || strings.Contains(a.fields().Get("query"), "error") {
			t.Errorf("%s: %q, the broker got %v", code, text(a.find("#error")), f.in.Params)
		}
	}
}

// The broker's forms are sent by its own pages. Without that check, another site could sign a browser in as its own user.
func TestFormsOfOtherPagesAreRefused(t *testing.T) {
	fields := url.Values{"query": {request}, "username": {"ada"}, "password": {"x"}, "decision": {"allow"}, "csrf": {"csrf-1"}}.Encode()
	for _, path := range []string{"/auth/authorize/sign-in", "/auth/authorize/consent", "/auth/logout/confirm"} {
		for name, headers := range map[string][]string{
			"a SPA":                   {"Origin: " + spa},
			"another site":            {"Origin: https://evil.test"},
			"a sandboxed page":        {"Origin: null"},
			"two origins":             {asOwn, asOwn},
			"another site, no Origin": {"Sec-Fetch-Site: cross-site"},
			"a subdomain, no Origin":  {"Sec-Fetch-Site: same-site"},
			"the own origin, by http": {"Origin: http://login.example.com"},
		} {
			f := &fake{authorization: signInStep(), consented: consentStep()}
			a := call(t, serve(t, f), "POST", path, fields, append(headers, asForm, cookie)...)
			if a.wantPage(t, http.StatusForbidden); len(f.calls) > 0 || len(a.Cookies()) > 0 {
				t.Errorf("%s from %s: calls %v", path, name, f.calls)
			}
		}
		for name, headers := range map[string][]string{"the own page": {asOwn, "Sec-Fetch-Site: same-origin"}, "a program": nil, "an old browser": {"Sec-Fetch-Site: same-origin"}} {
			f := &fake{authorization: signInStep(), consented: consentStep()}
			if call(t, serve(t, f), "POST", path, fields, append(headers, asForm, cookie)...); len(f.calls) == 0 {
				t.Errorf("%s from %s is refused", path, name)
			}
		}
	}
}

func TestDamagedFormsAreRefused(t *testing.T) {
	long := strings.Repeat("a", broker.MaxAuthorizationQuery)
	for name, tt := range map[string]struct {
		path, body string
		headers    []string
		status     int
	}{
		"two names":             {"/auth/authorize/sign-in", "query=a&username=a&username=b&password=c", nil, 400},
		"two passwords":         {"/auth/authorize/sign-in", "query=a&username=a&password=b&password=c", nil, 400},
		"a name of Latin-1":     {"/auth/authorize/sign-in", "query=a&username=%E9&password=b", nil, 400},
		"a Latin-1 password":    {"/auth/authorize/sign-in", "query=a&username=a&password=%E9", nil, 400},
		"two queries":           {"/auth/authorize/sign-in", "query=a&query=b&username=a&password=b", nil, 400},
		"a bad query":           {"/auth/authorize/sign-in", "query=%25zz&username=a&password=b", nil, 400},
		"a long query":          {"/auth/authorize/sign-in", "query=a%3D" + long + "&username=a&password=b", nil, 400},
		"a large form":          {"/auth/authorize/sign-in", "username=" + strings.Repeat("a", 64<<10), nil, 413},
		"JSON":                  {"/auth/authorize/sign-in", `{"username":"a","password":"b"}`, []string{"Content-Type: application/json"}, 415},
		"two cookies":           {"/auth/authorize/sign-in", "username=a&password=b", []string{asForm, cookie, cookie}, 400},
		"no decision":           {"/auth/authorize/consent", "query=a&csrf=c", nil, 400},
		"another decision":      {"/auth/authorize/consent", "query=a&csrf=c&decision=maybe", nil, 400},
		"two decisions":         {"/auth/authorize/consent", "query=a&csrf=c&decision=deny&decision=allow", nil, 400},
		"two tokens":            {"/auth/authorize/consent", "query=a&csrf=c&csrf=d&decision=allow", nil, 400},
		"consent, two cookies":  {"/auth/authorize/consent", "query=a&csrf=c&decision=allow", []string{asForm, cookie, cookie}, 400},
		"log-out, two tokens":   {"/auth/logout/confirm", "query=a&csrf=c&csrf=d", nil, 400},
		"log-out, two queries":  {"/auth/logout/confirm", "query=a&query=b&csrf=c", nil, 400},
		"log-out, two cookies":  {"/auth/logout/confirm", "query=a&csrf=c", []string{asForm, cookie, cookie}, 400},
		"log-out, a bad query":  {"/auth/logout/confirm", "query=%25zz", nil, 400},
		"log-out, two of state": {"/auth/logout/confirm", "query=state%3Da%26state%3Db", nil, 400},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{authorization: signInStep(), consented: consentStep()}
			headers := tt.headers
			if headers == nil {
				headers = []string{asForm}
			}
			a := call(t, serve(t, f), "POST", tt.path, tt.body, append(headers, asOwn)...)
			if a.wantPage(t, tt.status); len(f.calls) > 0 || len(a.Cookies()) > 0 {
				t.Errorf("calls %v", f.calls)
			}
		})
	}
}
