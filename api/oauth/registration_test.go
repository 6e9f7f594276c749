package oauth_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenbroker/api"
	"tokenbroker/api/internal/apitest"
	"tokenbroker/broker"
)

const (
	registered = "registered-abcdefghijklmnopqrstuvwxyz"
	clientPath = "/oauth2/register/" + registered
	bearer     = "Authorization: Bearer rat1"
)

// registering returns a broker whose clients register themselves, with the answer of a confidential client.
func registering(t *testing.T, change ...func(*apitest.Fake)) (*apitest.Fake, http.Handler) {
	t.Helper()
	f := &apitest.Fake{Registration: broker.ClientRegistration{
		ClientID: registered, Secret: "s1", Token: "rat1", IssuedAt: time.Unix(1700000000, 900),
		Metadata: map[string]any{"client_name": "Foo <b>", "redirect_uris": []string{"https://foo.example/cb"}, "client_id": "claimed", "client_secret": "claimed"},
	}}
	for _, c := range change {
		c(f)
	}
	return f, apitest.New(t, f, apitest.WithRegistrations(f))
}

func TestRFC7591Section321ClientInformationResponse(t *testing.T) {
	const metadata = `{ "redirect_uris": ["https://foo.example/cb"], "client_name": "Foo <b>" }`
	f, h := registering(t)
	res := apitest.Call(h, "POST", "/oauth2/register/", metadata, "Cookie: "+apitest.Cookie)
	apitest.WantJSON(t, res, 201, `{"client_id":"`+registered+`","client_id_issued_at":1700000000,"client_name":"Foo \u003cb\u003e",`+
		`"client_secret":"s1","client_secret_expires_at":0,"redirect_uris":["https://foo.example/cb"],"registration_access_token":"rat1",`+
		`"registration_client_uri":"`+apitest.Own+clientPath+`"}`)
	if res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("Pragma") != "no-cache" || len(res.Cookies()) > 0 {
		t.Errorf("headers %v", res.Header)
	}
	if string(f.Metadata) != metadata || f.Token != "" || f.Req.Addr == "" || f.Req.RefreshToken != "" {
		t.Errorf("metadata %s, token %q, request %+v", f.Metadata, f.Token, f.Req)
	}
	t.Run("a public client", func(t *testing.T) {
		f, h := registering(t, func(f *apitest.Fake) { f.Registration.Secret, f.Registration.Metadata = "", nil })
		res := apitest.Call(h, "POST", "/oauth2/register", "{}", "Authorization: bearer  initial ")
		apitest.WantJSON(t, res, 201, `{"client_id":"`+registered+`","client_id_issued_at":1700000000,"registration_access_token":"rat1",`+
			`"registration_client_uri":"`+apitest.Own+clientPath+`"}`)
		if f.Token != "initial" {
			t.Errorf("initial access token %q", f.Token)
		}
	})
}

func TestRFC7592Section2TheClientReadsAndRemovesItself(t *testing.T) {
	f, h := registering(t, func(f *apitest.Fake) {
		f.Registration.Secret, f.Registration.Token, f.Registration.Metadata = "", "", nil
	})
	apitest.WantJSON(t, apitest.Call(h, "GET", clientPath, "", bearer), 200, `{"client_id":"`+registered+`","client_id_issued_at":1700000000,`+
		`"registration_access_token":"rat1","registration_client_uri":"`+apitest.Own+clientPath+`"}`)
	res := apitest.Call(h, "DELETE", clientPath+"/", "", bearer)
	if body := apitest.Page(t, res); res.StatusCode != 204 || body != "" || res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %q %v", res.StatusCode, body, res.Header)
	}
	if want := []string{"read " + registered, "remove " + registered}; !slices.Equal(f.Calls, want) || f.Token != "rat1" {
		t.Errorf("calls %q with %q, want %q", f.Calls, f.Token, want)
	}
}

