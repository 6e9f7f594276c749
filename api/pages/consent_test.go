package pages_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"tokenbroker/broker"
)

func TestConsentPage(t *testing.T) {
	f := &fake{authorization: consentStep()}
	a := call(t, serve(t, f), "GET", "/auth/authorize?"+request+"&tb_continue=sealed&prompt=login+consent", "", cookie)
	a.wantPage(t, http.StatusOK)
	for id, want := range map[string]string{"consent-allow": "Allow", "consent-deny": "Deny", "consent-target": "client.test:8443"} {
		if got := text(a.find("#" + id)); got != want {
			t.Errorf("#%s says %q, want %q", id, got, want)
		}
	}
	if text(a.find("h1")) != "Web Shop asks for access" || !strings.Contains(text(a.find("main")), "Signed in as ada") {
		t.Errorf("the page: %s", text(a.find("main")))
	}
	var words []string
	for _, li := range a.all("li") {
		words = append(words, attr(li, "data-scope")+": "+text(li))
	}
	want := []string{"openid: Know who you are", "offline_access: Keep this access while you are signed out", "orders:read: Read your <orders>", "plain:scope: plain:scope"}
	if !slices.Equal(words, want) {
		t.Errorf("scopes %q, want %q", words, want)
	}
	if got := a.formAction(); got != "'self' https://client.test:8443" {
		t.Errorf("form-action %q", got)
	}
	fields := a.fields()
	if !sameQuery(t, fields.Get("query"), request+"&tb_continue=sealed&prompt=login+consent") || fields.Get("csrf") != "csrf-1" || !slices.Equal(strings.Fields(fields.Get("scope")), f.authorization.Scopes) {
		t.Errorf("fields %v", fields)
	}
	if other := attr(a.find("#consent-switch"), "href"); !strings.HasPrefix(other, "/auth/authorize?") ||
		!sameQuery(t, strings.TrimPrefix(other, "/auth/authorize?"), request+"&prompt=select_account+consent") {
		t.Errorf("another account: %q", other)
	}
}

func TestConsentShowsWhereTheAnswerGoes(t *testing.T) {
	for uri, want := range map[string]string{
		"https://a.very.long.name.of.a.client.example.com:8443/cb": "a.very.long.name.of.a.client.example.com:8443",
		"https://b%C3%BCcher.example/cb":                           "xn--bcher-kva.example",
		"https://%D0%B0pple.com/cb":                                "xn--pple-43d.com", // with a Cyrillic letter
		"https://a%E2%80%AEmoc.example/cb":                         "a%E2%80%AEmoc.example",
		"https://GitHub.com/cb":                                    "github.com",
		"https://user.github.io/cb":                                "user.github.io",
		"https://203.0.113.7/cb":                                   "203.0.113.7",
		"http://127.0.0.1:5000/cb":                                 "http://127.0.0.1:5000",
		"http://[::1]:5000/cb":                                     "http://[::1]:5000",
		"com.example.app:/cb":                                      "com.example.app:",
		"com.example.app://accounts.example.org/cb":                "com.example.app:",
	} {
		f := &fake{authorization: consentStep()}
		f.authorization.RedirectURI = uri
		if got := text(call(t, serve(t, f), "GET", "/auth/authorize?"+request, "").find("#consent-target")); got != want {
			t.Errorf("%s is shown as %q, want %q", uri, got, want)
		}
	}
}

// TestConsentEmphasizesTheOwnerOfTheHost checks that the part of a host that names its owner is emphasized: the beginning of a long
// host is chosen freely.
func TestConsentEmphasizesTheOwnerOfTheHost(t *testing.T) {
	for uri, want := range map[string]string{
		"https://accounts.google.com.login.evil.co.uk:8443/cb": "evil.co.uk",
		"https://a.user.github.io/cb":                          "user.github.io",
		"https://client.test/cb":                               "client.test",
		"http://127.0.0.1:5000/cb":                             "127.0.0.1",
		"http://[::1]:5000/cb":                                 "[::1]",
		"http://localhost:5000/cb":                             "localhost",
		"com.example.app:/cb":                                  "com.example.app:",
	} {
		f := &fake{authorization: consentStep()}
		f.authorization.RedirectURI = uri
		target := call(t, serve(t, f), "GET", "/auth/authorize?"+request, "").find("#consent-target")
		var strong []string
		for n := range target.Descendants() {
			if n.Data == "strong" {
				strong = append(strong, text(n))
			}
		}
		if !slices.Equal(strong, []string{want}) {
			t.Errorf("%s emphasizes %q, want %q", uri, strong, want)
		}
	}
}

