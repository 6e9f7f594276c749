package clientmetadata_test

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"

	"tokenbroker/broker"
	"tokenbroker/broker/clientmetadata"
	"tokenbroker/broker/directory"
)

// FuzzMetadata checks what must hold for each client that describes itself, however it does.
func FuzzMetadata(f *testing.F) {
	for _, seed := range []string{
		`{"redirect_uris":["https://app.example.com/cb"]}`,
		`{"client_id":"` + documentID + `","client_name":"App","redirect_uris":["http://127.0.0.1/","http://localhost:6274/cb","com.example.app:/cb"],"scope":"openid x","grant_types":["authorization_code","refresh_token","urn:x"],"response_types":["code"],"application_type":"native"}`,
		`{"client_id":"` + documentID + `","redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"private_key_jwt","jwks":` + jwks + `}`,
		`{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"private_key_jwt","jwks_uri":"https://a.example/keys"}`,
		`{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"none","post_logout_redirect_uris":["https://a.example/"],"client_secret":"x","software_statement":"x"}`,
		`{"redirect_uris":null,"jwks":{"keys":[{"kty":"oct","k":"eA"}]},"client_name":"\u202e"}`,
	} {
		f.Add(seed)
	}
	for _, uri := range refusedURIs {
		f.Add(`{"redirect_uris":["` + uri + `"]}`)
	}
	f.Fuzz(func(t *testing.T, body string) {
		m, err := clientmetadata.Read([]byte(body))
		if err != nil {
			checkError(t, err)
			return
		}
		for id, class := range map[string]broker.ClientClass{registeredID: broker.ClassRegistered, documentID: broker.ClassDocument} {
			c, err := m.Client(id, class, policy)
			if err != nil {
				checkError(t, err)
				continue
			}
			checkClient(t, c, m.Method(class), id)
		}
	})
}

func checkError(t *testing.T, err error) {
	var app *broker.Error
	if !errors.As(err, &app) || len(app.Message) > 1000 || strings.ContainsFunc(app.Message, directory.Disguising) {
		t.Errorf("the error %q", err)
	}
}

func checkClient(t *testing.T, c broker.Client, method, id string) {
	hasKeys := len(c.JWKS) > 0 || c.JWKSURI != ""
	switch {
	case c.ID != id, c.FirstParty, c.Workloads != nil, c.Audiences != nil, c.Secret != "":
		t.Errorf("%+v", c)
	case hasKeys != (method == clientmetadata.AuthPrivateKey):
		t.Errorf("%+v authenticates by %s", c, method)
	case id == documentID && method != clientmetadata.AuthNone && method != clientmetadata.AuthPrivateKey:
		t.Errorf("a document authenticates by %s", method)
	case len(c.RedirectURIs) == 0 || len(c.Scopes) == 0 || strings.ContainsFunc(c.Name, directory.Disguising) || id == documentID && c.Name == "":
		t.Errorf("%+v", c)
	}
	for _, scope := range c.Scopes {
		if !slices.Contains(policy.Scopes, scope) {
			t.Errorf("scope %q", scope)
		}
	}
	for _, grant := range c.Grants {
		if grant != broker.GrantAuthorizationCode && grant != broker.GrantRefreshToken {
			t.Errorf("grant %q", grant)
		}
	}
	for _, uri := range slices.Concat(c.RedirectURIs, c.PostLogoutURIs) {
		u, err := url.Parse(uri)
		loopback := err == nil && slices.Contains([]string{"127.0.0.1", "::1", "localhost"}, u.Hostname())
		if err != nil || u.User != nil || strings.ContainsAny(uri, "*#\\ ") || u.Scheme != "https" && (u.Scheme != "http" || !loopback) && !strings.Contains(u.Scheme, ".") {
			t.Errorf("redirect URI %q", uri)
		}
	}
	for _, origin := range c.Origins {
		if u, err := url.Parse(origin); err != nil || origin != u.Scheme+"://"+u.Host || !slices.ContainsFunc(c.RedirectURIs, func(uri string) bool { return strings.HasPrefix(uri, origin) }) {
			t.Errorf("origin %q of %q", origin, c.RedirectURIs)
		}
	}
	if problems := directory.ValidateClient(c, directory.ClientLimits{Class: map[string]broker.ClientClass{registeredID: broker.ClassRegistered, documentID: broker.ClassDocument}[id]}); len(problems) > 0 {
		t.Errorf("%v", problems)
	}
}
