package oauth_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/api"
	"tokenbroker/api/httpapi"
	"tokenbroker/api/internal/apitest"
	"tokenbroker/broker"
)

const (
	exchange = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange"
)

// post sends a form.
func post(h http.Handler, path, form string, headers ...string) *http.Response {
	return apitest.Call(h, "POST", path, form, append([]string{formType}, headers...)...)
}

func TestTokenRequests(t *testing.T) {
	basic := broker.ClientCredentials{ID: "demo-service", Secrets: []string{"demo-service-secret"}}
	for name, row := range map[string]struct {
		form    string
		headers []string
		want    broker.TokenRequest
	}{
		"a code of a public client": {
			"grant_type=authorization_code&client_id=app&code=c&redirect_uri=http%3A%2F%2F127.0.0.1%2Fcb&code_verifier=v", nil,
			broker.TokenRequest{
				Client:    broker.ClientCredentials{ID: "app"},
				GrantType: "authorization_code", Code: "c", RedirectURI: "http://127.0.0.1/cb", Verifier: "v",
			},
		},
		"a refresh token, the secret in the form": {
			"grant_type=refresh_token&client_id=app&client_secret=s&refresh_token=rt1.x&scope=a+b", nil,
			broker.TokenRequest{
				Client:    broker.ClientCredentials{ID: "app", Secrets: []string{"s"}},
				GrantType: "refresh_token", RefreshToken: "rt1.x", Scope: "a b",
			},
		},
		"client credentials by Basic, several resources": {
			"grant_type=client_credentials&resource=http%3A%2F%2Fa&resource=http%3A%2F%2Fb&resource=&client_id=demo-service", []string{apitest.DemoService},
			broker.TokenRequest{Client: basic, GrantType: "client_credentials", Resources: []string{"http://a", "http://b"}},
		},
		"an exchange": {
			"grant_type=" + exchange + "&subject_token=st&subject_token_type=stt&actor_token=at&actor_token_type=att&requested_token_type=rtt&audience=a&audience=b",
			[]string{apitest.DemoService},
			broker.TokenRequest{
				Client: basic, GrantType: broker.GrantTokenExchange, SubjectToken: "st", SubjectTokenType: "stt",
				ActorToken: "at", ActorTokenType: "att", RequestedTokenType: "rtt", Audiences: []string{"a", "b"},
			},
		},
		"an assertion": {
			"grant_type=client_credentials&client_assertion=j&client_assertion_type=t", nil,
			broker.TokenRequest{Client: broker.ClientCredentials{Assertion: "j", AssertionType: "t"}, GrantType: "client_credentials"},
		},
		// RFC 6749 §3.2: a parameter without a value counts as omitted.
		"parameters that the endpoint does not use": {
			"grant_type=password&username=u&password=p&client_id=app&client_secret=&empty=", nil,
			broker.TokenRequest{Client: broker.ClientCredentials{ID: "app"}, GrantType: "password", Unused: []string{"password", "username"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := &apitest.Fake{Tokens: &broker.TokenAnswer{AccessToken: "a", ExpiresIn: time.Minute}}
			if res := post(apitest.New(t, f), "/oauth2/token", row.form, row.headers...); res.StatusCode != 200 {
				t.Fatal(res.StatusCode)
			}
			if diff := cmp.Diff(row.want, f.TokenRequest, equalEmpty); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// equalEmpty compares no strings with none.
var equalEmpty = cmp.Transformer("", func(list []string) string { return strings.Join(list, "\x00") })

func TestRFC6749Section51TokenAnswer(t *testing.T) {
	full := broker.TokenAnswer{
		AccessToken: "a.b.c", ExpiresIn: 299*time.Second + 900*time.Millisecond, RefreshToken: "rt1.x", IDToken: "i.j.k",
		Scope: `a "<b>`, IssuedTokenType: "urn:ietf:params:oauth:token-type:access_token",
	}
	for _, row := range []struct {
		answer broker.TokenAnswer
		want   string
	}{
		{full, `{"access_token":"a.b.c","token_type":"Bearer","expires_in":299,"refresh_token":"rt1.x","id_token":"i.j.k","scope":"a \"\u003cb\u003e","issued_token_type":"urn:ietf:params:oauth:token-type:access_token"}`},
		{broker.TokenAnswer{AccessToken: "a", ExpiresIn: time.Minute}, `{"access_token":"a","token_type":"Bearer","expires_in":60}`},
	} {
		res := post(apitest.New(t, &apitest.Fake{Tokens: &row.answer}), "/oauth2/token/", "grant_type=x&client_id=app")
		apitest.WantJSON(t, res, 200, row.want)
		if h := res.Header; h.Get("Cache-Control") != "no-store" || h.Get("Pragma") != "no-cache" {
			t.Errorf("%v", h)
		}
	}
}

// refusal is the body of RFC 6749 §5.2.
type refusal struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

func wantRefusal(t *testing.T, res *http.Response, status int, code string) refusal {
	t.Helper()
	var got refusal
	if err := json.NewDecoder(res.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != status || got.Error != code || got.Description == "" || res.Header.Get("Content-Type") != "application/json" ||
		res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %+v %v, want %d %s", res.StatusCode, got, res.Header, status, code)
	}
	return got
}

// TestMalformedRequestsOfClients has what is refused before the broker decides.
func TestMalformedRequestsOfClients(t *testing.T) {
	const secret = "&client_id=app&client_secret=s"
	basic := []string{apitest.DemoService}
	for name, row := range map[string]struct {
		query, form string
		headers     []string
		status      int
		code        string
	}{
		"RFC 6749 §3.2: a parameter twice":         {"", "grant_type=refresh_token&grant_type=refresh_token", basic, 400, "invalid_request"},
		"two codes":                                {"", "grant_type=authorization_code&code=a&code=b", basic, 400, "invalid_request"},
		"two verifiers":                            {"", "grant_type=authorization_code&code=a&code_verifier=b&code_verifier=", basic, 400, "invalid_request"},
		"two scopes":                               {"", "grant_type=client_credentials&scope=a&scope=b", basic, 400, "invalid_request"},
		"two subject tokens":                       {"", "grant_type=" + exchange + "&subject_token=a&subject_token=b", basic, 400, "invalid_request"},
		"an unknown parameter twice":               {"", "grant_type=client_credentials&x=1&x=2", basic, 400, "invalid_request"},
		"parameters in the query":                  {"?grant_type=client_credentials", "", basic, 400, "invalid_request"},
		"credentials in the query":                 {"?client_id=app&client_secret=s", "grant_type=client_credentials", nil, 400, "invalid_request"},
		"JSON":                                     {"", `{"grant_type":"client_credentials"}`, append([]string{"Content-Type: application/json"}, basic...), 400, "invalid_request"},
		"multipart":                                {"", "grant_type=client_credentials", append([]string{"Content-Type: multipart/form-data; boundary=x"}, basic...), 400, "invalid_request"},
		"no content type":                          {"", "grant_type=client_credentials", append([]string{"Content-Type: "}, basic...), 400, "invalid_request"},
		"a broken form":                            {"", "grant_type=%zz", basic, 400, "invalid_request"},
		"not UTF-8":                                {"", "grant_type=client_credentials&resource=a&resource=%ff", basic, 400, "invalid_request"},
		"more than 64 KiB":                         {"", "grant_type=refresh_token&refresh_token=" + strings.Repeat("x", 64<<10), basic, 413, "invalid_request"},
		"no grant type":                            {"", "code=x", basic, 400, "invalid_request"},
		"an empty grant type":                      {"", "grant_type=", basic, 400, "invalid_request"},
		"no body":                                  {"", "", basic, 400, "invalid_request"},
		"RFC 6749 §2.3: Basic and a secret":        {"", "grant_type=client_credentials" + secret, basic, 400, "invalid_request"},
		"Basic and an assertion":                   {"", "grant_type=client_credentials&client_assertion=a&client_assertion_type=t", basic, 400, "invalid_request"},
		"a secret and an assertion":                {"", "grant_type=client_credentials&client_assertion=a&client_assertion_type=t" + secret, nil, 400, "invalid_request"},
		"two headers":                              {"", "grant_type=client_credentials", []string{apitest.DemoService, apitest.DemoService}, 400, "invalid_request"},
		"the id of another client besides Basic":   {"", "grant_type=client_credentials&client_id=app", basic, 400, "invalid_request"},
		"no client":                                {"", "grant_type=client_credentials", nil, 401, "invalid_client"},
		"an empty client":                          {"", "grant_type=client_credentials&client_id=&client_secret=", nil, 401, "invalid_client"},
		"a bearer token instead of credentials":    {"", "grant_type=client_credentials", []string{"Authorization: Bearer x"}, 401, "invalid_client"},
		"a broken header":                          {"", "grant_type=client_credentials", []string{"Authorization: Basic !"}, 401, "invalid_client"},
		"an Authorization header without contents": {"", "grant_type=client_credentials" + secret, []string{"Authorization: "}, 400, "invalid_request"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &apitest.Fake{Tokens: &broker.TokenAnswer{AccessToken: "a"}}
			wantRefusal(t, post(apitest.New(t, f), "/oauth2/token"+row.query, row.form, row.headers...), row.status, row.code)
			if len(f.Calls) > 0 {
				t.Errorf("the broker was asked: %v", f.Calls)
			}
			if len(f.Refused) != 1 || !strings.HasPrefix(f.Refused[0], row.code+": ") {
				t.Errorf("audited refusals: %q, want one", f.Refused)
			}
		})
	}
	apitest.Want(t, apitest.Call(apitest.New(t, &apitest.Fake{}), "GET", "/oauth2/token", ""), 405, "method_not_allowed")
}

func TestRFC6749Section52Refusals(t *testing.T) {
	for _, row := range []struct {
		err    error
		status int
		code   string
	}{
		{&broker.Error{Code: broker.CodeInvalidRequest, Message: "m"}, 400, "invalid_request"},
		{&broker.Error{Code: broker.CodeInvalidClient, Message: "m"}, 401, "invalid_client"},
		{&broker.Error{Code: broker.CodeInvalidGrant, Message: "m"}, 400, "invalid_grant"},
		{&broker.Error{Code: broker.CodeUnauthorizedClient, Message: "m"}, 400, "unauthorized_client"},
		{&broker.Error{Code: broker.CodeUnsupportedGrantType, Message: "m"}, 400, "unsupported_grant_type"},
		{&broker.Error{Code: broker.CodeInvalidScope, Message: "m"}, 400, "invalid_scope"},
		{&broker.Error{Code: broker.CodeInvalidTarget, Message: "m"}, 400, "invalid_target"},
		{&broker.Error{Code: broker.CodeUnsupportedTokenType, Message: "m"}, 400, "unsupported_token_type"},
		{&broker.Error{Code: broker.CodeSessionRevoked, Message: "m"}, 400, "invalid_grant"},
		{&broker.Error{Code: broker.CodeUserDisabled, Message: "m"}, 400, "invalid_grant"},
		{&broker.Error{Code: broker.CodeUnavailable, Message: "m", RetryAfter: 1500 * time.Millisecond}, 503, "temporarily_unavailable"},
		{&broker.Error{Code: broker.CodeBusy, Message: "m"}, 503, "temporarily_unavailable"},
		{&broker.Error{Code: broker.CodeUpstreamUnavailable, Message: "m"}, 503, "temporarily_unavailable"},
		{&broker.Error{Code: broker.CodeTooManyAttempts, Message: "m"}, 429, "temporarily_unavailable"},
		{errors.New("disk"), 500, "server_error"},
		{&broker.Error{Code: broker.CodeInternal, Message: "m"}, 500, "server_error"},
	} {
		for _, path := range []string{"/oauth2/token", "/oauth2/revoke"} {
			res := post(apitest.New(t, &apitest.Fake{Err: row.err}), path, "grant_type=x&token=t", apitest.DemoService)
			wantRefusal(t, res, row.status, row.code)
			challenge := res.Header.Get("WWW-Authenticate")
			if (row.status == 401) != strings.HasPrefix(challenge, "Basic ") || res.Header.Get("Pragma") != "no-cache" {
				t.Errorf("%s: %v", row.code, res.Header)
			}
			if retry := res.Header.Get("Retry-After"); (row.status == 503 || row.status == 429) != (retry != "") || row.code == "unavailable" && retry != "2" {
				t.Errorf("%s: Retry-After %q", row.code, retry)
			}
		}
	}
}

// TestRFC6749Section52ChallengeOnlyForTheHeader checks that a client that sent no header Authorization gets no challenge, for
// which a browser would ask its user.
func TestRFC6749Section52ChallengeOnlyForTheHeader(t *testing.T) {
	res := post(apitest.New(t, &apitest.Fake{Err: &broker.Error{Code: broker.CodeInvalidClient}}), "/oauth2/token", "grant_type=x&client_id=app&client_secret=s")
	wantRefusal(t, res, 401, "invalid_client")
	if _, sent := res.Header["Www-Authenticate"]; sent {
		t.Error(res.Header)
	}
}

func TestRFC6749Section52DescriptionHasOnlyItsCharacters(t *testing.T) {
	res := post(apitest.New(t, &apitest.Fake{Err: &broker.Error{Code: broker.CodeInvalidScope, Message: "a \"b\" \\ ä\n"}}), "/oauth2/token", "grant_type=x&client_id=app")
	if got := wantRefusal(t, res, 400, "invalid_scope"); got.Description != "a 'b' ? ??" {
		t.Errorf("%q", got.Description)
	}
}

// TestTheGuardRefusesInTheFormOfOAuth checks that a client understands the refusal of a broker that cannot answer.
func TestTheGuardRefusesInTheFormOfOAuth(t *testing.T) {
	h := apitest.New(t, &apitest.Fake{Claims: "{}"}, refuseAll)
	for _, path := range []string{"/oauth2/token", "/oauth2/revoke", "/oauth2/introspect", "/oauth2/userinfo"} {
		if res := post(h, path, "grant_type=x", apitest.DemoService); wantRefusal(t, res, 503, "temporarily_unavailable").Error == "" || res.Header.Get("Retry-After") != "3" {
			t.Errorf("%s: %v", path, res.Header)
		}
	}
}

func TestRFC7009Revocation(t *testing.T) {
	f := &apitest.Fake{}
	res := post(apitest.New(t, f), "/oauth2/revoke", url.Values{"token": {"rt1.x"}, "token_type_hint": {"refresh_token"}, "client_id": {"app"}}.Encode())
	if res.StatusCode != 200 || res.ContentLength != 0 || res.Header.Get("Cache-Control") != "no-store" || f.Token != "rt1.x" || f.Hint != "refresh_token" || f.Credentials.ID != "app" {
		t.Errorf("%d %v, %q %q %v", res.StatusCode, res.Header, f.Token, f.Hint, f.Credentials)
	}
	for name, form := range map[string]string{
		"no token": "client_id=app", "an empty token": "token=&client_id=app", "two tokens": "token=a&token=b&client_id=app",
		"two hints": "token=a&token_type_hint=x&token_type_hint=y&client_id=app",
	} {
		f := &apitest.Fake{}
		wantRefusal(t, post(apitest.New(t, f), "/oauth2/revoke", form), 400, "invalid_request")
		if len(f.Calls) > 0 {
			t.Errorf("%s: %v", name, f.Calls)
		}
	}
	wantRefusal(t, post(apitest.New(t, &apitest.Fake{}), "/oauth2/revoke", "token=a"), 401, "invalid_client")
}

// refuseAll is the guard of a broker that cannot answer.
func refuseAll(c *api.Config) {
	c.Guard = func(string, httpapi.Endpoint) httpapi.Endpoint {
		return func(http.ResponseWriter, *http.Request) error {
			return &broker.Error{Code: broker.CodeUnavailable, Message: "not now", RetryAfter: 3 * time.Second}
		}
	}
}
