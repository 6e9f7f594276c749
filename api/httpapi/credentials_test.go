package httpapi_test

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/api"
	"tokenbroker/api/feed"
	"tokenbroker/api/internal/apitest"
	"tokenbroker/broker"
)

// noStream refuses every client that may listen, and records its id.
type noStream struct{ f *apitest.Fake }

func (s noStream) Listen(_ context.Context, r feed.Reader) (feed.Listener, error) {
	s.f.Client = r.Client
	return nil, &broker.Error{Code: broker.CodeBusy}
}

// serviceEndpoints are the endpoints where a client authenticates, with the status of an answer to an
// authenticated client.
var serviceEndpoints = []struct {
	method, path, body string
	headers            []string
	status             int
}{
	{"POST", "/oauth2/introspect", "token=x", []string{"Content-Type: application/x-www-form-urlencoded"}, 200},
	{"GET", "/revocations", "", nil, 200},
	{"HEAD", "/revocations", "", nil, 200},
	{"GET", "/revocations/stream", "", nil, 503},
	{"POST", "/revocations/receipt", "{}", nil, 204},
}

func basicAuth(userinfo string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(userinfo))
}

// One header works at every endpoint, with both spellings of the secret: form-encoded
// (RFC 6749 §2.3.1) and literal (RFC 7617).
func TestBasicAcceptsBothSpellingsAtEveryEndpoint(t *testing.T) {
	for name, secret := range map[string]string{
		"of openssl rand -base64":       "qk+/Xz+0Zt9bqk+/Xz+0Zt9bqk+/Xz+0Zt9bqk+/Xz8=",
		"with a colon":                  "a:b::c",
		"with a space":                  "a b c",
		"with a percent sign":           "100% sure, %zz",
		"that is itself an encoding":    "a%2Bb%20c+d",
		"that is not ASCII":             "Schlüssel zum Glück",
		"that is not UTF-8":             "a\xffb\xfe+",
		"that neither spelling changes": "0123456789abcdef",
	} {
		t.Run(name, func(t *testing.T) {
			for spelling, header := range map[string]string{
				"as it is":             basicAuth("demo-service:" + secret),
				"form-encoded":         basicAuth("demo-service:" + url.QueryEscape(secret)),
				"both form-encoded":    basicAuth("demo%2Dservice:" + url.QueryEscape(secret)),
				"only the id encoded":  basicAuth("demo%2dservice:" + secret),
				"scheme in lower case": strings.Replace(basicAuth("demo-service:"+secret), "Basic", "basic", 1),
				"scheme in upper case": strings.Replace(basicAuth("demo-service:"+secret), "Basic", "BASIC", 1),
			} {
				for _, e := range serviceEndpoints {
					f := &apitest.Fake{Secret: secret, Claims: `{"sub":"u1"}`}
					res := apitest.Call(apitest.New(t, f, func(c *api.Config) { c.Feed.Stream = noStream{f} }), e.method, e.path, e.body, append(e.headers, header)...)
					if res.StatusCode != e.status {
						t.Errorf("%s, %s %s: %d, want %d", spelling, e.method, e.path, res.StatusCode, e.status)
					}
					if len(f.Calls) == 0 || f.Calls[0] != "client" {
						t.Errorf("%s, %s %s: calls %v, want one authentication first", spelling, e.method, e.path, f.Calls)
					}
					if who := f.Client + strings.TrimSuffix(f.ReceiptBody, " {}"); e.path != "/oauth2/introspect" && who != "demo-service" {
						t.Errorf("%s, %s %s is for %q, want the client that authenticated", spelling, e.method, e.path, who)
					}
				}
			}
		})
	}
}

