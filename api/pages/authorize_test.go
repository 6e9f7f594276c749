package pages_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"tokenbroker/api/httpapi"
	"tokenbroker/api/pages"
	"tokenbroker/broker"
)

func TestAuthorizationRequestReachesTheBroker(t *testing.T) {
	for name, send := range map[string]func(*testing.T, http.Handler) answer{
		"GET": func(t *testing.T, h http.Handler) answer {
			return call(t, h, "GET", "/auth/authorize?"+request, "", cookie)
		},
		"GET with a slash": func(t *testing.T, h http.Handler) answer {
			return call(t, h, "GET", "/auth/authorize/?"+request, "", cookie)
		},
		"POST": func(t *testing.T, h http.Handler) answer {
			return call(t, h, "POST", "/auth/authorize", request, asForm, cookie)
		},
		"GET after a bounce": func(t *testing.T, h http.Handler) answer {
			return call(t, h, "GET", "/auth/authorize?"+request+"&tb_return=1", "", cookie, "Sec-Fetch-Site: same-origin")
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{authorization: redirectStep("https://client.test/cb", "query", url.Values{"code": {"c"}})}
			send(t, serve(t, f))
			if f.in.Params.Encode() != request || f.in.RefreshToken != "rt1.good" {
				t.Errorf("the broker got %q with %q", f.in.Params.Encode(), f.in.RefreshToken)
			}
		})
	}
}

func TestAnswerIsAddedToTheRedirectURI(t *testing.T) {
	for uri, want := range map[string]string{
		"https://client.test/cb":             "https://client.test/cb?code=a%26b&state=%22x",
		"https://client.test/cb?tenant=%7B1": "https://client.test/cb?tenant=%7B1&code=a%26b&state=%22x",
		"https://client.test/cb?":            "https://client.test/cb?code=a%26b&state=%22x",
		"http://[::1]:5000/cb":               "http://[::1]:5000/cb?code=a%26b&state=%22x",
		"com.example.app:/cb":                "com.example.app:/cb?code=a%26b&state=%22x",
	} {
		f := &fake{authorization: redirectStep(uri, "query", url.Values{"code": {"a&b"}, "state": {`"x`}})}
		a := call(t, serve(t, f), "GET", "/auth/authorize?"+request, "")
		if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != want || a.body != "" || a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%d to %q, want %q", a.StatusCode, a.Header.Get("Location"), want)
		}
		if a.Header.Get("Cross-Origin-Opener-Policy") != "" {
			t.Error("a redirect takes the opener away from the client's window")
		}
	}
}

func TestFormPost(t *testing.T) {
	f := &fake{authorization: redirectStep("https://client.test/cb?x=1", "form_post", url.Values{"code": {"c"}, "state": {`"><script>alert(1)</script>`}})}
	a := call(t, serve(t, f), "GET", "/auth/authorize?"+request, "")
	a.wantPage(t, http.StatusOK)
	if form := a.find("form"); attr(form, "action") != "https://client.test/cb?x=1" || attr(form, "method") != "post" {
		t.Errorf("form %v", form)
	}
	if got := a.fields(); got.Get("code") != "c" || got.Get("state") != `"><script>alert(1)</script>` || len(got) != 2 {
		t.Errorf("fields %v", got)
	}
	scripts := a.all("script")
	if len(scripts) != 1 || scripts[0].FirstChild.Data != "document.forms[0].submit()" {
		t.Fatalf("scripts %v", scripts)
	}
	// The hash is that of the script, computed by openssl.
	if policy := a.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "; script-src 'sha256-"+submitHash+"'; form-action https://client.test") {
		t.Errorf("policy %q", policy)
	}
	if text(a.find("#continue")) != "Continue" {
		t.Error("no button for browsers without scripts")
	}
}

// submitHash is the base64 of SHA-256("document.forms[0].submit()").
const submitHash = "ePniVEkSivX/c7XWBGafqh8tSpiRrKiqYeqbG7N1TOE="

func TestUnknownClientIsAPageForEveryCaller(t *testing.T) {
	f := &fake{err: &broker.Error{Code: broker.CodeInvalidRedirect, Message: "The redirect URI is not registered."}}
	for _, accept := range []string{"Accept: text/html", "Accept: */*", "Accept: application/json"} {
		a := call(t, serve(t, f), "GET", "/auth/authorize?client_id=%3Cscript%3E", "", accept)
		a.wantPage(t, http.StatusBadRequest)
		if a.Header.Get("Location") != "" || !strings.Contains(a.body, "invalid_redirect · "+a.Header.Get("X-Request-Id")) || strings.Contains(a.body, "<script") {
			t.Errorf("%v %s", a.Header, a.body)
		}
	}
}

