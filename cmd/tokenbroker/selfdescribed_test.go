package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"golang.org/x/oauth2"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

// selfDescribed is the part of a configuration that allows clients which describe themselves.
const selfDescribed = `oauth:
  scopes_supported: [openid, offline_access]
  cimd: {enabled: true, insecure_loopback: true, scopes: [openid, offline_access], access_token: 2m}
  registration: {enabled: true, scopes: [openid, offline_access]}
`

const appCallback = "http://127.0.0.1:40000/callback"

// notebook is what the client of these tests says about itself.
const notebook = `"client_name":"Notebook","redirect_uris":["` + appCallback + `"],"grant_types":["authorization_code","refresh_token"],"token_endpoint_auth_method":"none"`

// serveDocument serves the metadata document of a client and returns its URL.
func serveDocument(t *testing.T) string {
	t.Helper()
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"client_id":"%s/client.json",%s}`, server.URL, notebook)
	}))
	t.Cleanup(server.Close)
	return server.URL + "/client.json"
}

// app is an OAuth client of x/oauth2.
func (s *served) app(client string) oauth2.Config {
	return oauth2.Config{
		ClientID: client, RedirectURL: appCallback, Scopes: []string{"openid", "offline_access"},
		Endpoint: oauth2.Endpoint{AuthURL: s.issuer + "/auth/authorize", TokenURL: s.issuer + "/oauth2/token", AuthStyle: oauth2.AuthStyleInParams},
	}
}

// signIn takes ada through the code flow to a client, which refreshes once.
func (s *served) signIn(t *testing.T, client string) *oauth2.Token {
	t.Helper()
	config, verifier := s.app(client), oauth2.GenerateVerifier()
	answer := newPerson(t, appCallback).authorize(t, config.AuthCodeURL("the state", oauth2.S256ChallengeOption(verifier)))
	tokens, err := config.Exchange(t.Context(), answer.Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatalf("%v: %v", answer, err)
	}
	return s.refresh(t, client, tokens)
}

// refresh returns the next tokens of a grant.
func (s *served) refresh(t *testing.T, client string, tokens *oauth2.Token) *oauth2.Token {
	t.Helper()
	config := s.app(client)
	renewed, err := config.TokenSource(t.Context(), &oauth2.Token{RefreshToken: tokens.RefreshToken}).Token()
	if err != nil {
		t.Fatal(err)
	}
	return renewed
}

// wantEnded checks that a grant has ended.
func (s *served) wantEnded(t *testing.T, client string, tokens *oauth2.Token) {
	t.Helper()
	config := s.app(client)
	if _, err := config.TokenSource(t.Context(), &oauth2.Token{RefreshToken: tokens.RefreshToken}).Token(); err == nil {
		t.Error("the grant still has tokens")
	}
}

// askJSON sends a request to the broker and returns the JSON of the answer.
func askJSON(t *testing.T, method, address, body, token string) (status int, answer map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	status, text := do(t, http.DefaultClient, req)
	_ = json.Unmarshal([]byte(text), &answer) // a page without JSON has no members
	return status, answer
}

// register registers the client of these tests.
func register(t *testing.T, issuer string) (id, token string) {
	t.Helper()
	status, answer := askJSON(t, http.MethodPost, issuer+"/oauth2/register", "{"+notebook+"}", "")
	id, _ = answer["client_id"].(string)
	token, _ = answer["registration_access_token"].(string)
	if status != http.StatusCreated || id == "" || token == "" {
		t.Fatalf("registering: %d %v", status, answer)
	}
	return id, token
}

func TestAClientOfAMetadataDocumentSignsIn(t *testing.T) {
	t.Parallel()
	s := newServed(t, "http", selfDescribed).start(t)
	s.operate(t, terminal.ExitOK, "users", "add", "ada")
	client := serveDocument(t)

	_, discovery := askJSON(t, http.MethodGet, s.issuer+"/.well-known/oauth-authorization-server", "", "")
	if discovery["client_id_metadata_document_supported"] != true || fmt.Sprint(discovery["scopes_supported"]) != "[openid offline_access]" ||
		discovery["registration_endpoint"] != s.issuer+"/oauth2/register" {
		t.Errorf("discovery: %v", discovery)
	}
	tokens := s.signIn(t, client)
	if tokens.ExpiresIn > 120 {
		t.Errorf("the access token lives %d s, longer than oauth.cimd.access_token", tokens.ExpiresIn)
	}
	other := s.signIn(t, client) // another installation of the same app
	if status, page := formTo(t, s.issuer+"/oauth2/revoke", url.Values{"token": {tokens.RefreshToken}, "client_id": {client}}); status != http.StatusOK {
		t.Errorf("revoking: %d %s", status, page)
	}
	s.wantEnded(t, client, tokens)
	other = s.refresh(t, client, other)

	if out := s.operate(t, terminal.ExitFailed, "clients", "show", client); !strings.Contains(out, "the document at its client_id") {
		t.Error(out)
	}
	if out := s.operate(t, terminal.ExitOK, "revoke", "client", client); !strings.Contains(out, client) {
		t.Error(out)
	}
	s.wantEnded(t, client, other)
	if out := s.operate(t, terminal.ExitOK, "clients", "show", client); !strings.Contains(out, "document") {
		t.Error(out)
	}
	if out := s.operate(t, terminal.ExitFailed, "clients", "remove", client, "--yes"); !strings.Contains(out, "oauth.cimd.hosts") {
		t.Error(out)
	}
	s.signIn(t, client)
	s.finish(t)

	args, config := s.args, s.app(client)
	for _, setting := range []string{"oauth.cimd.enabled=false", "oauth.cimd.hosts=app.example.com", "oauth.cimd.insecure_loopback=false"} {
		s.args = append(args[:len(args):len(args)], "--set", setting)
		s.start(t)
		_, discovery := askJSON(t, http.MethodGet, s.issuer+"/.well-known/openid-configuration", "", "")
		if named := discovery["client_id_metadata_document_supported"] == true; named != (setting != "oauth.cimd.enabled=false") {
			t.Errorf("%s: discovery: %v", setting, discovery)
		}
		res, err := http.Get(config.AuthCodeURL("the state", oauth2.S256ChallengeOption(oauth2.GenerateVerifier())))
		if res, page := readPage(t, res, err); res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d %s", setting, res.StatusCode, page)
		}
		s.finish(t)
	}
}

// formTo posts a form and returns the answer.
func formTo(t *testing.T, address string, form url.Values) (status int, body string) {
	t.Helper()
	res, err := http.PostForm(address, form)
	res, body = readPage(t, res, err)
	return res.StatusCode, body
}

func TestAClientThatRegisteredItselfSignsIn(t *testing.T) {
	t.Parallel()
	s := newServed(t, "http", selfDescribed).start(t)
	s.operate(t, terminal.ExitOK, "users", "add", "ada")
	id, token := register(t, s.issuer)
	tokens := s.signIn(t, id)
	if out := s.operate(t, terminal.ExitOK, "clients", "list"); !strings.Contains(out, id) || !strings.Contains(out, "registered") {
		t.Error(out)
	}
	if out := s.operate(t, terminal.ExitOK, "clients", "show", id); !strings.Contains(out, "removed unless used before") {
		t.Error(out)
	}
	for range 9 {
		register(t, s.issuer)
	}
	if status, answer := askJSON(t, http.MethodPost, s.issuer+"/oauth2/register", "{"+notebook+"}", ""); status != http.StatusTooManyRequests {
		t.Errorf("the eleventh registration: %d %v", status, answer)
	}
	s.finish(t)

	// Without new registrations, the clients that exist stay.
	args := s.args
	s.args = append(args[:len(args):len(args)], "--set", "oauth.registration.enabled=false")
	s.start(t)
	tokens = s.refresh(t, id, tokens)
	for _, request := range [][2]string{{http.MethodPost, ""}, {http.MethodGet, "/" + id}, {http.MethodDelete, "/" + id}} {
		if status, answer := askJSON(t, request[0], s.issuer+"/oauth2/register"+request[1], "{}", token); status != http.StatusNotFound {
			t.Errorf("%s: %d %v", request[0], status, answer)
		}
	}
	if _, discovery := askJSON(t, http.MethodGet, s.issuer+"/.well-known/oauth-authorization-server", "", ""); discovery["registration_endpoint"] != nil {
		t.Error("discovery names the registration endpoint although it is off")
	}
	s.finish(t)

	const initial = "an-initial-access-token-of-the-operator"
	file := strings.Replace(readFile(t, s.config), "registration: {enabled", "registration: {initial_access_token: "+initial+", enabled", 1)
	if err := os.WriteFile(s.config, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	s.args = args
	s.start(t)
	tokens = s.refresh(t, id, tokens)
	if status, answer := askJSON(t, http.MethodGet, s.issuer+"/oauth2/register/"+id, "", token); status != http.StatusOK || answer["client_id"] != id {
		t.Errorf("reading the registration: %d %v", status, answer)
	}
	for presented, want := range map[string]int{"": http.StatusUnauthorized, initial + "x": http.StatusUnauthorized, initial: http.StatusCreated} {
		if status, answer := askJSON(t, http.MethodPost, s.issuer+"/oauth2/register", "{"+notebook+"}", presented); status != want {
			t.Errorf("registering with the token %q: %d %v, want %d", presented, status, answer, want)
		}
	}
	s.operate(t, terminal.ExitOK, "clients", "remove", id, "--yes")
	s.wantEnded(t, id, tokens)
	if status, answer := askJSON(t, http.MethodGet, s.issuer+"/oauth2/register/"+id, "", token); status != http.StatusUnauthorized {
		t.Errorf("reading a removed registration: %d %v", status, answer)
	}
	if strings.Contains(s.logs.String(), initial) || strings.Contains(s.logs.String(), token) {
		t.Error("a token is in the log")
	}
	s.finish(t)
}

func TestARegistrationSurvivesAKill(t *testing.T) {
	t.Parallel()
	s := newServed(t, "http", selfDescribed)
	p := startBroker(t, "tokenbroker is ready", s.args...)
	id, token := register(t, s.issuer)
	p.kill(t)
	startBroker(t, "tokenbroker is ready", s.args...)
	if status, answer := askJSON(t, http.MethodGet, s.issuer+"/oauth2/register/"+id, "", token); status != http.StatusOK || answer["client_id"] != id {
		t.Errorf("after the kill: %d %v", status, answer)
	}
}