// A refused request counts as one failure at every endpoint, although its secret has several spellings.
func TestBasicRefuses(t *testing.T) {
	const good = "demo-service:a+b"
	for name, headers := range map[string][]string{
		"another secret":                    {basicAuth("demo-service:a-b")},
		"what it decodes to, encoded twice": {basicAuth("demo-service:a%252Bb")},
		"another client":                    {basicAuth("demo-servicf:a+b")},
		"another case":                      {basicAuth("Demo-Service:a+b")},
		"no colon":                          {basicAuth("demo-service")},
		"no id":                             {basicAuth(":a+b")},
		"no secret":                         {basicAuth("demo-service:")},
		"no base64":                         {"Authorization: Basic " + good},
		"two headers":                       {basicAuth(good), basicAuth(good)},
		"another scheme":                    {strings.Replace(basicAuth(good), "Basic", "Bearer", 1)},
		"no scheme":                         {strings.Replace(basicAuth(good), "Basic ", "", 1)},
		"no header":                         nil,
		"a public client":                   {basicAuth("public:")},
	} {
		for _, e := range serviceEndpoints {
			f := &apitest.Fake{Secret: "a+b"}
			res := apitest.Call(apitest.New(t, f, func(c *api.Config) { c.Feed.Stream = noStream{f} }), e.method, e.path, e.body, append(e.headers, headers...)...)
			status := http.StatusUnauthorized
			if name == "two headers" && e.path == "/oauth2/introspect" {
				status = http.StatusBadRequest // RFC 6749 §5.2
			}
			if res.StatusCode != status || len(f.Calls) > 1 || f.Client+f.ReceiptBody != "" {
				t.Errorf("%s, %s %s: %d, calls %v", name, e.method, e.path, res.StatusCode, f.Calls)
			}
		}
	}
}

// RFC 6749 §2.3: a client uses one method of authentication.
func TestRFC6749Section23OneMethodOfAuthentication(t *testing.T) {
	basic := basicAuth("demo-service:demo-service-secret")
	assertion := "&client_assertion=a.b.c&client_assertion_type=" + url.QueryEscape(broker.AssertionType)
	for name, c := range map[string]struct {
		body    string
		headers []string
		status  int
		want    broker.ClientCredentials
	}{
		"Basic":                             {"", []string{basic}, 200, broker.ClientCredentials{ID: "demo-service", Secrets: []string{"demo-service-secret"}}},
		"Basic and its id":                  {"&client_id=demo-service", []string{basic}, 200, broker.ClientCredentials{ID: "demo-service", Secrets: []string{"demo-service-secret"}}},
		"in the form":                       {"&client_id=demo-service&client_secret=demo-service-secret", nil, 200, broker.ClientCredentials{ID: "demo-service", Secrets: []string{"demo-service-secret"}}},
		"only the id":                       {"&client_id=public", nil, 401, broker.ClientCredentials{ID: "public"}},
		"an assertion":                      {assertion, nil, 401, broker.ClientCredentials{Assertion: "a.b.c", AssertionType: broker.AssertionType}},
		"an assertion and an id":            {"&client_id=svc" + assertion, nil, 401, broker.ClientCredentials{ID: "svc", Assertion: "a.b.c", AssertionType: broker.AssertionType}},
		"nothing":                           {"", nil, 401, broker.ClientCredentials{}},
		"two headers":                       {"", []string{basic, basic}, 400, broker.ClientCredentials{}},
		"Basic and a secret in the form":    {"&client_secret=x", []string{basic}, 400, broker.ClientCredentials{}},
		"Basic and an empty secret":         {"&client_secret=", []string{basic}, 200, broker.ClientCredentials{ID: "demo-service", Secrets: []string{"demo-service-secret"}}},
		"Basic and an assertion":            {assertion, []string{basic}, 400, broker.ClientCredentials{}},
		"Basic and the type of assertions":  {"&client_assertion_type=x", []string{basic}, 400, broker.ClientCredentials{}},
		"Basic and an empty assertion":      {"&client_assertion=", []string{basic}, 200, broker.ClientCredentials{ID: "demo-service", Secrets: []string{"demo-service-secret"}}},
		"Bearer and a secret in the form":   {"&client_id=demo-service&client_secret=demo-service-secret", []string{"Authorization: Bearer x"}, 400, broker.ClientCredentials{}},
		"Basic and the id of another":       {"&client_id=other", []string{basic}, 400, broker.ClientCredentials{}},
		"Basic and an empty id in the form": {"&client_id=", []string{basic}, 200, broker.ClientCredentials{ID: "demo-service", Secrets: []string{"demo-service-secret"}}},
	} {
		f := &apitest.Fake{Claims: `{"sub":"u1"}`}
		headers := append([]string{"Content-Type: application/x-www-form-urlencoded"}, c.headers...)
		res := apitest.Call(apitest.New(t, f), "POST", "/oauth2/introspect", "token=x"+c.body, headers...)
		if res.StatusCode != c.status || !cmp.Equal(f.Credentials, c.want) {
			t.Errorf("%s: %d, credentials %+v", name, res.StatusCode, f.Credentials)
		}
		if len(f.Calls) > 0 && (f.Req.Addr == "" || f.Req.ID == "") {
			t.Errorf("%s: the request is %+v", name, f.Req)
		}
	}
}