func TestAuthorizationRequestsThatAreNotPassedOn(t *testing.T) {
	long := strings.Repeat("a", 65<<10)
	for name, tt := range map[string]struct {
		method, target, body string
		headers              []string
		status               int
	}{
		"a query and a body":       {"POST", "/auth/authorize?client_id=web", request, []string{asForm}, 400},
		"a JSON body":              {"POST", "/auth/authorize", `{"client_id":"web"}`, []string{"Content-Type: application/json"}, 415},
		"a multipart body":         {"POST", "/auth/authorize", request, []string{"Content-Type: multipart/form-data; boundary=x"}, 415},
		"a body without a type":    {"POST", "/auth/authorize", request, nil, 415},
		"another charset":          {"POST", "/auth/authorize", request, []string{asForm + "; charset=utf-16"}, 415},
		"a compressed body":        {"POST", "/auth/authorize", request, []string{asForm, "Content-Encoding: gzip"}, 415},
		"a bad escape":             {"GET", "/auth/authorize?state=%zz", "", nil, 400},
		"a semicolon":              {"GET", "/auth/authorize?a=1;b=2", "", nil, 400},
		"a long query":             {"GET", "/auth/authorize?state=" + long, "", nil, 400},
		"a long body":              {"POST", "/auth/authorize", "state=" + long, []string{asForm}, 413},
		"two refresh cookies":      {"GET", "/auth/authorize?" + request, "", []string{cookie, cookie}, 400},
		"a method of other routes": {"PUT", "/auth/authorize?" + request, "", nil, 405},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{authorization: signInStep()}
			a := call(t, serve(t, f), tt.method, tt.target, tt.body, tt.headers...)
			if a.StatusCode != tt.status || len(f.calls) > 0 || a.Header.Get("Location") != "" {
				t.Errorf("%d, calls %v", a.StatusCode, f.calls)
			}
			if tt.status != 405 {
				a.wantPage(t, tt.status)
			}
		})
	}
	t.Run("the broker's own parameters do not count", func(t *testing.T) {
		f := &fake{authorization: signInStep()}
		fits := url.Values{"state": {strings.Repeat("a", broker.MaxAuthorizationQuery-len("state="))}}.Encode()
		call(t, serve(t, f), "GET", "/auth/authorize?"+fits+"&tb_continue="+strings.Repeat("c", 200)+"&tb_return=1", "").wantPage(t, 200)
		fits += "&tb_continue=" + strings.Repeat("c", 200) + "&error=provider_error"
		a := call(t, serve(t, f), "GET", "/auth/authorize?"+fits, "", "Sec-Fetch-Site: cross-site")
		if a.wantPage(t, 200); a.find("#continue") == nil {
			t.Errorf("after a refusal by a provider: %s", a.body)
		}
	})
}

// The client learns that its request is too long, if the client and the redirect URI are good. Such a request is never carried along.
func TestLongAuthorizationRequestsAreAnsweredByTheBroker(t *testing.T) {
	refusal := url.Values{"error": {"invalid_request"}}
	for _, length := range []int{broker.MaxAuthorizationQuery, 8 << 10, 63 << 10} {
		for _, headers := range [][]string{nil, {"Sec-Fetch-Site: cross-site"}} {
			f := &fake{authorization: redirectStep("https://client.test/cb", "query", refusal)}
			a := call(t, serve(t, f), "GET", "/auth/authorize?state="+strings.Repeat("a", length), "", headers...)
			if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "https://client.test/cb?error=invalid_request" {
				t.Errorf("%d bytes: %d to %q", length, a.StatusCode, a.Header.Get("Location"))
			}
		}
		f := &fake{authorization: redirectStep("https://client.test/cb", "query", refusal)}
		a := call(t, serve(t, f), "POST", "/auth/authorize", "state="+strings.Repeat("a", length), asForm)
		if a.StatusCode != http.StatusSeeOther {
			t.Errorf("a form of %d bytes: %d", length, a.StatusCode)
		}
	}
}