// TestMalformedRegistrations has what is refused before the broker decides.
func TestMalformedRegistrations(t *testing.T) {
	for name, row := range map[string]struct {
		body    string
		headers []string
		status  int
		code    string
	}{
		"a form":                      {"client_name=x", []string{formType}, 400, "invalid_request"},
		"no content type":             {"{}", []string{"Content-Type: "}, 400, "invalid_request"},
		"another charset":             {"{}", []string{"Content-Type: application/json; charset=utf-16"}, 400, "invalid_request"},
		"compressed":                  {"{}", []string{"Content-Encoding: gzip"}, 400, "invalid_request"},
		"a body above 16 KiB":         {`{"a":"` + strings.Repeat("x", 16<<10) + `"}`, nil, 413, "invalid_request"},
		"an empty body":               {"", nil, 400, "invalid_client_metadata"},
		"not JSON":                    {"{", nil, 400, "invalid_client_metadata"},
		"an array":                    {`[{"client_name":"x"}]`, nil, 400, "invalid_client_metadata"},
		"text after the object":       {`{} {}`, nil, 400, "invalid_client_metadata"},
		"a member twice":              {`{"client_name":"a","client_name":"b"}`, nil, 400, "invalid_client_metadata"},
		"an escaped name twice":       {`{"client_name":"a","client\u005fname":"b"}`, nil, 400, "invalid_client_metadata"},
		"a name in another case":      {`{"client_name":"a","Client_Name":"b"}`, nil, 400, "invalid_client_metadata"},
		"a member of a member twice":  {`{"jwks":{"keys":[],"keys":[{}]}}`, nil, 400, "invalid_client_metadata"},
		"not UTF-8":                   {"{\"client_name\":\"\xff\"}", nil, 400, "invalid_client_metadata"},
		"two Authorization headers":   {"{}", []string{bearer, bearer}, 400, "invalid_request"},
		"another scheme":              {"{}", []string{apitest.DemoService}, 401, "invalid_token"},
		"a scheme without a token":    {"{}", []string{"Authorization: Bearer"}, 401, "invalid_token"},
		"an empty token":              {"{}", []string{"Authorization: Bearer  "}, 401, "invalid_token"},
		"an empty header":             {"{}", []string{"Authorization: "}, 401, "invalid_token"},
		"a token without its scheme":  {"{}", []string{"Authorization: rat1"}, 401, "invalid_token"},
		"the scheme and no separator": {"{}", []string{"Authorization: Bearerrat1"}, 401, "invalid_token"},
	} {
		t.Run(name, func(t *testing.T) {
			f, h := registering(t)
			res := apitest.Call(h, "POST", "/oauth2/register", row.body, row.headers...)
			wantRefusal(t, res, row.status, row.code)
			if len(f.Calls) > 0 || (row.status == 401) != strings.HasPrefix(res.Header.Get("WWW-Authenticate"), `Bearer realm="tokenbroker", error="invalid_token"`) {
				t.Errorf("calls %q, headers %v", f.Calls, res.Header)
			}
		})
	}
	t.Run("16 KiB", func(t *testing.T) {
		f, h := registering(t)
		body := `{"a":"` + strings.Repeat("x", 16<<10-8) + `"}`
		if res := apitest.Call(h, "POST", "/oauth2/register", body); res.StatusCode != 201 || len(f.Metadata) != 16<<10 {
			t.Errorf("%d for %d bytes", res.StatusCode, len(f.Metadata))
		}
	})
}