func TestConsentDecision(t *testing.T) {
	for _, button := range []string{"consent-allow", "consent-deny"} {
		f := &fake{authorization: consentStep(), consented: redirectStep("https://client.test/cb", "query", url.Values{"code": {"c"}})}
		h := serve(t, f)
		shown := call(t, h, "GET", "/auth/authorize?"+request, "", cookie)
		fields := shown.fields()
		fields.Set(attr(shown.find("#"+button), "name"), attr(shown.find("#"+button), "value"))
		a := post(t, h, attr(shown.find("form"), "action"), fields, cookie)
		if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "https://client.test/cb?code=c" {
			t.Errorf("%d to %q", a.StatusCode, a.Header.Get("Location"))
		}
		if f.decision.Allow != (button == "consent-allow") || f.decision.CSRFToken != "csrf-1" || !slices.Equal(f.decision.Scopes, f.authorization.Scopes) ||
			f.in.RefreshToken != "rt1.good" || f.in.Params.Encode() != request {
			t.Errorf("%s: decision %+v about %v", button, f.decision, f.in)
		}
	}
	t.Run("a request that needs another step", func(t *testing.T) {
		for _, next := range []broker.Authorization{signInStep(), consentStep()} {
			f := &fake{consented: next}
			a := post(t, serve(t, f), "/auth/authorize/consent", url.Values{"query": {request}, "decision": {"allow"}}, cookie)
			if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/auth/authorize?"+request {
				t.Errorf("%d to %q", a.StatusCode, a.Header.Get("Location"))
			}
		}
	})
	t.Run("a wrong CSRF token", func(t *testing.T) {
		f := &fake{err: &broker.Error{Code: broker.CodeCSRF, Message: "wrong"}}
		a := post(t, serve(t, f), "/auth/authorize/consent", url.Values{"query": {request}, "decision": {"allow"}, "csrf": {"x"}}, cookie)
		if a.wantPage(t, http.StatusForbidden); text(a.find("h1")) != "This page is out of date" {
			t.Errorf("the page: %s", text(a.find("main")))
		}
	})
}

// All text of clients and of requests is escaped.
func TestPagesEscape(t *testing.T) {
	const hostile = `"><img src=x onerror=alert(1)>{{.}}` + "\u202e{client}"
	shown := func(step broker.Authorization) answer {
		f := &fake{authorization: step, providers: []string{hostile}}
		f.authorization.ClientName, f.authorization.LoginHint, f.authorization.UserName, f.authorization.Continue = hostile, hostile, hostile, hostile
		f.authorization.CSRFToken, f.authorization.Scopes = hostile, []string{hostile}
		return call(t, serve(t, f), "GET", "/auth/authorize?"+url.Values{"state": {hostile}, "login_hint": {hostile}}.Encode(), "")
	}
	answers := []answer{
		shown(signInStep()), shown(consentStep()), shown(unverified(signInStep(), broker.ClassRegistered)),
		shown(unverified(consentStep(), broker.ClassDocument)), shown(unverified(redirectStep("https://client.test/cb", "form_post", url.Values{"state": {hostile}}), broker.ClassDocument)),
		call(t, serve(t, &fake{end: broker.EndSession{Ask: true, UserName: hostile, ClientName: hostile, CSRFToken: hostile}}), "GET", "/auth/logout?"+url.Values{"state": {hostile}}.Encode(), ""),
		call(t, serve(t, &fake{}), "GET", "/auth/authorize?"+url.Values{"state": {hostile}}.Encode(), "", "Sec-Fetch-Site: cross-site"),
	}
	for _, a := range answers {
		a.wantPage(t, http.StatusOK)
		if len(a.all("img")) > 0 || len(a.all("script")) > 0 {
			t.Errorf("the page: %s", a.body)
		}
	}
	a := answers[1]
	isolated := slices.ContainsFunc(a.all("bdi"), func(n *html.Node) bool { return text(n) == strings.Join(strings.Fields(hostile), " ") })
	if !isolated || a.fields().Get("csrf") != hostile {
		t.Errorf("the page: %s", a.body)
	}
}
