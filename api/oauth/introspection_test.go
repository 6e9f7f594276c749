package oauth_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/api/httpapi"
	"tokenbroker/api/internal/apitest"
	"tokenbroker/broker"
)

const (
	inForm   = "&client_id=demo-service&client_secret=demo-service-secret"
	formType = "Content-Type: application/x-www-form-urlencoded"
)

func introspect(h http.Handler, query, body string, headers ...string) *http.Response {
	return apitest.Call(h, "POST", "/oauth2/introspect"+query, body, append([]string{formType}, headers...)...)
}

// RFC 7662 §2.2: an active token's own claims, and no others.
func TestIntrospectAValidToken(t *testing.T) {
	const claims = `{"iss":"http://b","sub":"u1","aud":["demo-api"],"client_id":"spa","sid":"s1","jti":"j1","scope":"hello:read",` +
		`"exp":1700000300,"iat":1700000000,"nbf":1700000000,"auth_time":1699990000,"sep":1,"cep":0,"roles":["secret"]`
	const answer = `{"active":true,"token_type":"Bearer","iss":"http://b","sub":"u1","aud":["demo-api"],"client_id":"spa",%"scope":"hello:read",` +
		`"exp":1700000300,"iat":1700000000,"nbf":1700000000,"auth_time":1699990000,"jti":"j1","sid":"s1","sep":1,"cep":0}`
	for name, row := range map[string]struct {
		claims, username, body string
		headers                []string
	}{
		"by Basic":                     {claims + `}`, "", "token=a.b.c", []string{apitest.DemoService}},
		"with a hint":                  {claims + `}`, "", "token=a.b.c&token_type_hint=refresh_token", []string{apitest.DemoService}},
		"in the form":                  {claims + `}`, "", "token=a.b.c" + inForm, nil},
		"Basic and same id":            {claims + `}`, "", "token=a.b.c&client_id=demo-service", []string{apitest.DemoService}},
		"form-encoded Basic":           {claims + `}`, "", "token=a.b.c", []string{"Authorization: Basic ZGVtbyUyRHNlcnZpY2U6ZGVtby1zZXJ2aWNlLXNlY3JldA=="}},
		"with a user name":             {claims + `,"username":"ada"}`, `"username":"ada",`, "token=a.b.c", []string{apitest.DemoService}},
		"a user name that is not text": {claims + `,"username":{"a":1}}`, "", "token=a.b.c", []string{apitest.DemoService}},
		"charset=utf8":                 {claims + `}`, "", "token=a.b.c", []string{apitest.DemoService, "Content-Type: APPLICATION/x-www-form-urlencoded;Charset=utf8;"}},
		"charset in Java's spelling":   {claims + `}`, "", "token=a.b.c", []string{apitest.DemoService, "Content-Type: application/x-www-form-urlencoded; charset=ISO-8859-1"}},
		"content type's params":        {claims + `}`, "", "token=a.b.c", []string{apitest.DemoService, "Content-Type: application/x-www-form-urlencoded; charset=UTF-8"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := &apitest.Fake{Claims: row.claims}
			res := introspect(apitest.New(t, f), "", row.body, row.headers...)
			if res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("headers %v", res.Header)
			}
			apitest.WantJSON(t, res, 200, strings.Replace(answer, "%", row.username, 1))
			if diff := cmp.Diff([]string{"client", "verify"}, f.Calls); diff != "" || f.Token != "a.b.c" {
				t.Errorf("calls %s, token %q", diff, f.Token)
			}
		})
	}
}

// RFC 7662 §2.2: the answer has no reason why a token is not active.
func TestIntrospectReturnsNoReason(t *testing.T) {
	for _, code := range []broker.Code{httpapi.CodeTokenExpired, httpapi.CodeTokenRevoked, httpapi.CodeTokenInvalid} {
		res := introspect(apitest.New(t, &apitest.Fake{VerifyErr: &broker.Error{Code: code, Message: "a reason"}}), "", "token=x", apitest.DemoService)
		if res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("headers %v", res.Header)
		}
		apitest.WantJSON(t, res, 200, `{"active":false}`)
	}
}

