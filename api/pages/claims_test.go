package pages_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"tokenbroker/broker"
)

// unverified returns a step of a client of that class.
func unverified(step broker.Authorization, class broker.ClientClass) broker.Authorization {
	step.Class, step.ClientID = class, "registered-abcdefghijklmnopqrstuvwxyz"
	if class == broker.ClassDocument {
		step.ClientID = "https://app.client.example/oauth/client.json"
	}
	return step
}

func TestConsentWarnsOfClientsThatDescribeThemselves(t *testing.T) {
	const (
		notVerified = "This application is not verified "
		advice      = " Allow it only if you started this and know the addresses on this page."
		local       = " The access goes to a program on this computer. Allow it only if you started that program."
		claimed     = "An application that calls itself Web Shop asks for access"
	)
	for name, row := range map[string]struct {
		class              broker.ClientClass
		name, redirectURI  string
		heading, notice    string
		document, fullHost string
	}{
		"a document": {
			broker.ClassDocument, "Web Shop", "https://client.test/cb", claimed,
			notVerified + "It describes itself at app.client.example https://app.client.example/oauth/client.json" + advice, "app.client.example", "client.test",
		},
		"a document without a name": {
			broker.ClassDocument, "app.client.example", "https://client.test/cb", "app.client.example asks for access",
			notVerified + "It describes itself at app.client.example https://app.client.example/oauth/client.json" + advice, "app.client.example", "client.test",
		},
		"a document of a program on this computer": {
			broker.ClassDocument, "Web Shop", "http://127.0.0.1:53124/cb", claimed,
			notVerified + "It describes itself at app.client.example https://app.client.example/oauth/client.json" + local, "app.client.example", "http://127.0.0.1:53124",
		},
		"a registration": {
			broker.ClassRegistered, "Web Shop", "https://client.test/cb", claimed,
			notVerified + "It registered itself, as anyone can." + advice, "", "client.test",
		},
		"a registration without a name": {
			broker.ClassRegistered, "registered-abcdefghijklmnopqrstuvwxyz", "https://client.test/cb", "registered-abcdefghijklmnopqrstuvwxyz asks for access",
			notVerified + "It registered itself, as anyone can." + advice, "", "client.test",
		},
		"a registration of a program, IPv6": {
			broker.ClassRegistered, "Web Shop", "http://[::1]/cb", claimed,
			notVerified + "It registered itself, as anyone can." + local, "", "http://[::1]",
		},
		"a registration of an app": {
			broker.ClassRegistered, "Web Shop", "com.example.app:/cb", claimed,
			notVerified + "It registered itself, as anyone can." + advice, "", "com.example.app:",
		},
		"the configuration": {broker.ClassKnown, "Web Shop", "http://127.0.0.1:53124/cb", "Web Shop asks for access", "", "", "http://127.0.0.1:53124"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{authorization: unverified(consentStep(), row.class)}
			f.authorization.ClientName, f.authorization.RedirectURI = row.name, row.redirectURI
			a := call(t, serve(t, f), "GET", "/auth/authorize?"+request, "")
			a.wantPage(t, http.StatusOK)
			for id, want := range map[string]string{"consent-unverified": row.notice, "consent-document": row.document, "consent-target": row.fullHost} {
				if got := text(a.find("#" + id)); strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(want, " ", "") {
					t.Errorf("#%s says %q, want %q", id, got, want)
				}
			}
			if got := text(a.find("h1")); got != row.heading || !strings.HasPrefix(text(a.find("title")), row.heading) {
				t.Errorf("the heading is %q, want %q", got, row.heading)
			}
			if scopes := text(a.find("#scopes")); (row.class != broker.ClassKnown) != (scopes == "If you allow it, the application can:") {
				t.Errorf("the scopes' heading is %q", scopes)
			}
			if len(a.all("img")) > 0 { // its logo is not shown
				t.Errorf("the page: %s", a.body)
			}
		})
	}
}

// TestAPasswordIsNotAskedForByAClaim checks that the sign-in page names a client with a document by the host, and says that
// the client is not verified.
func TestAPasswordIsNotAskedForByAClaim(t *testing.T) {
	for class, want := range map[broker.ClientClass]string{
		broker.ClassKnown:      "to continue to Web Shop",
		broker.ClassDocument:   "to continue to app.client.example, an application that is not verified",
		broker.ClassRegistered: "to continue to Web Shop, an application that is not verified",
	} {
		f := &fake{authorization: unverified(signInStep(), class)}
		a := call(t, serve(t, f), "GET", "/auth/authorize?"+request, "")
		if !strings.Contains(text(a.find("main")), want+" ") || class == broker.ClassDocument && strings.Contains(a.body, "Web Shop") {
			t.Errorf("class %q: %s", class, text(a.find("main")))
		}
	}
}

