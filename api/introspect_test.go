package api_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/api"
	"tokenbroker/broker"
)

const (
	goodClient = "Authorization: Basic ZGVtby1zZXJ2aWNlOmRlbW8tc2VydmljZS1zZWNyZXQ="
	inForm     = "&client_id=demo-service&client_secret=demo-service-secret"
	formType   = "Content-Type: application/x-www-form-urlencoded"
)

func introspect(h http.Handler, query, body string, headers ...string) *http.Response {
	return call(h, "POST", "/oauth2/introspect"+query, body, append([]string{formType}, headers...)...)
}

// RFC 7662 §2.2: an active token's own claims, and no others.
func TestIntrospectAGoodToken(t *testing.T) {
	const claims = `{"iss":"http://b","sub":"u1","aud":["demo-api"],"client_id":"spa","sid":"s1","jti":"j1","scope":"hello:read",` +
		`"exp":1700000300,"iat":1700000000,"nbf":1700000000,"auth_time":1699990000,"sep":1,"cep":0,"roles":["secret"]`
	const answer = `{"active":true,"token_type":"Bearer","iss":"http://b","sub":"u1","aud":["demo-api"],"client_id":"spa",%"scope":"hello:read",` +
		`"exp":1700000300,"iat":1700000000,"nbf":1700000000,"auth_time":1699990000,"jti":"j1","sid":"s1","sep":1,"cep":0}`
	for name, row := range map[string]struct {
		claims, username, body string
		headers                []string
	}{
		"by Basic":              {claims + `}`, "", "token=a.b.c", []string{goodClient}},
		"with a hint":           {claims + `}`, "", "token=a.b.c&token_type_hint=refresh_token", []string{goodClient}},
		"in the form":           {claims + `}`, "", "token=a.b.c" + inForm, nil},
		"Basic and same id":     {claims + `}`, "", "token=a.b.c&client_id=demo-service", []string{goodClient}},
		"form-encoded Basic":    {claims + `}`, "", "token=a.b.c", []string{"Authorization: Basic ZGVtbyUyRHNlcnZpY2U6ZGVtby1zZXJ2aWNlLXNlY3JldA=="}},
		"with a user name":      {claims + `,"username":"ada"}`, `"username":"ada",`, "token=a.b.c", []string{goodClient}},
		"user name is no text":  {claims + `,"username":{"a":1}}`, "", "token=a.b.c", []string{goodClient}},
		"charset=utf8":          {claims + `}`, "", "token=a.b.c", []string{goodClient, "Content-Type: APPLICATION/x-www-form-urlencoded;Charset=utf8;"}},
		"charset of Java":       {claims + `}`, "", "token=a.b.c", []string{goodClient, "Content-Type: application/x-www-form-urlencoded; charset=ISO-8859-1"}},
		"content type's params": {claims + `}`, "", "token=a.b.c", []string{goodClient, "Content-Type: application/x-www-form-urlencoded; charset=UTF-8"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{claims: row.claims}
			res := introspect(newAPI(t, f), "", row.body, row.headers...)
			if res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("headers %v", res.Header)
			}
			wantJSON(t, res, 200, strings.Replace(answer, "%", row.username, 1))
			if diff := cmp.Diff([]string{"client", "verify"}, f.calls); diff != "" || f.token != "a.b.c" {
				t.Errorf("calls %s, token %q", diff, f.token)
			}
		})
	}
}

// RFC 7662 §2.2: why a token is not active is nobody's business.
func TestIntrospectTellsNoReason(t *testing.T) {
	for _, code := range []broker.Code{api.CodeTokenExpired, api.CodeTokenRevoked, api.CodeTokenInvalid} {
		res := introspect(newAPI(t, &fake{verifyErr: &broker.Error{Code: code, Message: "a reason"}}), "", "token=x", goodClient)
		if res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("headers %v", res.Header)
		}
		wantJSON(t, res, 200, `{"active":false}`)
	}
}

