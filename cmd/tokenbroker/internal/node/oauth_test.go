package node_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/broker"
	"tokenbroker/cmd/tokenbroker/internal/node"
)

const (
	webCallback = "http://127.0.0.1:8084/callback"
	webHome     = "http://127.0.0.1:8084/"
	verifier    = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
)

var webClient, serviceClient = basic("demo-web", "demo-web-secret"), basic("demo-service", "demo-service-secret")

// withClients adds the OAuth clients that dev has.
func withClients(c *node.Config) {
	scopes := []string{"openid", "profile", "email", "phone", "address", "groups", "offline_access", "hello:read"}
	codeAndRefresh := []string{broker.GrantAuthorizationCode, broker.GrantRefreshToken}
	c.Clients = append(c.Clients,
		broker.Client{
			ID: "demo-native", Scopes: scopes, DefaultScopes: []string{"hello:read"}, Grants: codeAndRefresh, Origins: []string{"http://app.example"},
			RedirectURIs: []string{"http://127.0.0.1/callback", "http://localhost/callback", "http://[::1]/callback"},
		},
		broker.Client{
			ID: "demo-web", Name: "Web shop", Secret: "demo-web-secret", Scopes: scopes, DefaultScopes: []string{"hello:read"}, Grants: codeAndRefresh,
			RedirectURIs: []string{webCallback}, PostLogoutURIs: []string{webHome},
		},
		broker.Client{
			ID: "demo-service", Secret: "demo-service-secret", Scopes: []string{"hello:read"}, DefaultScopes: []string{"hello:read"},
			Grants: []string{broker.GrantClientCredentials, broker.GrantTokenExchange},
		},
		broker.Client{
			ID: "reports", Secret: "reports-secret", Scopes: []string{"hello:read"}, DefaultScopes: []string{"hello:read"}, Audiences: []string{"reports"},
			Grants: []string{broker.GrantClientCredentials},
		},
	)
	c.Resources = map[string]string{"demo-api": "http://127.0.0.1:8082/"}
	c.ScopeTexts = map[string]string{"hello:read": "Read greetings"}
}

// authorize returns the address of an authorization request.
func authorize(issuer, client, redirectURI, scope string, more ...string) string {
	challenge := sha256.Sum256([]byte(verifier))
	query := url.Values{
		"client_id": {client}, "redirect_uri": {redirectURI}, "response_type": {"code"}, "scope": {scope}, "state": {"st"}, "nonce": {"no"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"},
	}
	for i := 0; i < len(more); i += 2 {
		query.Set(more[i], more[i+1])
	}
	return issuer + "/auth/authorize?" + query.Encode()
}

// codeAt returns the code with which a person came back to the client.
func codeAt(t *testing.T, at page, issuer, redirectURI string) string {
	t.Helper()
	if at.at == nil || at.body != "" || !strings.HasPrefix(at.at.String(), redirectURI+"?") {
		t.Fatalf("the person is at %s: %s", at.at, at.body)
	}
	received := at.at.Query()
	if received.Get("state") != "st" || received.Get("iss") != issuer || received.Get("code") == "" {
		t.Fatalf("the client received %v", received)
	}
	return received.Get("code")
}

func codeGrant(code, redirectURI string) url.Values {
	return url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {redirectURI}, "code_verifier": {verifier}}
}

func refreshGrant(token string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
}

// wantTokens returns the answer of the token endpoint, which has to have tokens.
func wantTokens(t *testing.T, a oauthAnswer) oauthAnswer {
	t.Helper()
	if a.status != 200 || a.text("access_token") == "" || a.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v %v", a.status, a.body, a.header)
	}
	return a
}

func wantError(t *testing.T, a oauthAnswer, status int, code string) {
	t.Helper()
	if a.status != status || a.text("error") != code || a.text("access_token") != "" {
		t.Errorf("%d %v, want %d %s", a.status, a.body, status, code)
	}
}

// wantActive checks what introspection says about a token.
func wantActive(t *testing.T, issuer, client, token string, want bool) {
	t.Helper()
	a := postForm(t, issuer+"/oauth2/introspect", url.Values{"token": {token}}, client)
	if a.status != 200 || a.body["active"] != want {
		t.Errorf("%d %v, want active %v", a.status, a.body, want)
	}
}

