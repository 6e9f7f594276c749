package pages_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"tokenbroker/api/httpapi"
	"tokenbroker/api/pages"
	"tokenbroker/broker"
)

// logoutRequest is a log-out request of a client.
const logoutRequest = "client_id=web&id_token_hint=a.b.c&post_logout_redirect_uri=https%3A%2F%2Fclient.test%2Fbye&state=s"

func TestLogoutRequestReachesTheBroker(t *testing.T) {
	want := broker.EndSessionRequest{IDTokenHint: "a.b.c", ClientID: "web", PostLogoutURI: "https://client.test/bye", State: "s", RefreshToken: "rt1.good"}
	f := &fake{}
	h := serve(t, f)
	call(t, h, "GET", "/auth/logout?"+logoutRequest+"&ui_locales=de", "", cookie)
	if f.endIn != want {
		t.Errorf("GET: %+v", f.endIn)
	}
	call(t, h, "POST", "/auth/logout/", logoutRequest, asForm, cookie)
	if f.endIn != want {
		t.Errorf("POST: %+v", f.endIn)
	}
	for name, target := range map[string]string{"twice": "/auth/logout?state=a&state=b", "too long": "/auth/logout?state=" + strings.Repeat("a", 9<<10)} {
		f.calls = nil
		if call(t, h, "GET", target, "").wantPage(t, http.StatusBadRequest); len(f.calls) > 0 {
			t.Errorf("%s: calls %v", name, f.calls)
		}
	}
	call(t, h, "GET", "/auth/logout?id_token_hint="+strings.Repeat("a", 6<<10), "").wantPage(t, http.StatusOK)
}

func TestLogoutAsksFirst(t *testing.T) {
	f := &fake{end: broker.EndSession{Ask: true, CSRFToken: "csrf-1", UserName: "ada", ClientName: "Web Shop", RedirectURL: "https://client.test/bye?state=s"}}
	h := serve(t, f)
	shown := call(t, h, "GET", "/auth/logout?"+logoutRequest, "", cookie)
	shown.wantPage(t, http.StatusOK)
	if len(f.calls) != 1 || len(shown.Cookies()) > 0 {
		t.Fatalf("calls %v, cookies %v", f.calls, shown.Cookies())
	}
	if text(shown.find("#logout-confirm")) != "Sign out" || !strings.Contains(text(shown.find("main")), "You are signed in as ada. Web Shop asks to sign you out.") ||
		attr(shown.find("#logout-stay"), "href") != spa+"/" || shown.formAction() != "'self' https://client.test" {
		t.Errorf("the page: %s", shown.body)
	}
	f.end.Class = broker.ClassRegistered // the name is its own claim
	unverified := call(t, h, "GET", "/auth/logout?"+logoutRequest, "", cookie)
	if unverified.wantPage(t, http.StatusOK); !strings.Contains(text(unverified.find("main")), "Web Shop, an application that is not verified, asks to sign you out.") {
		t.Errorf("the page of a client that describes itself: %s", unverified.body)
	}
	f.end = broker.EndSession{LogOff: true, CSRFToken: "csrf-1", RedirectURL: "https://client.test/bye?state=s"}
	a := post(t, h, attr(shown.find("form"), "action"), shown.fields(), cookie)
	if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "https://client.test/bye?state=s" {
		t.Errorf("%d to %q", a.StatusCode, a.Header.Get("Location"))
	}
	if f.endIn.CSRFToken != "csrf-1" || f.endIn.State != "s" || f.logOffAsk != [2]string{"rt1.good", "csrf-1"} {
		t.Errorf("asked %+v, ended %q", f.endIn, f.logOffAsk)
	}
	if c := a.Cookies(); len(c) == 0 || c[0].Name != "__Host-refresh_cookie" || c[0].MaxAge >= 0 {
		t.Errorf("cookies %v", c)
	}
}