func TestIntrospectRefuses(t *testing.T) {
	fails := func(err error) func(*fake) { return func(f *fake) { f.clientErr = err } }
	for name, row := range map[string]struct {
		query, body string
		headers     []string
		change      func(*fake)
		status      int
		code        string
	}{
		"no client":                {"", "token=x", nil, nil, 401, "invalid_client"},
		"a public client":          {"", "token=x&client_id=demo-service", nil, nil, 401, "invalid_client"},
		"a wrong secret":           {"", "token=x&client_id=demo-service&client_secret=no", nil, nil, 401, "invalid_client"},
		"no secret":                {"", "token=x&client_id=demo-service&client_secret=", nil, nil, 401, "invalid_client"},
		"a bearer token":           {"", "token=x", []string{"Authorization: Bearer x"}, nil, 401, "invalid_client"},
		"Basic without an id":      {"", "token=x", []string{"Authorization: Basic OnNlY3JldA=="}, nil, 401, "invalid_client"},
		"client before the token":  {"", "", nil, nil, 401, "invalid_client"},
		"two methods":              {"", "token=x" + inForm, []string{goodClient}, nil, 400, "invalid_request"},
		"two headers":              {"", "token=x", []string{goodClient, goodClient}, nil, 400, "invalid_request"},
		"two clients":              {"", "token=x&client_id=other", []string{goodClient}, nil, 400, "invalid_request"},
		"no token":                 {"", "", []string{goodClient}, nil, 400, "invalid_request"},
		"an empty token":           {"", "token=", []string{goodClient}, nil, 400, "invalid_request"},
		"two tokens":               {"", "token=x&token=y", []string{goodClient}, nil, 400, "invalid_request"},
		"the token in the query":   {"?token=x", "token=x", []string{goodClient}, nil, 400, "invalid_request"},
		"a broken form":            {"", "token=%zz", []string{goodClient}, nil, 400, "invalid_request"},
		"no UTF-8":                 {"", "token=%ff", []string{goodClient}, nil, 400, "invalid_request"},
		"JSON":                     {"", `{"token":"x"}`, []string{goodClient, "Content-Type: application/json"}, nil, 400, "invalid_request"},
		"two types in one":         {"", "token=x", []string{goodClient, "Content-Type: application/x-www-form-urlencoded, text/plain"}, nil, 400, "invalid_request"},
		"no content type":          {"", "token=x", []string{goodClient, "Content-Type: "}, nil, 400, "invalid_request"},
		"64 KiB and one":           {"", "token=" + strings.Repeat("x", 64<<10-5), []string{goodClient}, nil, 413, "invalid_request"},
		"the store fails":          {"", "token=x", []string{goodClient}, fails(errors.New("disk")), 500, "server_error"},
		"the store is busy":        {"", "token=x", []string{goodClient}, fails(&broker.Error{Code: broker.CodeBusy}), 503, "temporarily_unavailable"},
		"the token is not judged":  {"", "token=x", []string{goodClient}, func(f *fake) { f.verifyErr = &broker.Error{Code: broker.CodeUnavailable} }, 503, "temporarily_unavailable"},
		"the verifier fails":       {"", "token=x", []string{goodClient}, func(f *fake) { f.verifyErr = errors.New("bug") }, 500, "server_error"},
		"the verifier is confused": {"", "token=x", []string{goodClient}, func(f *fake) { f.claims = "[]" }, 500, "server_error"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{claims: `{"sub":"u1"}`}
			if row.change != nil {
				row.change(f)
			}
			res := introspect(newAPI(t, f), row.query, row.body, row.headers...)
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
			if row.status == 401 && len(f.calls) > 1 {
				t.Errorf("the token was judged for nobody: %v", f.calls)
			}
		})
	}
	res := introspect(newAPI(t, &fake{claims: `{}`}), "", "token="+strings.Repeat("x", 64<<10-6), goodClient)
	if res.StatusCode != 200 {
		t.Errorf("64 KiB: %d", res.StatusCode)
	}
	want(t, call(newAPI(t, &fake{}), "GET", "/oauth2/introspect", ""), 405, "method_not_allowed")
}

func TestDiscoveryNamesTheIntrospection(t *testing.T) {
	var got struct {
		Endpoint string   `json:"introspection_endpoint"`
		Methods  []string `json:"introspection_endpoint_auth_methods_supported"`
	}
	if err := json.NewDecoder(call(newAPI(t, &fake{}), "GET", "/.well-known/oauth-authorization-server", "").Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if got.Endpoint != own+"/oauth2/introspect" || !cmp.Equal(got.Methods, []string{"client_secret_basic", "client_secret_post"}) {
		t.Errorf("%+v", got)
	}
	if _, err := url.Parse(got.Endpoint); err != nil {
		t.Error(err)
	}
}
