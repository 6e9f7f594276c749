package oauthclient_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/oauthclient"
	"tokenbroker/broker/operator"
)

const (
	appURL      = "https://app.example.com/client.json"
	appRedirect = "https://app.example.com/callback"
)

// documents are metadata documents by URL.
type documents struct {
	mu     sync.Mutex // guards the fields below
	bodies map[string]string
	err    error
	reads  int
	during func() // called by each reading
}

func (d *documents) Document(_ context.Context, url string) (json.RawMessage, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reads++
	if d.during != nil {
		d.during()
	}
	body, found := d.bodies[url]
	switch {
	case d.err != nil:
		return nil, d.err
	case !found:
		return nil, fmt.Errorf("%w: the status is 404", broker.ErrClientDocument)
	}
	return json.RawMessage(body), nil
}

// set sets the document at appURL, with members replaced or, if the value is nil, removed.
func (d *documents) set(t *testing.T, changes map[string]any) {
	t.Helper()
	members := map[string]any{
		"client_id": appURL, "client_name": "An App", "redirect_uris": []string{appRedirect, nativeRedirect},
		"grant_types": []string{broker.GrantAuthorizationCode, broker.GrantRefreshToken}, "token_endpoint_auth_method": "none",
	}
	for name, value := range changes {
		if members[name] = value; value == nil {
			delete(members, name)
		}
	}
	body, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bodies[appURL] = string(body)
}

// selfDescribed is a broker that accepts documents, with one at appURL.
type selfDescribed struct {
	*authorizer
	docs *documents
}

// selfPolicy is that of documents and registrations.
var selfPolicy = broker.ClientPolicy{Scopes: []string{"openid", "email", "offline_access", "hello:read"}, RefreshTokens: true}

func newSelfDescribed(t *testing.T, change ...func(*oauthclient.Config)) *selfDescribed {
	t.Helper()
	return selfDescribedOn(t, brokertest.Start(t), change...)
}

func selfDescribedOn(t *testing.T, h *brokertest.Harness, change ...func(*oauthclient.Config)) *selfDescribed {
	t.Helper()
	docs := &documents{bodies: map[string]string{}}
	docs.set(t, nil)
	wire := func(c *oauthclient.Config) {
		c.Documents, c.DocumentPolicy, c.RegistrationPolicy, c.UnusedAfter = docs, selfPolicy, selfPolicy, 30*24*time.Hour
	}
	return &selfDescribed{authorizerOn(t, h, append([]func(*oauthclient.Config){wire}, change...)...), docs}
}

// appRequest is a request of the document's client.
func appRequest(pairs ...string) url.Values {
	return request(appURL, append([]string{"redirect_uri", appRedirect}, pairs...)...)
}

// code returns the request that redeems a code for the user's request.
func (a *selfDescribed) code(t *testing.T, params url.Values, browser *broker.Grant) broker.TokenRequest {
	t.Helper()
	page := a.authorize(t, params, browser.RefreshToken)
	wantStep(t, page, broker.StepConsent)
	answer := a.consent(t, params, browser, true, page.Scopes...)
	wantStep(t, answer, broker.StepRedirect)
	return broker.TokenRequest{
		Client: broker.ClientCredentials{ID: params.Get("client_id")}, GrantType: broker.GrantAuthorizationCode, Code: answer.Answer.Get("code"),
		RedirectURI: params.Get("redirect_uri"), Verifier: verifier,
	}
}