func TestRequestsForRegisteredClientsNeedTheirToken(t *testing.T) {
	const without, invalid = `Bearer realm="tokenbroker"`, `Bearer realm="tokenbroker", error="invalid_token", error_description=`
	for _, method := range []string{"GET", "DELETE"} {
		for name, row := range map[string]struct {
			path, challenge string
			headers         []string
			status          int
			code            string
		}{
			"no token":              {clientPath, without, nil, 401, "invalid_token"},
			"a token in the query":  {clientPath + "?access_token=rat1", without, nil, 401, "invalid_token"},
			"Basic":                 {clientPath, invalid, []string{apitest.DemoService}, 401, "invalid_token"},
			"two tokens":            {clientPath, "", []string{bearer, "Authorization: Bearer rat2"}, 400, "invalid_request"},
			"capitals in the id":    {"/oauth2/register/Registered-a", invalid, []string{bearer}, 401, "invalid_token"},
			"a dot in the id":       {"/oauth2/register/..", invalid, []string{bearer}, 401, "invalid_token"},
			"a slash in the id":     {"/oauth2/register/a%2fb", "", []string{bearer}, 404, ""},
			"a line feed in the id": {"/oauth2/register/a%0a", invalid, []string{bearer}, 401, "invalid_token"},
			"a long id":             {"/oauth2/register/" + strings.Repeat("a", 65), invalid, []string{bearer}, 401, "invalid_token"},
		} {
			t.Run(method+" with "+name, func(t *testing.T) {
				f, h := registering(t)
				res := apitest.Call(h, method, row.path, "", row.headers...)
				if row.code == "" {
					apitest.Want(t, res, row.status, "not_found")
				} else {
					wantRefusal(t, res, row.status, row.code)
				}
				got := res.Header.Get("WWW-Authenticate")
				if len(f.Calls) > 0 || row.challenge != invalid && got != row.challenge || !strings.HasPrefix(got, row.challenge) {
					t.Errorf("calls %q, headers %v", f.Calls, res.Header)
				}
			})
		}
	}
}

func TestRefusedRegistrations(t *testing.T) {
	for _, row := range []struct {
		err        *broker.Error
		status     int
		code       string
		retryAfter string
	}{
		{&broker.Error{Code: broker.CodeUnapprovedSoftware, Message: "m"}, 400, "unapproved_software_statement", ""},
		{&broker.Error{Code: broker.CodeInvalidRedirectURI, Message: `"x" has a wildcard`}, 400, "invalid_redirect_uri", ""},
		{&broker.Error{Code: broker.CodeInvalidClientMetadata, Message: "m"}, 400, "invalid_client_metadata", ""},
		{&broker.Error{Code: broker.CodeInvalidToken, Message: "m"}, 401, "invalid_token", ""},
		{&broker.Error{Code: broker.CodeTooManyAttempts, Message: "m", RetryAfter: 1500 * time.Millisecond}, 429, "temporarily_unavailable", "2"},
		{&broker.Error{Code: broker.CodeBusy, Message: "m"}, 503, "temporarily_unavailable", "1"},
		{&broker.Error{Code: broker.CodeUnavailable, Message: "m", RetryAfter: 3 * time.Second}, 503, "temporarily_unavailable", "3"},
		{&broker.Error{Code: "new_code", Message: "m"}, 500, "server_error", ""},
	} {
		for _, call := range [][]string{{"POST", "/oauth2/register", "{}"}, {"GET", clientPath, ""}, {"DELETE", clientPath, ""}} {
			_, h := registering(t, func(f *apitest.Fake) { f.Err = row.err })
			res := apitest.Call(h, call[0], call[1], call[2], bearer)
			refusal := wantRefusal(t, res, row.status, row.code)
			if row.status < 500 && refusal.Description != strings.ReplaceAll(row.err.Message, `"`, "'") || row.status == 503 && refusal.Description != "m" {
				t.Errorf("%s with %s: description %q", call[0], row.code, refusal.Description)
			}
			if res.Header.Get("Retry-After") != row.retryAfter || (row.status == 401) != (res.Header.Get("WWW-Authenticate") != "") {
				t.Errorf("%s with %s: headers %v", call[0], row.code, res.Header)
			}
		}
	}
	f := &apitest.Fake{}
	h := apitest.New(t, f, apitest.WithRegistrations(f), refuseAll)
	if res := apitest.Call(h, "POST", "/oauth2/register", "{}"); wantRefusal(t, res, 503, "temporarily_unavailable").Error == "" || res.Header.Get("Retry-After") != "3" {
		t.Errorf("the guard: %v", res.Header)
	}
}