func TestAUserSignsInToAnOAuthClient(t *testing.T) {
	l := newFaultLab(t, withClients)
	issuer := l.node.Issuer()
	ada := newPerson(t, issuer)

	signIn := ada.open(authorize(issuer, "demo-web", webCallback, "openid profile offline_access hello:read unknown"))
	consent := ada.signIn(signIn)
	if !strings.Contains(consent.body, "Web shop") || !strings.Contains(consent.body, "<strong>127.0.0.1</strong>:8084") || !strings.Contains(consent.body, "Read greetings") {
		t.Errorf("the consent page: %s", consent.body)
	}
	code := codeAt(t, ada.press(consent, "consent-allow", nil), issuer, webCallback)
	first := wantTokens(t, postForm(t, issuer+"/oauth2/token", codeGrant(code, webCallback), webClient))
	if first.text("scope") != "openid profile offline_access hello:read" || first.text("token_type") != "Bearer" || first.text("refresh_token") == "" {
		t.Errorf("%v", first.body)
	}
	identity, access := claimsIn(t, first.text("id_token")), claimsIn(t, first.text("access_token"))
	if identity["nonce"] != "no" || identity["aud"] != "demo-web" || identity["iss"] != issuer || identity["sub"] != access["sub"] || identity["at_hash"] == "" ||
		identity["sid"] == access["sid"] || access["client_id"] != "demo-web" || cmp.Diff([]any{"demo-api"}, access["aud"]) != "" {
		t.Errorf("id token %v\naccess token %v", identity, access)
	}

	who := getAnswer(t, issuer+"/oauth2/userinfo", "Authorization: Bearer "+first.text("access_token"))
	if who.status != 200 || who.body["sub"] != identity["sub"] || who.body["preferred_username"] != "ada" {
		t.Errorf("%d %v", who.status, who.body)
	}
	second := wantTokens(t, postForm(t, issuer+"/oauth2/token", refreshGrant(first.text("refresh_token")), webClient))
	if second.text("id_token") == "" || claimsIn(t, second.text("id_token"))["nonce"] != nil || second.text("refresh_token") == first.text("refresh_token") {
		t.Errorf("%v", second.body)
	}
	wantActive(t, issuer, serviceClient, second.text("access_token"), true)
	wantActive(t, issuer, basic("reports", "reports-secret"), second.text("access_token"), false)
	wantActive(t, issuer, webClient, second.text("refresh_token"), true)
	wantActive(t, issuer, serviceClient, second.text("refresh_token"), false)

	if a := postForm(t, issuer+"/oauth2/revoke", url.Values{"token": {first.text("refresh_token")}}, webClient); a.status != 200 {
		t.Errorf("revoking: %d %v", a.status, a.body)
	}
	wantActive(t, issuer, serviceClient, second.text("access_token"), false)
	wantActive(t, issuer, webClient, second.text("refresh_token"), false)
	wantError(t, postForm(t, issuer+"/oauth2/token", refreshGrant(second.text("refresh_token")), webClient), 400, "invalid_grant")
	if who := getAnswer(t, issuer+"/oauth2/userinfo", "Authorization: Bearer "+second.text("access_token")); who.status != 401 || !strings.Contains(who.header.Get("WWW-Authenticate"), `error="invalid_token"`) {
		t.Errorf("%d %v", who.status, who.header)
	}
	wantError(t, postForm(t, issuer+"/oauth2/token", codeGrant(code, webCallback), webClient), 400, "invalid_grant")

	// Single sign-on with the remembered consent is silent. Without offline_access the grant ends with the browser's session.
	code = codeAt(t, ada.open(authorize(issuer, "demo-web", webCallback, "openid hello:read", "prompt", "none")), issuer, webCallback)
	third := wantTokens(t, postForm(t, issuer+"/oauth2/token", codeGrant(code, webCallback), webClient))
	wantActive(t, issuer, serviceClient, third.text("access_token"), true)
	left := ada.open(issuer + "/auth/logout?" + url.Values{
		"id_token_hint": {third.text("id_token")}, "post_logout_redirect_uri": {webHome}, "state": {"bye"},
	}.Encode())
	if left.at.String() != webHome+"?state=bye" {
		t.Errorf("after the log-out the person is at %s: %s", left.at, left.body)
	}
	wantActive(t, issuer, serviceClient, third.text("access_token"), false)
	wantError(t, postForm(t, issuer+"/oauth2/token", refreshGrant(third.text("refresh_token")), webClient), 400, "invalid_grant")
	if again := ada.open(authorize(issuer, "demo-web", webCallback, "openid", "prompt", "none")); again.at.Query().Get("error") != "login_required" {
		t.Errorf("after the log-out: %s", again.at)
	}
}

