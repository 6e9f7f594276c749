package clientmetadata_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/clientmetadata"
	"tokenbroker/broker/directory"
)

const (
	documentID   = "https://app.example.com/oauth/client.json"
	registeredID = "registered-aaaaaaaaaaaaaaaaaaaaaaaaaa"
	jwks         = `{"keys":[{"kty":"EC","crv":"P-256","x":"eA","y":"eQ"}]}`
)

var policy = broker.ClientPolicy{Scopes: []string{"openid", "offline_access", "hello:read"}, RefreshTokens: true}

// registered returns the client of a registration, and document that of a document.
func registered(t testing.TB, body string) (broker.Client, error) {
	t.Helper()
	m, err := clientmetadata.Read([]byte(body))
	if err != nil {
		return broker.Client{}, err
	}
	return m.Client(registeredID, broker.ClassRegistered, policy)
}

func document(t testing.TB, body string) (broker.Client, error) {
	t.Helper()
	m, err := clientmetadata.Read([]byte(body))
	if err != nil {
		return broker.Client{}, err
	}
	return m.Client(documentID, broker.ClassDocument, policy)
}

func wantCode(t *testing.T, err error, code broker.Code, text string) {
	t.Helper()
	var app *broker.Error
	if !errors.As(err, &app) || app.Code != code || !strings.Contains(app.Message, text) {
		t.Errorf("got %v, want %s with %q", err, code, text)
	}
}