// A navigation from another site comes without the cookie, which is SameSite=Strict, and is repeated from a page of the broker.
func TestNavigationFromAnotherSiteIsRepeated(t *testing.T) {
	const crossSite = "Sec-Fetch-Site: cross-site"
	document := []string{crossSite, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}
	for name, tt := range map[string]struct {
		method, path, params string
		headers              []string
		bounced              bool
	}{
		"a link":                 {"GET", "/auth/authorize", request, document, true},
		"with prompt=none":       {"GET", "/auth/authorize", request + "&prompt=none", document, true},
		"with a long hint":       {"POST", "/auth/authorize", request + "&prompt=none&id_token_hint=" + strings.Repeat("a", 15<<10), document, true},
		"a form":                 {"POST", "/auth/authorize", request, document, true},
		"after a sign-in":        {"GET", "/auth/authorize", request + "&tb_continue=sealed", document, true},
		"a log-out":              {"GET", "/auth/logout", "id_token_hint=a.b.c&state=%22%3E", document, true},
		"a log-out by a form":    {"POST", "/auth/logout", "client_id=web", document, true},
		"a log-out, no query":    {"GET", "/auth/logout", "", document, true},
		"without a destination":  {"GET", "/auth/authorize", request, []string{crossSite}, true},
		"with the cookie":        {"GET", "/auth/authorize", request, append(document, cookie), false},
		"for the second time":    {"GET", "/auth/authorize", request + "&tb_return=1", document, false},
		"log-out, second time":   {"GET", "/auth/logout", "client_id=web&tb_return=1", document, false},
		"in a frame":             {"GET", "/auth/authorize", request, []string{crossSite, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"}, false},
		"by a script":            {"GET", "/auth/authorize", request, []string{crossSite, "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: empty"}, false},
		"from a subdomain":       {"GET", "/auth/authorize", request, []string{"Sec-Fetch-Site: same-site"}, false},
		"from the own page":      {"GET", "/auth/authorize", request, []string{"Sec-Fetch-Site: same-origin"}, false},
		"typed":                  {"GET", "/auth/authorize", request, []string{"Sec-Fetch-Site: none"}, false},
		"by curl":                {"GET", "/auth/authorize", request, nil, false},
		"a form of a script":     {"POST", "/auth/authorize", request, nil, false},
		"a log-out by a program": {"GET", "/auth/logout", "client_id=web", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{authorization: signInStep(), end: broker.EndSession{Ask: true}}
			target, body, headers := tt.path+"?"+tt.params, "", tt.headers
			if tt.method == "POST" {
				target, body, headers = tt.path, tt.params, append(headers, asForm)
			}
			a := call(t, serve(t, f), tt.method, target, body, headers...)
			a.wantPage(t, http.StatusOK)
			i := slices.IndexFunc(a.all("meta"), func(m *html.Node) bool { return attr(m, "http-equiv") == "refresh" })
			if bounced := i >= 0; bounced != tt.bounced || bounced == (len(f.calls) > 0) {
				t.Fatalf("bounced %v, calls %v", bounced, f.calls)
			}
			if !tt.bounced {
				return
			}
			params, err := url.ParseQuery(tt.params)
			if err != nil {
				t.Fatal(err)
			}
			want := tt.path + "?" + strings.TrimPrefix(params.Encode()+"&tb_return=1", "&")
			if content := attr(a.all("meta")[i], "content"); content != "0;url="+want || attr(a.find("#continue"), "href") != want {
				t.Errorf("leads to %q and %q, want %q", content, attr(a.find("#continue"), "href"), want)
			}
			if len(a.Cookies()) > 0 {
				t.Error("the page changes cookies")
			}
		})
	}
}

func TestFormActionNamesTheRedirectURI(t *testing.T) {
	for uri, want := range map[string]string{
		"https://client.test/cb?x=1":   "'self' https://client.test",
		"https://Client.test:443/cb":   "'self' https://client.test",
		"http://127.0.0.1:49152/cb":    "'self' http://127.0.0.1:49152",
		"http://[::1]:49152/cb":        "'self' http:",
		"com.example.app:/cb":          "'self' com.example.app:",
		"https://b%C3%BCcher.test/cb":  "'self' https://xn--bcher-kva.test",
		"https://a.test;script-src */": "'self'",
	} {
		f := &fake{authorization: signInStep()}
		f.authorization.RedirectURI = uri
		if got := call(t, serve(t, f), "GET", "/auth/authorize?"+request, "").formAction(); got != want {
			t.Errorf("%s: form-action %q, want %q", uri, got, want)
		}
	}
}

func TestDevelopmentAcceptsFormsAtTheRequestsHost(t *testing.T) {
	f := &fake{authorization: signInStep()}
	h := serve(t, f, func(cfg *pages.Config, at *httpapi.SiteConfig) {
		cfg.Cookie.Insecure = true
		at.Issuer, at.Origins, at.InsecureDevelopment = "http://127.0.0.1:8080", nil, true
	})
	for host, sent := range map[string]string{"127.0.0.1:8080": "http://127.0.0.1:8080", "localhost:8080": "http://localhost:8080"} {
		r := newForm("/auth/authorize/sign-in", url.Values{"query": {request}, "username": {"a"}, "password": {"b"}}, host, sent)
		if status := statusOf(h, r); status != http.StatusSeeOther {
			t.Errorf("a form at %s: %d", host, status)
		}
		r = newForm("/auth/authorize/sign-in", url.Values{"query": {request}, "username": {"a"}, "password": {"b"}}, host, "http://127.0.0.1:5173")
		if status := statusOf(h, r); status != http.StatusForbidden {
			t.Errorf("a form of a SPA at %s: %d", host, status)
		}
	}
}

// newForm is a form that a page of an origin sends to a host.
func newForm(path string, fields url.Values, host, origin string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "http://"+host+path, strings.NewReader(fields.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", origin)
	return r
}

func statusOf(h http.Handler, r *http.Request) int {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code
}