func TestRegistrationHasOnlyItsMethods(t *testing.T) {
	f, h := registering(t)
	for path, allowed := range map[string]string{"/oauth2/register": "POST", clientPath: "GET, DELETE"} {
		for _, method := range []string{"GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "POST"} {
			if slices.Contains(strings.Split(allowed, ", "), method) {
				continue
			}
			res := apitest.Call(h, method, path, "", bearer)
			apitest.Want(t, res, 405, "method_not_allowed")
			got := strings.Split(res.Header.Get("Allow"), ", ")
			slices.Sort(got)
			want := strings.Split(allowed, ", ")
			if slices.Sort(want); !slices.Equal(got, want) {
				t.Errorf("%s %s: Allow %q", method, path, got)
			}
		}
	}
	if len(f.Calls) > 0 {
		t.Errorf("calls %q", f.Calls)
	}
}

func TestWithoutRegistrationsThereAreNoSuchEndpoints(t *testing.T) {
	h := apitest.New(t, &apitest.Fake{})
	for _, call := range [][]string{{"POST", "/oauth2/register"}, {"GET", clientPath}, {"DELETE", clientPath}, {"OPTIONS", "/oauth2/register"}} {
		res := apitest.Call(h, call[0], call[1], "", "Origin: "+evilPage, "Access-Control-Request-Method: POST")
		apitest.Want(t, res, 404, "not_found")
		if res.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%q: %v", call, res.Header)
		}
	}
}

// TestPagesOfEveryOriginMayRegister checks that pages can call the endpoints without credentials and read every answer. The
// wildcard does not include Authorization (Fetch, CORS-preflight fetch).
func TestPagesOfEveryOriginMayRegister(t *testing.T) {
	for _, origin := range []string{evilPage, apitest.SPA, "null"} {
		f, h := registering(t)
		for path, method := range map[string]string{"/oauth2/register": "POST", "/oauth2/register/": "POST", clientPath: "DELETE"} {
			res := apitest.Call(h, "OPTIONS", path, "", "Origin: "+origin, "Access-Control-Request-Method: "+method, "Access-Control-Request-Headers: authorization,content-type,mcp-protocol-version")
			if res.StatusCode != 204 || res.Header.Get("Access-Control-Allow-Methods") != "GET, POST, DELETE" || res.Header.Get("Access-Control-Allow-Headers") != "*, Authorization" {
				t.Errorf("%s: %d %v", path, res.StatusCode, res.Header)
			}
			wantOpen(t, res)
		}
		if len(f.Calls) > 0 {
			t.Errorf("calls %q of pre-flights", f.Calls)
		}
		wantOpen(t, apitest.Call(h, "POST", "/oauth2/register", "{}", "Origin: "+origin))
		wantOpen(t, apitest.Call(h, "POST", "/oauth2/register", "[]", "Origin: "+origin))
		wantOpen(t, apitest.Call(h, "PUT", "/oauth2/register", "{}", "Origin: "+origin))
		wantOpen(t, apitest.Call(h, "GET", clientPath, "", "Origin: "+origin))
	}
}

func wantOpen(t *testing.T, res *http.Response) {
	t.Helper()
	if h := res.Header; h.Get("Access-Control-Allow-Origin") != "*" || h.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("%d %v", res.StatusCode, h)
	}
}

func TestDiscoveryNamesWhatClientsMayDoThemselves(t *testing.T) {
	f := &apitest.Fake{}
	read := func(h http.Handler) (doc map[string]any) {
		if err := json.NewDecoder(apitest.Call(h, "GET", documents[1], "").Body).Decode(&doc); err != nil {
			t.Fatal(err)
		}
		return doc
	}
	h := apitest.New(t, f, apitest.WithRegistrations(f), func(c *api.Config) { c.OAuth.DocumentClients = true })
	if doc := read(h); doc["registration_endpoint"] != apitest.Own+"/oauth2/register" || doc["client_id_metadata_document_supported"] != true {
		t.Errorf("the document: %v", doc)
	}
	doc := read(apitest.New(t, f))
	for _, member := range []string{"registration_endpoint", "client_id_metadata_document_supported"} {
		if value, found := doc[member]; found {
			t.Errorf("%s is %v", member, value)
		}
	}
}