func TestAPublicClientSignsInAndIsDenied(t *testing.T) {
	l := newFaultLab(t, withClients)
	issuer := l.node.Issuer()
	ada := newPerson(t, issuer)
	const callback = "http://[::1]:43210/callback" // any port
	consent := ada.signIn(ada.open(authorize(issuer, "demo-native", callback, "")))
	denied := ada.press(consent, "consent-deny", nil)
	if q := denied.at.Query(); q.Get("error") != "access_denied" || q.Get("state") != "st" || q.Get("iss") != issuer {
		t.Errorf("denied: %s", denied.at)
	}
	code := codeAt(t, ada.press(ada.open(authorize(issuer, "demo-native", callback, "", "resource", "http://127.0.0.1:8082/")), "consent-allow", nil), issuer, callback)
	form := codeGrant(code, callback)
	form.Set("client_id", "demo-native")
	tokens := wantTokens(t, postForm(t, issuer+"/oauth2/token", form, "Origin: http://app.example"))
	if tokens.text("scope") != "hello:read" || tokens.text("id_token") != "" || tokens.header.Get("Access-Control-Allow-Origin") != "http://app.example" {
		t.Errorf("%v %v", tokens.body, tokens.header)
	}
	if diff := cmp.Diff([]any{"demo-api", "http://127.0.0.1:8082/"}, claimsIn(t, tokens.text("access_token"))["aud"]); diff != "" {
		t.Error(diff)
	}
	refresh := refreshGrant(tokens.text("refresh_token"))
	wantError(t, postForm(t, issuer+"/oauth2/token", refresh, webClient), 400, "invalid_grant") // of another client
	refresh.Set("client_id", "demo-native")
	wantTokens(t, postForm(t, issuer+"/oauth2/token", refresh))
}

// The alert TokenbrokerRefreshTokenReused is about cookies of browser sessions. A client that presents an old refresh token does not raise it.
func TestTheReuseAlertDoesNotCountRefreshTokensOfClients(t *testing.T) {
	l := newFaultLab(t, withClients)
	issuer := l.node.Issuer()
	ada := newPerson(t, issuer)
	const callback = "http://127.0.0.1:43210/callback"
	code := codeAt(t, ada.press(ada.signIn(ada.open(authorize(issuer, "demo-native", callback, ""))), "consent-allow", nil), issuer, callback)
	form := codeGrant(code, callback)
	form.Set("client_id", "demo-native")
	first := wantTokens(t, postForm(t, issuer+"/oauth2/token", form)).text("refresh_token")
	newest := first
	for range 6 { // more than what the grace of a superseded refresh token covers
		refresh := refreshGrant(newest)
		refresh.Set("client_id", "demo-native")
		newest = wantTokens(t, postForm(t, issuer+"/oauth2/token", refresh)).text("refresh_token")
	}
	for _, token := range []string{first, newest} { // the first ends the grant
		refresh := refreshGrant(token)
		refresh.Set("client_id", "demo-native")
		wantError(t, postForm(t, issuer+"/oauth2/token", refresh), 400, "invalid_grant")
	}
	if metrics := l.scrape(); strings.Contains(metrics, "\ntokenbroker_refreshes_total{") {
		t.Error("the token endpoint is counted in tokenbroker_refreshes_total")
	}
}

// TestRefreshTokensBelongToTheirChannel checks that the token endpoint refuses a SPA's refresh token, and the endpoints of SPAs
// that of an OAuth client.
func TestRefreshTokensBelongToTheirChannel(t *testing.T) {
	l := newFaultLab(t, withClients)
	issuer := l.node.Issuer()
	ada := newPerson(t, issuer)
	consent := ada.signIn(ada.open(authorize(issuer, "demo-web", webCallback, "openid offline_access")))
	base, err := url.Parse(issuer + "/auth/refresh/")
	if err != nil {
		t.Fatal(err)
	}
	cookies := ada.client.Jar.Cookies(base)
	if len(cookies) != 1 {
		t.Fatalf("%v", cookies)
	}
	wantError(t, postForm(t, issuer+"/oauth2/token", refreshGrant(cookies[0].Value), webClient), 400, "invalid_grant")
	wantActive(t, issuer, webClient, cookies[0].Value, false)
	code := codeAt(t, ada.press(consent, "consent-allow", nil), issuer, webCallback) // the session goes on
	tokens := wantTokens(t, postForm(t, issuer+"/oauth2/token", codeGrant(code, webCallback), webClient))
	if got := getAnswer(t, issuer+"/auth/session/", "Cookie: "+cookies[0].Name+"="+tokens.text("refresh_token")); got.status != 401 || got.text("code") != "wrong_channel" {
		t.Errorf("%d %v", got.status, got.body)
	}
	wantTokens(t, postForm(t, issuer+"/oauth2/token", refreshGrant(tokens.text("refresh_token")), webClient))
}

