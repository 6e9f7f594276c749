package oauth_test

import (
	"net/http"
	"testing"

	"tokenbroker/api/internal/apitest"
	"tokenbroker/broker"
)

const (
	appPage   = "https://app.example"   // of the client app
	otherPage = "https://other.example" // of another client
	evilPage  = "https://evil.example"  // of no client
)

func origins() map[string]string { return map[string]string{appPage: "app", otherPage: "other"} }

func TestPreflightsOfClientPages(t *testing.T) {
	h := apitest.New(t, &apitest.Fake{Origins: origins()})
	for _, path := range []string{"/oauth2/token", "/oauth2/revoke", "/oauth2/userinfo/"} {
		for origin, want := range map[string]int{appPage: 204, otherPage: 204, evilPage: 403, apitest.SPA: 403, "null": 403} {
			res := apitest.Call(h, "OPTIONS", path, "", "Origin: "+origin, "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization")
			allowed := res.Header.Get("Access-Control-Allow-Origin")
			if res.StatusCode != want || (want == 204) != (allowed == origin) || res.Header.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("%s %s: %d %v", path, origin, res.StatusCode, res.Header)
			}
		}
	}
	for _, path := range []string{"/oauth2/introspect", "/auth/authorize", "/auth/logout", "/auth/authorize/consent"} {
		res := apitest.Call(h, "OPTIONS", path, "", "Origin: "+appPage, "Access-Control-Request-Method: POST")
		if res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %d %v", path, res.StatusCode, res.Header)
		}
	}
}

// TestPagesReadOnlyAnswersForTheirClient checks that a page can read an answer if its origin is one of the client's, and a
// refusal if it is one of any client.
func TestPagesReadOnlyAnswersForTheirClient(t *testing.T) {
	refused := &broker.Error{Code: broker.CodeInvalidGrant}
	for _, row := range []struct {
		origin string
		err    error
		want   bool
	}{
		{appPage, nil, true}, {otherPage, nil, false}, {evilPage, nil, false}, {apitest.SPA, nil, false},
		{appPage, refused, true}, {otherPage, refused, true}, {evilPage, refused, false},
	} {
		for path, form := range map[string]string{"/oauth2/token": "grant_type=x&client_id=app", "/oauth2/revoke": "token=x&client_id=app", "/oauth2/userinfo": "access_token=t"} {
			f := &apitest.Fake{
				Origins: origins(), Err: row.err,
				Tokens: &broker.TokenAnswer{AccessToken: "a", ClientID: "app"}, User: &broker.UserInfo{ClientID: "app"},
			}
			h := post(apitest.New(t, f), path, form, "Origin: "+row.origin).Header
			allowed := h.Get("Access-Control-Allow-Origin")
			if row.want && allowed != row.origin || !row.want && allowed != "" || h.Get("Access-Control-Allow-Credentials") != "" || h.Get("Vary") == "" {
				t.Errorf("%s from %s, %v: %v", path, row.origin, row.err, h)
			}
		}
	}
	for _, path := range []string{"/oauth2/token", "/oauth2/revoke", "/oauth2/userinfo"} { // a client without an id is none
		f := &apitest.Fake{Origins: map[string]string{appPage: ""}, Tokens: &broker.TokenAnswer{}, User: &broker.UserInfo{}}
		res := apitest.Call(apitest.New(t, f), "POST", path, "grant_type=x&token=x&access_token=t&client_id=", formType, "Origin: "+appPage)
		if res.StatusCode == 200 && res.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %v", path, res.Header)
		}
	}
}

func TestDocumentsAreReadableByEveryPage(t *testing.T) {
	h := apitest.New(t, &apitest.Fake{})
	for _, path := range append(documents, "/.well-known/jwks.json") {
		res := apitest.Call(h, "OPTIONS", path, "", "Origin: "+evilPage, "Access-Control-Request-Method: GET")
		if res.StatusCode != 204 || res.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: %d %v", path, res.StatusCode, res.Header)
		}
		if got := apitest.Call(h, "GET", path, "").Header.Get("Access-Control-Allow-Origin"); got != "*" {
			t.Errorf("%s: %q", path, got)
		}
	}
}