// RFC 7662 §4: a client learns only about tokens for its own audiences.
func TestIntrospectOnlyTokensForTheClient(t *testing.T) {
	for name, row := range map[string]struct {
		claims string
		active bool
	}{
		"its audience":                {`{"aud":["other","reports"]}`, true},
		"one audience as text":        {`{"aud":"reports"}`, true},
		"another audience":            {`{"aud":["other"]}`, false},
		"no audience":                 {`{"sub":"u1"}`, false},
		"an empty list":               {`{"aud":[]}`, false},
		"a part of the name":          {`{"aud":["report"]}`, false},
		"not plain, its own":          {`{ "aud":["reports"],"sub":"a\"b"}`, true},
		"not plain, another":          {`{ "aud":["other"],"sub":"a\"b"}`, false},
		"an audience is not a string": {`{"aud":[1,"reports"]}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := &apitest.Fake{Claims: row.claims, ClientInfo: broker.ClientInfo{ID: "reporter", Audiences: []string{"reports", "totals"}}}
			res := introspect(apitest.New(t, f), "", "token=x", apitest.DemoService)
			var got map[string]any
			if err := json.NewDecoder(res.Body).Decode(&got); err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != 200 || got["active"] != row.active || !row.active && len(got) > 1 {
				t.Errorf("%d %v", res.StatusCode, got)
			}
		})
	}
}

func TestIntrospectARefreshToken(t *testing.T) {
	f := &apitest.Fake{RefreshInfo: broker.RefreshTokenInfo{
		Subject: "u1", ClientID: "demo-service", Scope: "openid", SID: "s1", IssuedAt: time.Unix(1700000000, 0), ExpiresAt: time.Unix(1700000300, 0),
	}}
	res := introspect(apitest.New(t, f), "", "token=rt1.x&token_type_hint=access_token", apitest.DemoService)
	apitest.WantJSON(t, res, 200, `{"active":true,"iss":"http://127.0.0.1:8080","sub":"u1","client_id":"demo-service","scope":"openid","exp":1700000300,"iat":1700000000,"sid":"s1"}`)
	if f.Client != "demo-service" || f.Token != "rt1.x" {
		t.Errorf("client %q, token %q", f.Client, f.Token)
	}
	f.Inactive = true
	apitest.WantJSON(t, introspect(apitest.New(t, f), "", "token=rt1.x", apitest.DemoService), 200, `{"active":false}`)
	f.Err = &broker.Error{Code: broker.CodeUnavailable}
	wantRefusal(t, introspect(apitest.New(t, f), "", "token=rt1.x", apitest.DemoService), 503, "temporarily_unavailable")
}

// RFC 7662 §2.1: the caller has to authenticate.
func TestIntrospectRefusesPublicClients(t *testing.T) {
	f := &apitest.Fake{Claims: `{"aud":["a"]}`, ClientInfo: broker.ClientInfo{ID: "app", Public: true, Audiences: []string{"a"}}}
	wantRefusal(t, introspect(apitest.New(t, f), "", "token=x&client_id=app"), 401, "invalid_client")
	if diff := cmp.Diff([]string{"client"}, f.Calls); diff != "" {
		t.Error(diff)
	}
}

func TestIntrospectRefuses(t *testing.T) {
	fails := func(err error) func(*apitest.Fake) { return func(f *apitest.Fake) { f.ClientErr = err } }
	for name, row := range map[string]struct {
		query, body string
		headers     []string
		change      func(*apitest.Fake)
		status      int
		code        string
	}{
		"no client":                           {"", "token=x", nil, nil, 401, "invalid_client"},
		"a public client":                     {"", "token=x&client_id=demo-service", nil, nil, 401, "invalid_client"},
		"a wrong secret":                      {"", "token=x&client_id=demo-service&client_secret=no", nil, nil, 401, "invalid_client"},
		"no secret":                           {"", "token=x&client_id=demo-service&client_secret=", nil, nil, 401, "invalid_client"},
		"a bearer token":                      {"", "token=x", []string{"Authorization: Bearer x"}, nil, 401, "invalid_client"},
		"Basic without an id":                 {"", "token=x", []string{"Authorization: Basic OnNlY3JldA=="}, nil, 401, "invalid_client"},
		"client before the token":             {"", "", nil, nil, 401, "invalid_client"},
		"two methods":                         {"", "token=x" + inForm, []string{apitest.DemoService}, nil, 400, "invalid_request"},
		"two headers":                         {"", "token=x", []string{apitest.DemoService, apitest.DemoService}, nil, 400, "invalid_request"},
		"two clients":                         {"", "token=x&client_id=other", []string{apitest.DemoService}, nil, 400, "invalid_request"},
		"no token":                            {"", "", []string{apitest.DemoService}, nil, 400, "invalid_request"},
		"an empty token":                      {"", "token=", []string{apitest.DemoService}, nil, 400, "invalid_request"},
		"two tokens":                          {"", "token=x&token=y", []string{apitest.DemoService}, nil, 400, "invalid_request"},
		"the token in the query":              {"?token=x", "token=x", []string{apitest.DemoService}, nil, 400, "invalid_request"},
		"a broken form":                       {"", "token=%zz", []string{apitest.DemoService}, nil, 400, "invalid_request"},
		"not UTF-8":                           {"", "token=%ff", []string{apitest.DemoService}, nil, 400, "invalid_request"},
		"JSON":                                {"", `{"token":"x"}`, []string{apitest.DemoService, "Content-Type: application/json"}, nil, 400, "invalid_request"},
		"two types in one":                    {"", "token=x", []string{apitest.DemoService, "Content-Type: application/x-www-form-urlencoded, text/plain"}, nil, 400, "invalid_request"},
		"no content type":                     {"", "token=x", []string{apitest.DemoService, "Content-Type: "}, nil, 400, "invalid_request"},
		"a body of 64 KiB and one byte":       {"", "token=" + strings.Repeat("x", 64<<10-5), []string{apitest.DemoService}, nil, 413, "invalid_request"},
		"the store fails":                     {"", "token=x", []string{apitest.DemoService}, fails(errors.New("disk")), 500, "server_error"},
		"the store is busy":                   {"", "token=x", []string{apitest.DemoService}, fails(&broker.Error{Code: broker.CodeBusy}), 503, "temporarily_unavailable"},
		"the verifier is unavailable":         {"", "token=x", []string{apitest.DemoService}, func(f *apitest.Fake) { f.VerifyErr = &broker.Error{Code: broker.CodeUnavailable} }, 503, "temporarily_unavailable"},
		"the verifier fails":                  {"", "token=x", []string{apitest.DemoService}, func(f *apitest.Fake) { f.VerifyErr = errors.New("bug") }, 500, "server_error"},
		"the verifier returns invalid claims": {"", "token=x", []string{apitest.DemoService}, func(f *apitest.Fake) { f.Claims = "[]" }, 500, "server_error"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &apitest.Fake{Claims: `{"sub":"u1"}`}
			if row.change != nil {
				row.change(f)
			}
			res := introspect(apitest.New(t, f), row.query, row.body, row.headers...)
			var got struct {
				Error       string `json:"error"`
				Description string `json:"error_description"`
				Active      *bool  `json:"active"`
			}
			if err := json.NewDecoder(res.Body).Decode(&got); err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != row.status || got.Error != row.code || got.Description == "" || got.Active != nil {
				t.Errorf("%d %+v", res.StatusCode, got)
			}
			h := res.Header
			if h.Get("Content-Type") != "application/json" || h.Get("Cache-Control") != "no-store" ||
				(row.status == 401) != strings.HasPrefix(h.Get("WWW-Authenticate"), "Basic ") ||
				(row.status == 503) != (h.Get("Retry-After") != "") {
				t.Errorf("headers %v", h)
			}
			if row.status == 401 && len(f.Calls) > 1 {
				t.Errorf("the token was verified for an unauthenticated caller: %v", f.Calls)
			}
		})
	}
	res := introspect(apitest.New(t, &apitest.Fake{Claims: `{}`}), "", "token="+strings.Repeat("x", 64<<10-6), apitest.DemoService)
	if res.StatusCode != 200 {
		t.Errorf("64 KiB: %d", res.StatusCode)
	}
	apitest.Want(t, apitest.Call(apitest.New(t, &apitest.Fake{}), "GET", "/oauth2/introspect", ""), 405, "method_not_allowed")
}