func (a *selfDescribed) token(t *testing.T, in broker.TokenRequest) *broker.TokenAnswer {
	t.Helper()
	answer, err := a.svc.Token(t.Context(), in, brokertest.Request)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// refuses fails the test unless the request is refused with the code and one audit line that contains the cause.
func (a *selfDescribed) refuses(t *testing.T, in broker.TokenRequest, code broker.Code, cause string) *broker.Error {
	t.Helper()
	a.Log.Reset()
	_, err := a.svc.Token(t.Context(), in, brokertest.Request)
	app := brokertest.WantCode(t, err, code)
	if lines := strings.Count(a.Log.String(), "msg=audit"); lines != 1 || !strings.Contains(a.Log.String(), cause) {
		t.Errorf("%d audit lines, want one with %q:\n%s", lines, cause, a.Log)
	}
	return app
}

func refresh(client, token string) broker.TokenRequest {
	return broker.TokenRequest{Client: broker.ClientCredentials{ID: client}, GrantType: broker.GrantRefreshToken, RefreshToken: token}
}

func TestAClientOfADocumentGetsWhatThePolicyAllows(t *testing.T) {
	a := newSelfDescribed(t, func(c *oauthclient.Config) { c.DocumentPolicy.AccessLife = time.Minute })
	a.docs.set(t, map[string]any{"client_uri": "https://app.example.com/", "logo_uri": "https://app.example.com/logo.png", "first_party": true})
	browser := a.MustSignIn(t)
	params := appRequest("scope", "openid email hello:read hello:write profile", "resource", strings.TrimSuffix(apiURI, "/"))
	page := a.authorize(t, params, browser.RefreshToken)
	wantStep(t, page, broker.StepConsent)
	if page.Class != broker.ClassDocument || page.ClientID != appURL || page.ClientName != "An App" || page.RedirectURI != appRedirect ||
		!slices.Equal(page.Scopes, []string{"openid", "email", "hello:read"}) {
		t.Errorf("page %+v", page)
	}
	answer := a.token(t, a.code(t, params, browser))
	claims := brokertest.Claims(t, answer.AccessToken)
	if claims["client_id"] != appURL || answer.ExpiresIn != time.Minute || answer.RefreshToken == "" || answer.ClientID != appURL {
		t.Errorf("answer %+v with %v", answer, claims)
	}
	if aud, _ := claims["aud"].([]any); len(aud) != 2 || aud[0] != "demo-api" || aud[1] != apiURI {
		t.Errorf("aud %v, want the resource as it is configured", claims["aud"])
	}
	again := a.token(t, refresh(appURL, answer.RefreshToken))
	if again.Scope != answer.Scope || again.RefreshToken == answer.RefreshToken {
		t.Errorf("refreshed %+v", again)
	}
	// A client of a document has no other grant, whatever its document says.
	for _, grant := range []string{broker.GrantClientCredentials, broker.GrantTokenExchange} {
		a.refuses(t, broker.TokenRequest{Client: broker.ClientCredentials{ID: appURL}, GrantType: grant}, broker.CodeUnauthorizedClient, "client_id="+appURL)
	}
	a.setRegistered(t, func(c *directory.ClientRecord) {
		c.SecretHash, c.Grants = directory.HashSecret("s3cret"), []string{broker.GrantClientCredentials, broker.GrantTokenExchange}
	})
	for _, grant := range []string{broker.GrantClientCredentials, broker.GrantTokenExchange} {
		in := broker.TokenRequest{Client: broker.ClientCredentials{ID: registeredID, Secrets: []string{"s3cret"}}, GrantType: grant}
		a.refuses(t, in, broker.CodeUnauthorizedClient, "describes itself")
	}
}

func TestTheConsentForAClientThatDescribesItselfIsNotRemembered(t *testing.T) {
	a := newSelfDescribed(t)
	browser := a.MustSignIn(t)
	a.setRegistered(t, func(c *directory.ClientRecord) { c.SecretHash, c.FirstParty = directory.HashSecret("s3cret"), true })
	for _, params := range []url.Values{appRequest(), registeredRequest()} {
		for range 2 {
			a.code(t, params, browser)
		}
		params.Set("prompt", "none")
		wantRefusal(t, a.authorize(t, params, browser.RefreshToken), params, broker.CodeConsentRequired)
	}
	if consents := a.user(t, browser.UID).Consents; len(consents) != 0 {
		t.Errorf("consents %v", consents)
	}
}

func TestRefusedDocumentsAreShownOnAPageWithTheRule(t *testing.T) {
	a := newSelfDescribed(t)
	browser := a.MustSignIn(t)
	for name, tc := range map[string]struct {
		id     string
		change map[string]any
		want   string
	}{
		"http":                   {"http://app.example.com/client.json", nil, "use https"},
		"loopback":               {"http://127.0.0.1:4711/client.json", nil, "use https"},
		"a user in it":           {"https://u:p@app.example.com/client.json", nil, "has a user or a password"},
		"no path":                {"https://app.example.com", nil, "has no path"},
		"dots":                   {"https://app.example.com/a/../client.json", nil, "path with . or .."},
		"too long":               {"https://app.example.com/" + strings.Repeat("a", 512), nil, "longer than 512 bytes"},
		"not there":              {"https://app.example.com/other.json", nil, "the status is 404"},
		"another client_id":      {appURL, map[string]any{"client_id": "https://app.example.com/other.json"}, "client_id is not the URL of the document"},
		"no client_id":           {appURL, map[string]any{"client_id": nil}, "client_id is not the URL of the document"},
		"a secret":               {appURL, map[string]any{"client_secret": "s"}, "client_secret"},
		"a wildcard":             {appURL, map[string]any{"redirect_uris": []string{"https://*.example.com/"}}, "wildcard"},
		"a dangerous scheme":     {appURL, map[string]any{"redirect_uris": []string{"javascript:alert(1)"}}, "scheme"},
		"an unregistered target": {appURL, map[string]any{"redirect_uris": []string{"https://app.example.com/other"}}, "redirect URI is not registered"},
	} {
		t.Run(name, func(t *testing.T) {
			a.docs.set(t, tc.change)
			a.Log.Reset()
			_, err := a.svc.Authorize(t.Context(), broker.AuthorizationRequest{Params: request(tc.id, "redirect_uri", appRedirect), RefreshToken: browser.RefreshToken}, brokertest.Request)
			if app := brokertest.WantCode(t, err, broker.CodeInvalidRedirect); !strings.Contains(app.Message, tc.want) || errors.Is(app, broker.ErrClientDocument) != (name != "an unregistered target") {
				t.Errorf("message %q, want %q", app.Message, tc.want)
			}
			if log := a.Log.String(); strings.Count(log, "event=authorization_refused") != 1 || strings.Contains(log, "u:p@") || len(log) > 1500 {
				t.Errorf("audit:\n%s", log)
			}
		})
	}
}

func TestADocumentThatCannotBeReadNowIsTriedAgain(t *testing.T) {
	a := newSelfDescribed(t)
	browser := a.MustSignIn(t)
	answer := a.token(t, a.code(t, appRequest(), browser))
	a.docs.err = fmt.Errorf("%w: no answer", broker.ErrUpstreamUnavailable)
	_, err := a.svc.Authorize(t.Context(), broker.AuthorizationRequest{Params: appRequest(), RefreshToken: browser.RefreshToken}, brokertest.Request)
	if app := brokertest.WantCode(t, err, broker.CodeUpstreamUnavailable); app.RetryAfter == 0 {
		t.Error("the refusal does not say when to try again")
	}
	in := refresh(appURL, answer.RefreshToken)
	a.refuses(t, in, broker.CodeUpstreamUnavailable, "client_authentication_refused")
	a.Clock.Advance(time.Hour)
	a.docs.err = nil
	a.token(t, in) // the refusal has not used the refresh token
	a.docs.err = errors.New("something else")
	a.refuses(t, in, broker.CodeInternal, "client_authentication_refused")
}

func TestADocumentMayChangeBetweenTheRequestAndTheTokens(t *testing.T) {
	a := newSelfDescribed(t)
	browser := a.MustSignIn(t)
	code := a.code(t, appRequest(), browser)
	for name, tc := range map[string]struct {
		change map[string]any
		code   broker.Code
		cause  string
	}{
		"the redirect URI was removed": {map[string]any{"redirect_uris": []string{nativeRedirect}}, broker.CodeInvalidGrant, "no longer the client's"},
		"the scopes were removed":      {map[string]any{"scope": "email"}, broker.CodeInvalidScope, "no scope is left"},
		"it has another client_id":     {map[string]any{"client_id": "https://app.example.com/other.json"}, broker.CodeInvalidClient, "client_id is not the URL"},
		"it needs a key now":           {map[string]any{"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://app.example.com/jwks.json"}, broker.CodeInvalidClient, "has to authenticate"},
		"it is not JSON":               {map[string]any{"redirect_uris": 7}, broker.CodeInvalidClient, "redirect_uris"},
	} {
		a.docs.set(t, tc.change)
		a.refuses(t, code, tc.code, tc.cause)
		if t.Failed() {
			t.Fatal(name)
		}
	}
	a.docs.set(t, map[string]any{"redirect_uris": []string{appRedirect, "https://app.example.com/new"}})
	answer := a.token(t, code)
	a.docs.set(t, map[string]any{"grant_types": []string{broker.GrantAuthorizationCode}})
	a.refuses(t, refresh(appURL, answer.RefreshToken), broker.CodeUnauthorizedClient, "does not have the grant type")
	a.docs.set(t, map[string]any{"scope": "hello:read"})
	if got := a.token(t, refresh(appURL, answer.RefreshToken)); got.Scope != "hello:read" {
		t.Errorf("scope %q", got.Scope)
	}
}

// AuthenticateClient is for introspection and the feed of revocations, which are for services.
func TestClientsThatDescribeThemselvesAreNoServices(t *testing.T) {
	a := newSelfDescribed(t)
	a.setRegistered(t, func(c *directory.ClientRecord) { c.SecretHash = directory.HashSecret("s3cret") })
	a.docs.reads = 0
	for _, c := range []broker.ClientCredentials{{ID: appURL}, {ID: appURL, Secrets: []string{"s3cret"}}, {ID: registeredID, Secrets: []string{"s3cret"}}} {
		a.Log.Reset()
		_, err := a.svc.AuthenticateClient(t.Context(), c, brokertest.Request)
		brokertest.WantCode(t, err, broker.CodeInvalidClient)
		if log := a.Log.String(); strings.Count(log, "event=client_authentication_refused") != 1 || !strings.Contains(log, "describes itself") {
			t.Errorf("audit:\n%s", log)
		}
	}
	if a.docs.reads != 0 {
		t.Errorf("%d documents were read for a client that is refused anyway", a.docs.reads)
	}
}

func TestWithoutDocumentsAURLIsAnUnknownClient(t *testing.T) {
	a := newSelfDescribed(t, func(c *oauthclient.Config) { c.Documents = nil })
	_, err := a.svc.Authorize(t.Context(), broker.AuthorizationRequest{Params: appRequest()}, brokertest.Request)
	if app := brokertest.WantCode(t, err, broker.CodeInvalidRedirect); app.Message != "The client is unknown." {
		t.Error(app.Message)
	}
	a.refuses(t, refresh(appURL, "rt1.x"), broker.CodeInvalidClient, "unknown client")
}

func TestADocumentOnLoopbackIsOnlyForDevelopment(t *testing.T) {
	const id = "http://127.0.0.1:4711/client.json"
	a := newSelfDescribed(t, func(c *oauthclient.Config) { c.InsecureLoopback = true })
	a.docs.bodies[id] = strings.ReplaceAll(a.docs.bodies[appURL], appURL, id)
	page := a.authorize(t, request(id, "redirect_uri", appRedirect), a.MustSignIn(t).RefreshToken)
	wantStep(t, page, broker.StepConsent)
	a.docs.bodies[id] = strings.Replace(a.docs.bodies[id], "An App", "", 1)
	if page := a.authorize(t, request(id, "redirect_uri", appRedirect), ""); page.ClientName != "127.0.0.1:4711" {
		t.Errorf("name %q of a client without one", page.ClientName)
	}
}

func TestNamesThatImitateOthersAreNotShown(t *testing.T) {
	a := newSelfDescribed(t)
	for name, want := range map[string]string{
		"An App": "An App", "The Web Shop": "The Web Shop", "Приложение": "Приложение",
		"The Web": "app.example.com", "the  WEB": "app.example.com", "Theweb": "app.example.com", "Ｔｈｅ Ｗｅｂ": "app.example.com", "The\u200b Web": "app.example.com",
		"Тhe Web": "app.example.com", "native": "app.example.com", "": "app.example.com",
	} {
		a.docs.set(t, map[string]any{"client_name": name})
		a.setRegistered(t, func(c *directory.ClientRecord) { c.Name = name })
		if page := a.authorize(t, appRequest(), ""); page.ClientName != want {
			t.Errorf("%q is shown as %q, want %q", name, page.ClientName, want)
		}
		if want == "app.example.com" {
			want = registeredID
		}
		if page := a.authorize(t, registeredRequest(), ""); page.ClientName != want || page.Class != broker.ClassRegistered {
			t.Errorf("%q is shown as %+v, want %q", name, page, want)
		}
	}
}

func TestTheEndOfOneGrantOfASharedClientEndsNoOther(t *testing.T) {
	a := newSelfDescribed(t)
	if _, err := a.AddUser(t.Context(), operator.NewUser{Username: "bob", Password: "correct horse"}, brokertest.Operator); err != nil {
		t.Fatal(err)
	}
	bob, err := a.SignIn(t.Context(), "bob", "correct horse", brokertest.Request)
	if err != nil {
		t.Fatal(err)
	}
	ada, elsewhere := a.MustSignIn(t), a.MustSignIn(t)
	var grants []*broker.TokenAnswer
	for _, browser := range []*broker.Grant{ada, ada, elsewhere, bob} {
		grants = append(grants, a.token(t, a.code(t, appRequest("scope", "openid offline_access"), browser)))
	}
	others := func(ended ...int) {
		t.Helper()
		for i := range grants {
			if !slices.Contains(ended, i) {
				grants[i] = a.token(t, refresh(appURL, grants[i].RefreshToken))
			}
		}
	}
	old := grants[0].RefreshToken
	others()
	a.Clock.Advance(72 * time.Hour)
	a.refuses(t, refresh(appURL, old), broker.CodeInvalidGrant, "level=INFO msg=audit event=refresh_refused")
	a.refuses(t, refresh(appURL, grants[0].RefreshToken), broker.CodeInvalidGrant, "level=INFO")
	others(0)
	if _, err := a.svc.Revoke(t.Context(), broker.ClientCredentials{ID: appURL}, grants[1].RefreshToken, "", brokertest.Request); err != nil {
		t.Fatal(err)
	}
	a.refuses(t, refresh(appURL, grants[1].RefreshToken), broker.CodeInvalidGrant, "")
	others(0, 1)
}

func TestAReplayOfARegisteredClientIsNoWarning(t *testing.T) {
	a := newSelfDescribed(t)
	a.setRegistered(t, nil)
	answer := a.token(t, a.code(t, registeredRequest(), a.MustSignIn(t)))
	a.token(t, refresh(registeredID, answer.RefreshToken))
	a.Clock.Advance(time.Minute)
	a.refuses(t, refresh(registeredID, answer.RefreshToken), broker.CodeInvalidGrant, "level=INFO msg=audit event=refresh_refused")
}

func TestWithoutRefreshTokensInThePolicyNoGrantCanRefresh(t *testing.T) {
	a := newSelfDescribed(t)
	a.setRegistered(t, nil)
	browser := a.MustSignIn(t)
	policy := selfPolicy
	policy.RefreshTokens = false
	strict := a.with(t, func(c *oauthclient.Config) { c.DocumentPolicy, c.RegistrationPolicy = policy, policy })
	for _, params := range []url.Values{appRequest("scope", "openid offline_access"), registeredRequest()} {
		id := params.Get("client_id")
		before := a.token(t, a.code(t, params, browser))
		strict.refuses(t, refresh(id, before.RefreshToken), broker.CodeUnauthorizedClient, "does not have the grant type")
		if answer := strict.token(t, strict.code(t, params, browser)); answer.RefreshToken != "" || answer.AccessToken == "" {
			t.Errorf("%s: %+v", id, answer)
		}
		a.token(t, refresh(id, before.RefreshToken))
	}
}

// with returns use cases with another configuration on the same broker.
func (a *selfDescribed) with(t *testing.T, change func(*oauthclient.Config)) *selfDescribed {
	t.Helper()
	cfg := a.cfg
	change(&cfg)
	return &selfDescribed{&authorizer{Harness: a.Harness, svc: oauthclient.New(cfg), tokens: a.tokens, cfg: cfg}, a.docs}
}

func TestRevokingAClientOfADocumentEndsItsGrants(t *testing.T) {
	a := newSelfDescribed(t)
	browser := a.MustSignIn(t)
	answer := a.token(t, a.code(t, appRequest(), browser))
	pending := a.code(t, appRequest(), browser)
	if _, err := a.RevokeClient(t.Context(), appURL, "", brokertest.Operator); err != nil {
		t.Fatal(err)
	}
	a.refuses(t, refresh(appURL, answer.RefreshToken), broker.CodeInvalidGrant, "refresh_refused")
	a.refuses(t, pending, broker.CodeInvalidGrant, "the tokens of the client were revoked")
	again := a.token(t, a.code(t, appRequest(), browser))
	if claims := brokertest.Claims(t, again.AccessToken); claims["cep"].(float64) == 0 {
		t.Errorf("claims %v", claims)
	}
	a.token(t, refresh(appURL, again.RefreshToken))
	// A revocation while the document is read.
	code := a.code(t, appRequest(), browser)
	var once sync.Once
	a.docs.during = func() {
		once.Do(func() {
			if _, err := a.RevokeClient(t.Context(), appURL, "", brokertest.Operator); err != nil {
				t.Error(err)
			}
		})
	}
	_, err := a.svc.Token(t.Context(), code, brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeInvalidGrant)
}

func TestLogOutOfAClientOfADocument(t *testing.T) {
	a := newSelfDescribed(t)
	a.docs.set(t, map[string]any{"post_logout_redirect_uris": []string{"https://app.example.com/bye"}})
	browser := a.MustSignIn(t)
	a.tokens["own"] = map[string]any{"sub": browser.UID, "sid": browser.SID, "aud": appURL}
	in := broker.EndSessionRequest{IDTokenHint: "own", PostLogoutURI: "https://app.example.com/bye", RefreshToken: browser.RefreshToken}
	if got := a.endSession(t, in); !got.LogOff || got.RedirectURL != in.PostLogoutURI || got.ClientName != "An App" || got.Class != broker.ClassDocument {
		t.Errorf("%+v", got)
	}
	a.docs.set(t, map[string]any{"client_id": "https://app.example.com/other.json"})
	_, err := a.svc.EndSession(t.Context(), in, brokertest.Request)
	if app := brokertest.WantCode(t, err, broker.CodeInvalidRedirect); !strings.Contains(app.Message, "client_id is not the URL") || !errors.Is(err, broker.ErrClientDocument) {
		t.Error(app)
	}
	a.docs.err = broker.ErrUpstreamUnavailable
	_, err = a.svc.EndSession(t.Context(), in, brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeUpstreamUnavailable)
	in.PostLogoutURI = "" // the log-out itself does not depend on the document
	if got := a.endSession(t, in); !got.LogOff {
		t.Errorf("%+v", got)
	}
}

func TestOriginsOfClientsThatDescribeThemselves(t *testing.T) {
	a := newSelfDescribed(t)
	a.setRegistered(t, func(c *directory.ClientRecord) { c.Origins = []string{"https://registered.example"} })
	a.Put(t, "client.page", `{"v":1,"id":"page","origins":["https://page.example"]}`)
	origins := a.svc.Origins()
	for _, tc := range []struct {
		origin, client string
		want           bool
	}{
		{"https://app.example.com", appURL, true}, {"https://evil.example", appURL, false}, {"https://page.example", appURL, false},
		{"http://127.0.0.1", appURL, false}, {"https://app.example.com", "https://app.example.com/other.json", false},
		{"https://registered.example", registeredID, true}, {"https://app.example.com", registeredID, false},
		{"https://page.example", "page", true}, {"https://app.example.com", "page", false}, {"https://app.example.com", "native", false},
		{"https://evil.example", "", true}, {"http://127.0.0.1:4711", "", true}, {"http://localhost:6274", "", true}, {"http://[::1]:1", "", true},
		{"http://evil.example", "", false}, {"null", "", false}, {"https://evil.example/", "", false}, {"file://", "", false}, {"", "", false},
		{"https://EVIL.example", "", false}, {"com.example.app://x", "", false},
	} {
		if got := origins.Allows(t.Context(), tc.origin, tc.client); got != tc.want {
			t.Errorf("%q for %q: %v", tc.origin, tc.client, got)
		}
	}
	a.docs.err = broker.ErrUpstreamUnavailable
	if origins.Allows(t.Context(), "https://app.example.com", appURL) {
		t.Error("an origin is allowed without the document")
	}
	none := a.with(t, func(c *oauthclient.Config) { c.Documents, c.RegistrationPolicy = nil, broker.ClientPolicy{} }).svc.Origins()
	if none.Allows(t.Context(), "https://evil.example", "") || !none.Allows(t.Context(), "https://page.example", "") {
		t.Error("without clients that describe themselves, only the clients' origins are allowed")
	}
}