// The metadata of real clients, as they send it.
func TestMetadataOfRealClientsIsAccepted(t *testing.T) {
	for name, body := range map[string]string{
		"VS Code": `{"client_name":"Visual Studio Code","client_uri":"https://code.visualstudio.com",
			"grant_types":["authorization_code","refresh_token","urn:ietf:params:oauth:grant-type:device_code"],"response_types":["code"],
			"redirect_uris":["https://insiders.vscode.dev/redirect","https://vscode.dev/redirect","http://127.0.0.1/","http://127.0.0.1:33418/"],
			"scope":"openid hello:read","token_endpoint_auth_method":"none","application_type":"native"}`,
		"MCP Inspector": `{"redirect_uris":["http://localhost:6274/oauth/callback"],"token_endpoint_auth_method":"none",
			"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"client_name":"MCP Inspector","client_uri":"https://github.com/modelcontextprotocol/inspector","scope":""}`,
		"minimal": `{"redirect_uris":["com.example.app:/callback"]}`,
	} {
		if _, err := registered(t, body); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDefaultsOfARegistration(t *testing.T) {
	c, err := registered(t, `{"redirect_uris":["https://app.example.com/cb","https://app.example.com/cb"],"client_uri":5,"x":{}}`)
	if err != nil {
		t.Fatal(err)
	}
	want := broker.Client{
		ID: registeredID, Grants: []string{"authorization_code"}, RedirectURIs: []string{"https://app.example.com/cb"}, Origins: []string{"https://app.example.com"},
		Scopes: []string{"openid", "offline_access", "hello:read"}, DefaultScopes: []string{"openid", "hello:read"},
	}
	if got := fmt.Sprintf("%+v", c); got != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %s\nwant %+v", got, want)
	}
	for body, want := range map[string][2]string{ // of a registration and of a document
		`{}`:               {"client_secret_basic", "none"},
		`{"jwks":{}}`:      {"client_secret_basic", "private_key_jwt"},
		`{"jwks_uri":"x"}`: {"client_secret_basic", "private_key_jwt"},
		`{"jwks":{},"token_endpoint_auth_method":"none"}`: {"none", "none"},
	} {
		m, err := clientmetadata.Read([]byte(body))
		if got := [2]string{m.Method(broker.ClassRegistered), m.Method(broker.ClassDocument)}; err != nil || got != want {
			t.Errorf("%s: %v, %v", body, got, err)
		}
	}
}

func TestScopesAndGrantsAreThoseOfThePolicy(t *testing.T) {
	body := `{"redirect_uris":["https://a.example/cb"],"grant_types":["refresh_token","authorization_code","urn:x"],"scope":"admin hello:read openid"}`
	c, err := registered(t, body)
	if err != nil || !slices.Equal(c.Scopes, []string{"hello:read", "openid"}) || !slices.Equal(c.Grants, []string{"refresh_token", "authorization_code"}) {
		t.Errorf("%v %v %v", c.Scopes, c.Grants, err)
	}
	m, _ := clientmetadata.Read([]byte(body))
	c, err = m.Client(registeredID, broker.ClassRegistered, broker.ClientPolicy{Scopes: policy.Scopes})
	if err != nil || !slices.Equal(c.Grants, []string{"authorization_code"}) {
		t.Errorf("without refresh tokens: %v %v", c.Grants, err)
	}
}

// TestReasonsOfDocumentsHaveNoTextOfTheirAuthors checks the reasons that pages show: a document must not say something to users on a page
// of the broker.
func TestReasonsOfDocumentsHaveNoTextOfTheirAuthors(t *testing.T) {
	for _, uris := range []string{
		`"redirect_uris":["call 555-0100 now"]`, `"redirect_uris":["call-555-0100-now:/cb"]`, `"redirect_uris":["CALL-555-0100-now.a:/cb"]`,
		`"redirect_uris":["https://Call-555-0100-now/"]`, `"redirect_uris":["https://a.example/#call-555-0100-now"]`, `"redirect_uris":["https://call-555-0100-now:0/"]`,
		`"redirect_uris":["https://a.example/cb"],"post_logout_redirect_uris":["call-555-0100-now"]`,
		`"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"private_key_jwt","jwks_uri":"http://call-555-0100-now"`,
		`"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"call-555-0100-now"`, `"redirect_uris":["https://a.example/cb"],"grant_types":["call-555-0100-now"]`,
		`"redirect_uris":["https://a.example/cb"],"response_types":["call-555-0100-now"]`, `"redirect_uris":["https://a.example/cb"],"scope":"call-555-0100-now"`,
		`"redirect_uris":["https://a.example/cb"],"application_type":"call-555-0100-now"`, `"call-555-0100-now":1,"call-555-0100-now":1`,
	} {
		_, err := document(t, `{"client_id":"`+documentID+`",`+uris+`}`)
		if err == nil || strings.Contains(strings.ToLower(err.Error()), "555") {
			t.Errorf("%s: %v", uris, err)
		}
	}
}

func TestDocuments(t *testing.T) {
	c, err := document(t, `{"client_id":"`+documentID+`","redirect_uris":["http://localhost/cb","http://127.0.0.1:8123/cb","https://app.example.com:443/cb"],"jwks":`+jwks+`}`)
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "app.example.com" || len(c.JWKS) == 0 || !slices.Equal(c.Origins, []string{"http://127.0.0.1:8123", "https://app.example.com"}) {
		t.Errorf("%+v", c)
	}
	c, err = document(t, `{"client_id":"`+documentID+`","client_name":"G\u043e\u043egle","redirect_uris":["https://a.example/cb"],"jwks":`+jwks+`,"token_endpoint_auth_method":"none"}`)
	if err != nil || c.Name != "app.example.com" || c.JWKS != nil {
		t.Errorf("with Cyrillic letters: %+v, %v", c, err)
	}
	c, err = document(t, `{"client_id":"`+documentID+`","client_name":"\u3164\u200b\u2800.","redirect_uris":["https://a.example/cb"]}`)
	if err != nil || c.Name != "app.example.com" {
		t.Errorf("with an invisible name: %+v, %v", c, err)
	}
	rest := `,"redirect_uris":["https://a.example/cb"]}`
	for body, text := range map[string]string{
		`{"client_id":"https://app.example.com/oauth/client.json/"` + rest: "client_id is not the URL",
		`{"x":1` + rest: "client_id is not the URL",
		`{"client_id":"` + documentID + `","client_secret":"x"` + rest:                                          "client_secret",
		`{"client_id":"` + documentID + `","client_secret_expires_at":0` + rest:                                 "client_secret",
		`{"client_id":"` + documentID + `","token_endpoint_auth_method":"client_secret_basic"` + rest:           "not one of none, private_key_jwt",
		`{"client_id":"` + documentID + `","token_endpoint_auth_method":"client_secret_jwt"` + rest:             "not one of none, private_key_jwt",
		`{"client_id":"` + documentID + `","token_endpoint_auth_method":"private_key_jwt"` + rest:               "needs jwks or jwks_uri",
		`{"client_id":"` + documentID + `","jwks_uri":"http://keys.example/jwks"` + rest:                        "jwks_uri",
		`{"client_id":"` + documentID + `","jwks_uri":"https://a.example/j","jwks":` + jwks + rest:              "both",
		`{"client_id":"` + documentID + `","jwks":{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}` + rest:               "private or symmetric",
		`{"client_id":"` + documentID + `","jwks":{"keys":[{"kty":"RSA","n":"eA","e":"AQAB","p":"eA"}]}` + rest: "private or symmetric",
	} {
		_, err := document(t, body)
		wantCode(t, err, broker.CodeInvalidClientMetadata, text)
	}
}

func TestMetadataThatIsRefused(t *testing.T) {
	const uris = `"redirect_uris":["https://a.example/cb"]`
	for body, text := range map[string]string{
		``: "JSON object", `[]`: "JSON object", `{"a":1,"a":2}`: "JSON object", `{` + uris + `,"Redirect_uris":[]}`: "JSON object",
		`{` + uris + `,"client_name":"` + strings.Repeat("x", 16<<10) + `"}`:                                    "16384 bytes",
		`{` + uris + `,"client_name":"` + strings.Repeat("x", 129) + `"}`:                                       "client_name",
		`{` + uris + `,"client_name":"a\u202egpj.exe"}`:                                                         "client_name",
		`{` + uris + `,"client_name":"a\u0007"}`:                                                                "client_name",
		`{` + uris + `,"client_name":"P\u0430ypal"}`:                                                            "alphabets",
		`{` + uris + `,"client_name":5}`:                                                                        "client_name is not a string",
		`{"redirect_uris":"https://a.example/cb"}`:                                                              "redirect_uris is not a list",
		`{"redirect_uris":[1]}`:                                                                                 "redirect_uris is not a list",
		`{"redirect_uris":[` + strings.Repeat(`"https://a.example/cb",`, 20) + `"https://a.example/cb"]}`:       "21 items",
		`{` + uris + `,"scope":["openid"]}`:                                                                     "scope is not a string",
		`{` + uris + `,"scope":"admin"}`:                                                                        "openid offline_access hello:read",
		`{` + uris + `,"jwks":"x"}`:                                                                             "jwks is not a JSON object",
		`{` + uris + `,"jwks":{},"token_endpoint_auth_method":"private_key_jwt"}`:                               "not a key set",
		`{` + uris + `,"token_endpoint_auth_method":"tls_client_auth"}`:                                         "token_endpoint_auth_method",
		`{` + uris + `,"application_type":"tv"}`:                                                                "application_type",
		`{` + uris + `,"response_types":["code","token"]}`:                                                      "response_types",
		`{` + uris + `,"grant_types":["refresh_token"]}`:                                                        "does not have authorization_code",
		`{` + uris + `,"grant_types":["authorization_code","client_credentials"]}`:                              "client_credentials",
		`{` + uris + `,"grant_types":["authorization_code","implicit"]}`:                                        "implicit",
		`{` + uris + `,"grant_types":["authorization_code","password"]}`:                                        "password",
		`{` + uris + `,"grant_types":["authorization_code","urn:ietf:params:oauth:grant-type:token-exchange"]}`: "token-exchange",
		`{` + uris + `,"post_logout_redirect_uris":["http://a.example/"]}`:                                      "post_logout_redirect_uris",
	} {
		_, err := registered(t, body)
		wantCode(t, err, broker.CodeInvalidClientMetadata, text)
	}
	_, err := registered(t, `{`+uris+`,"software_statement":"e30.e30."}`)
	wantCode(t, err, broker.CodeUnapprovedSoftware, "software_statement")
}

var refusedURIs = []string{
	"http://a.example/cb", "https://*.a.example/cb", "https://user:secret@a.example/cb", "https://a.example/cb#x", "https://a.example/cb?code=1",
	"javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "vbscript:x", "about:blank", "blob:https://a.example/1", "cursor://callback", "com.example.app", "/cb", "",
	"https://a.example/\u0430", "HTTPS://a.example/", "https://A.example/", "https://a.example./", "https://a.example:0/", "http://localhost.a.example/cb", "http://127.0.0.2/cb",
	"https://a.example/" + strings.Repeat("x", 500), "com.example.app://user@host/cb", "https://a.example\\@b.example/", "https://a.example/cb\n",
}

func TestRedirectURIsThatAreRefused(t *testing.T) {
	for _, uri := range refusedURIs {
		quoted, _ := json.Marshal([]string{"https://a.example/cb", uri})
		_, err := registered(t, `{"redirect_uris":`+string(quoted)+`}`)
		wantCode(t, err, broker.CodeInvalidRedirectURI, "redirect_uris ")
		if err != nil && (strings.Contains(err.Error(), "secret") || len(err.Error()) > 500) {
			t.Errorf("the message quotes too much: %v", err)
		}
	}
	for _, body := range []string{`{}`, `{"redirect_uris":[]}`, `{"redirect_uris":null}`} {
		_, err := registered(t, body)
		wantCode(t, err, broker.CodeInvalidRedirectURI, "redirect_uris is missing")
	}
}

func TestApplyLimitsARecordToThePolicy(t *testing.T) {
	record := directory.ClientRecord{
		ID: registeredID, FirstParty: true, Scopes: []string{"openid", "admin"}, DefaultScopes: []string{"admin", "openid"}, Audiences: []string{"bank"},
		Grants: []string{"authorization_code", "refresh_token", "client_credentials"}, Lifetimes: directory.ClientLifetimes{Access: 3600, Grace: new(int64(9))},
		Workloads: []broker.Workload{{Issuer: "https://k8s.example"}},
	}
	got := clientmetadata.Apply(record, broker.ClientPolicy{Scopes: []string{"openid"}, Audiences: []string{"hello"}, AccessLife: time.Minute, Grace: new(time.Duration(0))})
	want := directory.ClientRecord{
		ID: registeredID, Scopes: []string{"openid"}, DefaultScopes: []string{"openid"}, Audiences: []string{"hello"}, Grants: []string{"authorization_code"},
		Lifetimes: directory.ClientLifetimes{Access: 60, Grace: new(int64(0))},
	}
	gotJSON, _ := json.Marshal(got)
	wantJSON, _ := json.Marshal(want)
	if string(gotJSON) != string(wantJSON) {
		t.Errorf("got  %s\nwant %s", gotJSON, wantJSON)
	}
	if record.Scopes[1] != "admin" || record.Grants[2] != "client_credentials" {
		t.Error("Apply changed the lists of its argument")
	}
}