func TestAServiceGetsTokensOfItsOwn(t *testing.T) {
	l := newFaultLab(t, withClients)
	issuer := l.node.Issuer()
	own := wantTokens(t, postForm(t, issuer+"/oauth2/token", url.Values{"grant_type": {"client_credentials"}}, serviceClient))
	if claims := claimsIn(t, own.text("access_token")); claims["sub"] != "demo-service" || claims["sid"] != nil || own.text("refresh_token") != "" {
		t.Errorf("%v %v", claims, own.body)
	}
	wantActive(t, issuer, serviceClient, own.text("access_token"), true)
	wantError(t, postForm(t, issuer+"/oauth2/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {"demo-native"}}), 400, "unauthorized_client")
	wantError(t, postForm(t, issuer+"/oauth2/token", url.Values{"grant_type": {"client_credentials"}}, basic("demo-service", "wrong")), 401, "invalid_client")
	wantError(t, postForm(t, issuer+"/oauth2/token", url.Values{"grant_type": {"password"}, "username": {"ada"}, "password": {"lovelace"}}, serviceClient), 400, "unsupported_grant_type")
	if a := postForm(t, issuer+"/oauth2/revoke", url.Values{"token": {own.text("access_token")}}, serviceClient); a.status != 200 {
		t.Errorf("%d %v", a.status, a.body)
	}
	wantActive(t, issuer, serviceClient, own.text("access_token"), false)
	wantActive(t, issuer, serviceClient, wantTokens(t, postForm(t, issuer+"/oauth2/token", url.Values{"grant_type": {"client_credentials"}}, serviceClient)).text("access_token"), true)

	// The token of another audience is none for /auth/verify and for clients of the broker's audience.
	other := wantTokens(t, postForm(t, issuer+"/oauth2/token", url.Values{"grant_type": {"client_credentials"}}, basic("reports", "reports-secret")))
	wantActive(t, issuer, basic("reports", "reports-secret"), other.text("access_token"), true)
	wantActive(t, issuer, serviceClient, other.text("access_token"), false)
	if got := getAnswer(t, issuer+"/auth/verify/", "Authorization: Bearer "+other.text("access_token")); got.status != 401 {
		t.Errorf("verify: %d", got.status)
	}
}

// TestOneCodeAtTwoBrokers checks that of two brokers that redeem a code at once at most one issues tokens, and that these are then
// revoked at both.
func TestOneCodeAtTwoBrokers(t *testing.T) {
	b := newBrokers(t, 2)
	var cfg node.Config
	withClients(&cfg)
	for _, c := range cfg.Clients {
		if err := b.all[0].node.Operators().PutClient(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	ada := newPerson(t, b.issuer)
	consent := ada.signIn(ada.open(authorize(b.issuer, "demo-web", webCallback, "openid offline_access hello:read")))
	code := codeAt(t, ada.press(consent, "consent-allow", nil), b.issuer, webCallback)
	answers := make([]oauthAnswer, 2)
	var both sync.WaitGroup
	for i, m := range b.all {
		both.Go(func() {
			answers[i] = postForm(t, "http://"+m.addr+"/oauth2/token", codeGrant(code, webCallback), webClient)
		})
	}
	both.Wait()
	issued := 0
	for _, a := range answers {
		if a.status != 200 {
			wantError(t, a, 400, "invalid_grant")
			continue
		}
		issued++
		for _, m := range b.all {
			wantActive(t, "http://"+m.addr, serviceClient, a.text("access_token"), false)
			wantError(t, postForm(t, "http://"+m.addr+"/oauth2/token", refreshGrant(a.text("refresh_token")), webClient), 400, "invalid_grant")
		}
	}
	if issued > 1 {
		t.Errorf("%d brokers issued tokens", issued)
	}
}

// TestBadRequestsOfOAuthClients sends what a client must not send to a running broker. Each is refused with the error of the
// standard, and nothing is issued.
func TestBadRequestsOfOAuthClients(t *testing.T) {
	l := newFaultLab(t, withClients)
	issuer := l.node.Issuer()
	ada := newPerson(t, issuer)
	consent := ada.signIn(ada.open(authorize(issuer, "demo-web", webCallback, "openid hello:read")))
	code := codeAt(t, ada.press(consent, "consent-allow", nil), issuer, webCallback)
	newCode := func() string {
		return codeAt(t, ada.open(authorize(issuer, "demo-web", webCallback, "openid hello:read", "prompt", "none")), issuer, webCallback)
	}
	tokens := wantTokens(t, postForm(t, issuer+"/oauth2/token", codeGrant(code, webCallback), webClient))
	with := func(form url.Values, more ...string) url.Values {
		for i := 0; i < len(more); i += 2 {
			form.Set(more[i], more[i+1])
		}
		return form
	}
	native := with(codeGrant(newCode(), webCallback), "client_id", "demo-native")
	for name, row := range map[string]struct {
		form   url.Values
		client string
		status int
		code   string
	}{
		"RFC 6749 §4.1.3: a code of another client":   {native, "", 400, "invalid_grant"},
		"RFC 6749 §4.1.3: another redirect URI":       {codeGrant(newCode(), webCallback+"/"), webClient, 400, "invalid_grant"},
		"RFC 7636 §4.6: a wrong verifier":             {with(codeGrant(newCode(), webCallback), "code_verifier", strings.Repeat("x", 43)), webClient, 400, "invalid_grant"},
		"RFC 7636 §4.6: no verifier":                  {with(codeGrant(newCode(), webCallback), "code_verifier", ""), webClient, 400, "invalid_request"},
		"a code that is not one":                      {codeGrant("x", webCallback), webClient, 400, "invalid_grant"},
		"no code":                                     {codeGrant("", webCallback), webClient, 400, "invalid_request"},
		"a refresh token as a code":                   {codeGrant(tokens.text("refresh_token"), webCallback), webClient, 400, "invalid_grant"},
		"RFC 6749 §6: a scope that was not granted":   {with(refreshGrant(tokens.text("refresh_token")), "scope", "openid email"), webClient, 400, "invalid_scope"},
		"RFC 6749 §6: a refresh token of another":     {with(refreshGrant(tokens.text("refresh_token")), "client_id", "demo-native"), "", 400, "invalid_grant"},
		"no refresh token":                            {refreshGrant(""), webClient, 400, "invalid_request"},
		"an access token as a refresh token":          {refreshGrant(tokens.text("access_token")), webClient, 400, "invalid_grant"},
		"RFC 8707 §2: an unknown resource":            {url.Values{"grant_type": {"client_credentials"}, "resource": {"http://127.0.0.1:8082/other"}}, serviceClient, 400, "invalid_target"},
		"an audience as a resource":                   {url.Values{"grant_type": {"client_credentials"}, "resource": {"demo-api"}}, serviceClient, 400, "invalid_target"},
		"RFC 6749 §4.4.2: a scope of no client":       {url.Values{"grant_type": {"client_credentials"}, "scope": {"admin"}}, serviceClient, 400, "invalid_scope"},
		"a grant type that the client may not use":    {url.Values{"grant_type": {"client_credentials"}}, webClient, 400, "unauthorized_client"},
		"no implicit grant, no password grant":        {url.Values{"grant_type": {"implicit"}}, webClient, 400, "unsupported_grant_type"},
		"a confidential client without its secret":    {with(refreshGrant(tokens.text("refresh_token")), "client_id", "demo-web"), "", 401, "invalid_client"},
		"an unknown client":                           {with(refreshGrant(tokens.text("refresh_token")), "client_id", "nobody"), "", 401, "invalid_client"},
		"RFC 8693 §2.1: no subject token":             {url.Values{"grant_type": {broker.GrantTokenExchange}}, serviceClient, 400, "invalid_request"},
		"RFC 8693 §2.2.2: a broken subject token":     {url.Values{"grant_type": {broker.GrantTokenExchange}, "subject_token": {"x"}, "subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"}}, serviceClient, 400, "invalid_request"},
		"RFC 6749 §3.2: a parameter twice":            {url.Values{"grant_type": {"client_credentials", "client_credentials"}}, serviceClient, 400, "invalid_request"},
		"a refresh token longer than any of a broker": {refreshGrant("rt1." + strings.Repeat("x", 60<<10)), webClient, 400, "invalid_request"},
	} {
		var headers []string
		if row.client != "" {
			headers = append(headers, row.client)
		}
		t.Run(name, func(t *testing.T) {
			wantError(t, postForm(t, issuer+"/oauth2/token", row.form, headers...), row.status, row.code)
		})
	}
	wantActive(t, issuer, serviceClient, tokens.text("access_token"), true) // none of this ended the grant
}
