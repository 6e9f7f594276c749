package interop

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/oauth2"
)

// The tests of this file are clients of tokenbroker dev that do what real clients of MCP servers are known to do.

// discovered is what a client reads of a discovery document (RFC 8414).
type discovered struct {
	Issuer      string   `json:"issuer"`
	Authorize   string   `json:"authorization_endpoint"`
	Token       string   `json:"token_endpoint"`
	Register    string   `json:"registration_endpoint"`
	Scopes      []string `json:"scopes_supported"`
	Challenges  []string `json:"code_challenge_methods_supported"`
	ByDocument  bool     `json:"client_id_metadata_document_supported"`
	SendsIssuer bool     `json:"authorization_response_iss_parameter_supported"`
	AuthMethods []string `json:"token_endpoint_auth_methods_supported"`
}

func discover(t *testing.T, s *server, wellKnown string) (d discovered) {
	t.Helper()
	res, err := s.client.Get(s.issuer + "/.well-known/" + wellKnown)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&d); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %v", wellKnown, res.StatusCode, err)
	}
	return d
}

// postJSON posts a JSON object and decodes the answer.
func postJSON(t *testing.T, client *http.Client, to string, body any) (status int, answer map[string]any) {
	t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Post(to, "application/json", strings.NewReader(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, decodeAnswer(t, res)
}

func postForm(t *testing.T, client *http.Client, to string, form url.Values) (status int, answer map[string]any) {
	t.Helper()
	res, err := client.PostForm(to, form)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, decodeAnswer(t, res)
}

func decodeAnswer(t *testing.T, res *http.Response) (answer map[string]any) {
	t.Helper()
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatalf("%s: %d %s", res.Request.URL, res.StatusCode, body)
	}
	return answer
}

// devClient is a public client of tokenbroker dev.
type devClient struct {
	s        *server
	d        discovered
	id       string
	browser  *browser
	resource string // sent if it is not empty
}

// withDocument returns a client whose id is the http URL of a metadata document on loopback.
func withDocument(t *testing.T, s *server) *devClient {
	t.Helper()
	var documents *httptest.Server
	documents = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(clientMetadata(documents.URL+"/client.json", documents.URL))
	}))
	t.Cleanup(documents.Close)
	return &devClient{s: s, d: discover(t, s, "oauth-authorization-server"), id: documents.URL + "/client.json", browser: newBrowser(t, s, mcpCallback)}
}

// grant takes the client through a code flow and returns the token response.
func (c *devClient) grant(t *testing.T, scopes []string) map[string]any {
	t.Helper()
	verifier := oauth2.GenerateVerifier()
	query := url.Values{
		"response_type": {"code"}, "client_id": {c.id}, "redirect_uri": {mcpCallback}, "scope": {strings.Join(scopes, " ")}, "state": {"state"},
		"code_challenge": {oauth2.S256ChallengeFromVerifier(verifier)}, "code_challenge_method": {"S256"},
	}
	form := url.Values{"grant_type": {"authorization_code"}, "client_id": {c.id}, "redirect_uri": {mcpCallback}, "code_verifier": {verifier}}
	if c.resource != "" {
		query.Set("resource", c.resource)
		form.Set("resource", c.resource)
	}
	answer := c.browser.authorize(t, c.d.Authorize+"?"+query.Encode()).Query()
	if answer.Get("iss") != c.d.Issuer || answer.Get("state") != "state" {
		t.Fatalf("the authorization response: %v", answer)
	}
	form.Set("code", answer.Get("code"))
	status, tokens := postForm(t, c.s.client, c.d.Token, form)
	if status != http.StatusOK {
		t.Fatalf("the token request: %d %v", status, tokens)
	}
	return tokens
}

// refresh returns the answer to a refresh.
func (c *devClient) refresh(t *testing.T, token any) (status int, answer map[string]any) {
	t.Helper()
	text, _ := token.(string)
	form := url.Values{"grant_type": {"refresh_token"}, "client_id": {c.id}, "refresh_token": {text}}
	if c.resource != "" {
		form.Set("resource", c.resource)
	}
	return postForm(t, c.s.client, c.d.Token, form)
}

// mustRefresh is refresh for a token that is good.
func (c *devClient) mustRefresh(t *testing.T, token any) map[string]any {
	t.Helper()
	status, tokens := c.refresh(t, token)
	if status != http.StatusOK {
		t.Fatalf("the refresh: %d %v", status, tokens)
	}
	return tokens
}

// TestClientThatRefusesAServerWithoutRegistration checks what such clients look for in both discovery documents, in which others read
// that they can use a metadata document.
func TestClientThatRefusesAServerWithoutRegistration(t *testing.T) {
	s, _ := startDev(t)
	for _, wellKnown := range []string{"oauth-authorization-server", "openid-configuration"} {
		d := discover(t, s, wellKnown)
		if d.Register != s.issuer+"/oauth2/register" || !d.ByDocument || !d.SendsIssuer || !slices.Contains(d.Challenges, "S256") || !slices.Contains(d.AuthMethods, "none") {
			t.Errorf("%s: %+v", wellKnown, d)
		}
	}
	d := discover(t, s, "oauth-authorization-server")
	status, client := postJSON(t, s.client, d.Register, map[string]any{"redirect_uris": []string{mcpCallback}, "token_endpoint_auth_method": "none"})
	if status != http.StatusCreated || client["client_id"] == nil || client["client_secret"] != nil {
		t.Errorf("the least that a client can register: %d %v", status, client)
	}
}