func TestLogout(t *testing.T) {
	t.Run("without an address to return to", func(t *testing.T) {
		f := &fake{end: broker.EndSession{LogOff: true, CSRFToken: "c"}, logOff: broker.LogOffResult{LogoutURL: "https://idp.test/logout", Provider: "corp"}}
		a := call(t, serve(t, f), "GET", "/auth/logout", "", cookie)
		a.wantPage(t, http.StatusOK)
		links := a.all("a")
		if text(a.find("h1")) != "You are signed out" || len(links) != 2 || attr(links[0], "href") != "https://idp.test/logout" ||
			text(links[0]) != "Also sign out of Corp" || attr(links[1], "href") != spa+"/" || text(links[1]) != "Continue to app.example.com" {
			t.Errorf("the page: %s", a.body)
		}
	})
	t.Run("without a home page", func(t *testing.T) {
		f := &fake{end: broker.EndSession{Ask: true, CSRFToken: "c"}}
		h := serve(t, f, func(c *pages.Config, _ *httpapi.SiteConfig) { c.Home = func() string { return "" } })
		a := call(t, h, "GET", "/auth/logout", "", cookie)
		if a.wantPage(t, http.StatusOK); len(a.all("a")) > 0 || text(a.find("#logout-close")) != "To stay signed in, close this window." {
			t.Errorf("the page: %s", a.body)
		}
		f.end = broker.EndSession{LogOff: true, CSRFToken: "c"}
		a = call(t, h, "GET", "/auth/logout", "", cookie)
		if a.wantPage(t, http.StatusOK); len(a.all("a")) > 0 || a.find("#signed-out") == nil {
			t.Errorf("the page: %s", a.body)
		}
	})
	t.Run("without a session", func(t *testing.T) {
		f := &fake{}
		a := call(t, serve(t, f), "GET", "/auth/logout", "")
		if a.wantPage(t, http.StatusOK); len(f.calls) != 1 || len(a.Cookies()) > 0 {
			t.Errorf("calls %v, cookies %v", f.calls, a.Cookies())
		}
	})
	t.Run("of a session that has ended", func(t *testing.T) {
		f := &fake{end: broker.EndSession{LogOff: true}, logOffErr: &broker.Error{Code: broker.CodeSessionEnded}}
		a := call(t, serve(t, f), "GET", "/auth/logout", "", cookie)
		if a.wantPage(t, http.StatusOK); a.Cookies()[0].MaxAge >= 0 {
			t.Errorf("cookies %v", a.Cookies())
		}
	})
	t.Run("that fails", func(t *testing.T) {
		for status, err := range map[int]error{500: errors.New("secret cause"), 503: &broker.Error{Code: broker.CodeUnavailable}, 403: &broker.Error{Code: broker.CodeCSRF}} {
			f := &fake{end: broker.EndSession{LogOff: true, RedirectURL: "https://client.test/bye"}, logOffErr: err}
			a := call(t, serve(t, f), "GET", "/auth/logout", "", cookie)
			if a.wantPage(t, status); len(a.Cookies()) > 0 {
				t.Errorf("cookies %v", a.Cookies())
			}
		}
	})
	t.Run("to an address that is not registered", func(t *testing.T) {
		f := &fake{err: &broker.Error{Code: broker.CodeInvalidRedirect}}
		a := call(t, serve(t, f), "GET", "/auth/logout?"+url.Values{"post_logout_redirect_uri": {"https://evil.test"}}.Encode(), "", cookie)
		if a.wantPage(t, http.StatusBadRequest); strings.Contains(a.body, "evil.test") {
			t.Errorf("the page: %s", a.body)
		}
	})
	t.Run("with a hint for another client", func(t *testing.T) {
		f := &fake{err: &broker.Error{Code: broker.CodeInvalidRequest}}
		a := call(t, serve(t, f), "GET", "/auth/logout?"+logoutRequest, "", cookie)
		if a.wantPage(t, http.StatusBadRequest); text(a.find("h1")) != "This link does not work" || len(a.Cookies()) > 0 {
			t.Errorf("the page: %s", a.body)
		}
	})
	t.Run("with two cookies", func(t *testing.T) {
		f := &fake{end: broker.EndSession{LogOff: true}}
		if call(t, serve(t, f), "GET", "/auth/logout", "", cookie, cookie).wantPage(t, http.StatusBadRequest); len(f.calls) > 0 {
			t.Errorf("calls %v", f.calls)
		}
	})
}