// TestRFC9700Section4112LinksDoNotLeadToOtherSites checks that an answer that the user did not decide about needs a click if anyone
// can have its redirect URI.
func TestRFC9700Section4112LinksDoNotLeadToOtherSites(t *testing.T) {
	refused := url.Values{"error": {"invalid_scope"}, "state": {"s"}}
	for _, class := range []broker.ClientClass{broker.ClassDocument, broker.ClassRegistered} {
		for uri, want := range map[string]string{"https://evil.example/cb?x=1": "evil.example", "com.evil.app:/cb?x=1": "com.evil.app:"} {
			f := &fake{authorization: unverified(redirectStep(uri, "query", refused), class)}
			a := call(t, serve(t, f), "GET", "/auth/authorize?"+request, "")
			a.wantPage(t, http.StatusOK)
			if got := attr(a.find("#leave"), "href"); a.Header.Get("Location") != "" || a.Header.Get("Refresh") != "" || a.find("#leave").Data != "a" ||
				got != uri+"&error=invalid_scope&state=s" || text(a.find("#leave-target")) != want || len(a.all("meta")) != 3 {
				t.Errorf("%s: %v, the page leads to %q: %s", uri, a.Header, got, a.body)
			}
			f.authorization.ResponseMode = "form_post"
			a = call(t, serve(t, f), "GET", "/auth/authorize?"+request, "")
			a.wantPage(t, http.StatusOK)
			if fields := a.fields(); attr(a.find("form"), "action") != uri || fields.Get("error") != "invalid_scope" || a.find("#leave").Data != "button" || len(a.all("script")) > 0 ||
				!strings.Contains(a.formAction(), strings.TrimSuffix(uri, "/cb?x=1")) {
				t.Errorf("%s: the page %s", uri, a.body)
			}
		}
		t.Run("after a decision", func(t *testing.T) {
			f := &fake{consented: unverified(redirectStep("https://evil.example/cb", "query", url.Values{"error": {"access_denied"}}), class)}
			a := post(t, serve(t, f), "/auth/authorize/consent", url.Values{"query": {request}, "decision": {"deny"}}, cookie)
			if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "https://evil.example/cb?error=access_denied" {
				t.Errorf("%d %v", a.StatusCode, a.Header)
			}
		})
		t.Run("a program on this computer", func(t *testing.T) {
			f := &fake{authorization: unverified(redirectStep("http://localhost:5000/cb", "query", refused), class)}
			a := call(t, serve(t, f), "GET", "/auth/authorize?"+request, "")
			if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "http://localhost:5000/cb?error=invalid_scope&state=s" {
				t.Errorf("%d %v", a.StatusCode, a.Header)
			}
		})
		t.Run("after a log-out", func(t *testing.T) {
			for uri, want := range map[string]string{"https://evil.example/bye?state=s": "Continue to evil.example", "com.evil.app:/bye": "Continue to com.evil.app:"} {
				f := &fake{end: broker.EndSession{Class: class, RedirectURL: uri}}
				a := call(t, serve(t, f), "GET", "/auth/logout", "")
				a.wantPage(t, http.StatusOK)
				if links := a.all("a"); len(links) != 1 || attr(links[0], "href") != uri || text(links[0]) != want {
					t.Errorf("the page: %s", a.body)
				}
			}
			f := &fake{end: broker.EndSession{Class: class, RedirectURL: "http://127.0.0.1:5000/bye"}}
			if a := call(t, serve(t, f), "GET", "/auth/logout", ""); a.Header.Get("Location") != "http://127.0.0.1:5000/bye" {
				t.Errorf("%d %v", a.StatusCode, a.Header)
			}
		})
	}
}

// TestADocumentThatCannotBeReadNowIsNoProvider checks that the page about a client whose document cannot be read does not blame a provider.
func TestADocumentThatCannotBeReadNowIsNoProvider(t *testing.T) {
	f := &fake{err: &broker.Error{Code: broker.CodeUpstreamUnavailable, Message: "not now", RetryAfter: time.Second, Err: broker.ErrClientDocument}}
	a := call(t, serve(t, f), "GET", "/auth/authorize?"+request, "")
	a.wantPage(t, http.StatusServiceUnavailable)
	if text(a.find("h1")) != "This application cannot be used now" || strings.Contains(a.body, "provider") {
		t.Errorf("the page: %s", a.body)
	}
}

// TestARefusedDocumentIsExplained checks that the page about a client whose document is refused has the reason and leads nowhere else.
func TestARefusedDocumentIsExplained(t *testing.T) {
	for reason, cause := range map[string]error{
		"The client's metadata document cannot be used. It claims the id <b>.": broker.ErrClientDocument,
		"The redirect URI is not registered for the client.":                   nil,
	} {
		f := &fake{err: &broker.Error{Code: broker.CodeInvalidRedirect, Message: reason, Err: cause}}
		a := call(t, serve(t, f), "GET", "/auth/authorize?"+request, "")
		a.wantPage(t, http.StatusBadRequest)
		if text(a.find("#reason")) != reason || a.Header.Get("Location") != "" || (cause != nil) != (text(a.find("h1")) == "This application cannot be used") {
			t.Errorf("the page: %s", a.body)
		}
		for _, link := range a.all("a") {
			if attr(link, "href") != spa+"/" {
				t.Errorf("the page leads to %q", attr(link, "href"))
			}
		}
	}
}