// TestClientThatRequestsEveryScope registers and requests each scope of scopes_supported, in that order.
func TestClientThatRequestsEveryScope(t *testing.T) {
	s, _ := startDev(t)
	d := discover(t, s, "oauth-authorization-server")
	status, client := postJSON(t, s.client, d.Register, map[string]any{
		"client_name": "An assistant", "redirect_uris": []string{mcpCallback}, "token_endpoint_auth_method": "none",
		"grant_types": []string{"authorization_code", "refresh_token"}, "scope": strings.Join(d.Scopes, " "),
	})
	id, _ := client["client_id"].(string)
	if status != http.StatusCreated || client["scope"] != strings.Join(d.Scopes, " ") {
		t.Fatalf("the registration: %d %v", status, client)
	}
	registered := &devClient{s: s, d: d, id: id, browser: newBrowser(t, s, mcpCallback)}
	document := withDocument(t, s)
	for name, c := range map[string]*devClient{"registered": registered, "document": document} {
		t.Run(name, func(t *testing.T) {
			tokens := c.grant(t, d.Scopes)
			if got := scopesOf(tokens); !slices.Equal(got, slices.Sorted(slices.Values(d.Scopes))) || len(got) == 0 {
				t.Errorf("the scopes are %q, want those of scopes_supported %q", got, d.Scopes)
			}
			if tokens["refresh_token"] == nil || tokens["id_token"] == nil {
				t.Errorf("the token response has no refresh token or no id token: %v", tokens["scope"])
			}
		})
	}
}

// scopesOf returns the scopes of a token response, sorted.
func scopesOf(tokens map[string]any) []string {
	text, _ := tokens["scope"].(string)
	return slices.Sorted(slices.Values(strings.Fields(text)))
}

// TestClientThatReplaysAnOldRefreshToken checks that it ends its own grant and no other, also not one of the same client id, and that
// this is one line of the audit log, which is not a warning. The grace is 0, so the token is as old as one of days ago.
func TestClientThatReplaysAnOldRefreshToken(t *testing.T) {
	s := startServer(t, `
oauth:
  cimd: {enabled: true, insecure_loopback: true, refresh_grace: 0s, scopes: [openid, offline_access]}
`)
	c := withDocument(t, s)
	scopes := []string{"openid", "offline_access"}
	here, elsewhere := c.grant(t, scopes), c.grant(t, scopes)
	second := c.mustRefresh(t, here["refresh_token"])
	third := c.mustRefresh(t, second["refresh_token"])
	userinfo := func(tokens map[string]any) int {
		access, _ := tokens["access_token"].(string)
		return getStatus(t, s.client, s.issuer+"/oauth2/userinfo", access)
	}
	if status := userinfo(third); status != http.StatusOK {
		t.Fatalf("before the replay, userinfo answers %d", status)
	}
	if status, answer := c.refresh(t, here["refresh_token"]); status != http.StatusBadRequest || answer["error"] != "invalid_grant" {
		t.Fatalf("the old token: %d %v", status, answer)
	}
	if status := userinfo(third); status != http.StatusUnauthorized {
		t.Errorf("after the replay, userinfo answers %d", status)
	}
	if status := userinfo(c.mustRefresh(t, elsewhere["refresh_token"])); status != http.StatusOK {
		t.Errorf("for the other installation, userinfo answers %d", status)
	}
	const line = "level=INFO msg=audit event=refresh_refused"
	eventually(t, "the audit line is written", func() bool { return strings.Contains(s.log.String(), line) })
	if status, answer := c.refresh(t, third["refresh_token"]); status != http.StatusBadRequest || answer["error"] != "invalid_grant" {
		t.Errorf("the newest token of that grant: %d %v", status, answer)
	}
	eventually(t, "the second audit line is written", func() bool { return strings.Count(s.log.String(), line) > 1 })
	if text := s.log.String(); strings.Count(text, "refresh_refused") != 2 {
		t.Error("the log has not one line, at level info, for each of the two refused tokens")
	}
}

// TestClientThatSendsResource sends the resource with and without the slash that is its whole path (RFC 3986 §6.2.3).
func TestClientThatSendsResource(t *testing.T) {
	s, service := startDev(t)
	for name, resource := range map[string]string{"with the slash": service + "/", "without the slash": service} {
		t.Run(name, func(t *testing.T) {
			c := withDocument(t, s)
			c.resource = resource
			tokens := c.grant(t, []string{"offline_access", "hello:read"})
			for range 2 {
				access, _ := tokens["access_token"].(string)
				if status := getStatus(t, s.client, service+"/hello", access); status != http.StatusOK {
					t.Fatalf("the service answers %d", status)
				}
				if aud := audiences(t, access); !slices.Contains(aud, service+"/") || slices.Contains(aud, service) {
					t.Errorf("aud is %q, want it to have %s, as it is configured", aud, service+"/")
				}
				tokens = c.mustRefresh(t, tokens["refresh_token"])
			}
		})
	}
}

// audiences returns the aud of a JWT without a check.
func audiences(t *testing.T, token string) []string {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%d parts, want a JWT", len(parts))
	}
	var claims struct {
		Audience []string `json:"aud"`
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(payload, &claims)
	}
	if err != nil {
		t.Fatal(err)
	}
	return claims.Audience
}
