package bench

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/credential"
)

const (
	tokenPath   = "/oauth2/token"
	redirectURI = "http://127.0.0.1/callback"
	// The verifier and the challenge of RFC 7636 appendix B.
	codeVerifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	codeChallenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

// BenchmarkTokenHTTP measures POST /oauth2/token over loopback from 64 keep-alive clients, compared with a gin handler that makes one
// ES256 signature and stores nothing.
func BenchmarkTokenHTTP(b *testing.B) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	b.Cleanup(client.CloseIdleConnections)
	for name, work := range map[string]func(testing.TB, *rig, *http.Client) func(int) error{"client-credentials": clientCredentials, "refresh": refreshGrants} {
		b.Run(name, func(b *testing.B) {
			r := newRig(b, nil)
			if err := r.PutClient(b.Context(), broker.Client{
				ID: serviceClient, Secret: serviceSecret, Scopes: []string{"hello:read"}, DefaultScopes: []string{"hello:read"}, RedirectURIs: []string{redirectURI},
				Grants: []string{broker.GrantAuthorizationCode, broker.GrantRefreshToken, broker.GrantClientCredentials},
			}); err != nil {
				b.Fatal(err)
			}
			measure(b, clients, work(b, r, client), peer{name: "gin-and-signature", work: ginAndSignature(b, r, client), share: 1})
		})
	}
}

// clientCredentials requests a token for the client itself.
func clientCredentials(tb testing.TB, r *rig, client *http.Client) func(int) error {
	tb.Helper()
	ask := tokenEndpoint(tb, r, client)
	form := url.Values{"grant_type": {broker.GrantClientCredentials}}.Encode()
	return func(int) error {
		_, err := ask(form)
		return err
	}
}

// refreshGrants refreshes a grant of each client's own user.
func refreshGrants(tb testing.TB, r *rig, client *http.Client) func(int) error {
	tb.Helper()
	ask := tokenEndpoint(tb, r, client)
	var forms [clients]string
	refreshed := func(i int, form string) error {
		answer, err := ask(form)
		if err != nil {
			return err
		}
		var tokens struct {
			RefreshToken string `json:"refresh_token"`
		}
		if err := json.Unmarshal(answer, &tokens); err != nil {
			return err
		}
		forms[i] = "grant_type=refresh_token&refresh_token=" + tokens.RefreshToken
		return nil
	}
	for i, browser := range r.signIn(tb, clients) {
		code, err := credential.AuthorizationCode{
			UID: browser.UID, SID: broker.NewID().String(), BrowserSID: browser.SID, ClientID: serviceClient, RedirectURI: redirectURI, Challenge: codeChallenge,
			Scopes: []string{"hello:read"}, Audience: []string{"demo-api"}, ExpiresAt: r.now().Add(time.Minute),
		}.Seal(r.keys)
		if err != nil {
			tb.Fatal(err)
		}
		form := url.Values{"grant_type": {broker.GrantAuthorizationCode}, "code": {code}, "redirect_uri": {redirectURI}, "code_verifier": {codeVerifier}}
		if err := refreshed(i, form.Encode()); err != nil {
			tb.Fatal(err)
		}
	}
	return func(i int) error { return refreshed(i, forms[i]) }
}

// tokenEndpoint serves the rig's broker and returns a function that sends a form to its token endpoint.
func tokenEndpoint(tb testing.TB, r *rig, client *http.Client) func(form string) ([]byte, error) {
	tb.Helper()
	to := serveAPI(tb, r, none{}) + tokenPath
	return func(form string) ([]byte, error) {
		req, err := newPost(to, form)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.SetBasicAuth(serviceClient, serviceSecret)
		_, answer, err := exchange(client, req)
		return answer, err
	}
}
