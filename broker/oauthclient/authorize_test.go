package oauthclient_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/credential"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/oauthclient"
	"tokenbroker/broker/operator"
	"tokenbroker/store"
)

const (
	webRedirect    = "https://web.test/callback"
	nativeRedirect = "http://127.0.0.1/callback"
	challenge      = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
	apiURI         = "https://api.test/"
)

// authorizer is the authorization endpoint's use cases, with the clients web (confidential), native (public), first (public,
// first party), machine (without the code grant) and gone (removed).
type authorizer struct {
	*brokertest.Harness
	svc    *oauthclient.Service
	tokens fakeTokens
	cfg    oauthclient.Config
}

// fakeTokens are the claims of access and id tokens by the tokens' text.
type fakeTokens map[string]map[string]any

func (f fakeTokens) Verify(_ context.Context, token string) (json.RawMessage, error) {
	raw, ok := f.VerifyIDToken(context.Background(), token)
	if !ok {
		return nil, &broker.Error{Code: broker.CodeInvalidToken, Message: "no such token"}
	}
	return raw, nil
}

func (f fakeTokens) VerifyIDToken(_ context.Context, token string) (json.RawMessage, bool) {
	claims, ok := f[token]
	raw, _ := json.Marshal(claims)
	return raw, ok
}

func newAuthorizer(t *testing.T, change ...func(*oauthclient.Config)) *authorizer {
	t.Helper()
	return authorizerOn(t, brokertest.Start(t), change...)
}

func authorizerOn(t *testing.T, h *brokertest.Harness, change ...func(*oauthclient.Config)) *authorizer {
	t.Helper()
	a := &authorizer{Harness: h, tokens: fakeTokens{}}
	code := []string{broker.GrantAuthorizationCode, broker.GrantRefreshToken}
	scopes := strings.Fields("openid profile email phone address groups offline_access hello:read hello:write")
	for _, client := range []directory.ClientRecord{
		{ID: "web", Name: "The Web", SecretHash: []byte("s"), Grants: code, RedirectURIs: []string{webRedirect}, PostLogoutURIs: []string{"https://web.test/", "https://web.test/out?from=us"}, DefaultScopes: []string{"hello:read"}},
		{ID: "native", Grants: code, RedirectURIs: []string{nativeRedirect}, Scopes: scopes[:7]},
		{ID: "first", Grants: code, RedirectURIs: []string{nativeRedirect}, FirstParty: true},
		{ID: "once", SecretHash: []byte("s"), Grants: code[:1], RedirectURIs: []string{webRedirect}, FirstParty: true},
		{ID: "machine", SecretHash: []byte("s"), Grants: []string{broker.GrantClientCredentials}, RedirectURIs: []string{webRedirect}},
		{ID: "narrow", SecretHash: []byte("s"), Grants: code, RedirectURIs: []string{webRedirect}, FirstParty: true, Scopes: []string{"openid", "email", "hello:read"}, Audiences: []string{"other-api"}},
		{ID: "gone", SecretHash: []byte("s"), Grants: code, RedirectURIs: []string{webRedirect}, Removed: true},
	} {
		client.V = directory.RecordVersion
		if client.Scopes == nil {
			client.Scopes = scopes
		}
		raw, err := json.Marshal(client)
		if err != nil {
			t.Fatal(err)
		}
		a.Put(t, directory.ClientKey(client.ID), string(raw))
	}
	cfg := oauthclient.Config{
		Path: a.Path, Store: a.Store, Signer: brokertest.Signer{}, Secrets: brokertest.Secrets{}, Clock: a.Clock,
		AccessTokens: a.tokens, IDTokens: a.tokens, Issuer: "http://issuer.test", Audience: []string{"demo-api", "more-api"},
		Resources: map[string]string{"demo-api": apiURI, "more-api": "urn:more", "other-api": "urn:other"}, Policy: brokertest.Policy,
		Logger: slog.New(slog.NewTextHandler(a.Log, nil)),
	}
	for _, c := range change {
		c(&cfg)
	}
	a.svc, a.cfg = oauthclient.New(cfg), cfg
	return a
}

// request returns a valid request of the client, with pairs of names and values added or, if the value is empty, removed.
func request(client string, pairs ...string) url.Values {
	params := url.Values{
		"client_id": {client}, "redirect_uri": {webRedirect}, "response_type": {"code"}, "scope": {"openid hello:read"}, "state": {"s t"}, "nonce": {"n"},
		"code_challenge": {challenge}, "code_challenge_method": {"S256"},
	}
	if client == "native" || client == "first" {
		params.Set("redirect_uri", "http://127.0.0.1:4711/callback")
	}
	for i := 0; i < len(pairs); i += 2 {
		if params.Set(pairs[i], pairs[i+1]); pairs[i+1] == "" {
			params.Del(pairs[i])
		}
	}
	return params
}

func (a *authorizer) authorize(t *testing.T, params url.Values, cookie string) *broker.Authorization {
	t.Helper()
	got, err := a.svc.Authorize(t.Context(), broker.AuthorizationRequest{Params: params, RefreshToken: cookie}, brokertest.Request)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func (a *authorizer) consent(t *testing.T, params url.Values, grant *broker.Grant, allow bool, scopes ...string) *broker.Authorization {
	t.Helper()
	got, err := a.svc.Consent(t.Context(), broker.AuthorizationRequest{Params: params, RefreshToken: grant.RefreshToken},
		broker.ConsentDecision{Allow: allow, CSRFToken: grant.CSRFToken, Scopes: scopes}, brokertest.Request)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// wantRefusal fails the test unless the answer is that error for the redirect URI, with iss and the state, and nothing else.
func wantRefusal(t *testing.T, got *broker.Authorization, params url.Values, code broker.Code) {
	t.Helper()
	want := url.Values{"error": {string(code)}, "iss": {"http://issuer.test"}}
	if state := params["state"]; len(state) == 1 && state[0] != "" {
		want["state"] = state
	}
	if got.Step != broker.StepRedirect || got.RedirectURI != params.Get("redirect_uri") {
		t.Fatalf("got %+v, want a redirect with %s", got, code)
	}
	if got.Answer.Get("error_description") == "" || len(got.Answer.Get("error_description")) > 200 {
		t.Errorf("description %q", got.Answer.Get("error_description"))
	}
	answer := maps.Clone(got.Answer)
	answer.Del("error_description")
	if !reflect.DeepEqual(answer, want) {
		t.Fatalf("got %v, want %v", answer, want)
	}
	if got.Continue != "" || got.CSRFToken != "" {
		t.Errorf("the refusal has more: %+v", got)
	}
}

func wantStep(t *testing.T, got *broker.Authorization, step broker.AuthorizationStep) {
	t.Helper()
	if got.Step != step || step != broker.StepRedirect && len(got.Answer) > 0 || step == broker.StepRedirect && got.Answer.Get("code") == "" {
		t.Fatalf("got %+v, want the step %s", got, step)
	}
}

// codeOf returns the content of the code in the answer.
func (a *authorizer) codeOf(t *testing.T, got *broker.Authorization) credential.AuthorizationCode {
	t.Helper()
	wantStep(t, got, broker.StepRedirect)
	code, expired, err := credential.OpenAuthorizationCode(got.Answer.Get("code"), brokertest.Secrets{}, a.Clock.Now())
	if err != nil || expired {
		t.Fatalf("code: expired %v, %v", expired, err)
	}
	return code
}

func TestAnAnsweredRequestHasACodeForTheGrant(t *testing.T) {
	a := newAuthorizer(t)
	session := a.MustSignIn(t)
	params := request("first", "scope", "openid offline_access hello:read", "claims", `{"userinfo":{"email":null},"id_token":{"name":{"essential":true}}}`)
	got := a.authorize(t, params, session.RefreshToken)
	if want := (url.Values{"code": got.Answer["code"], "state": {"s t"}, "iss": {"http://issuer.test"}}); !reflect.DeepEqual(got.Answer, want) {
		t.Errorf("answer %v, want %v", got.Answer, want)
	}
	code := a.codeOf(t, got)
	want := credential.AuthorizationCode{
		UID: session.UID, SID: code.SID, BrowserSID: session.SID, ClientID: "first", RedirectURI: "http://127.0.0.1:4711/callback", Challenge: challenge, Nonce: "n",
		Scopes: []string{"openid", "offline_access", "hello:read"}, Audience: []string{"demo-api", "more-api"}, Offline: true,
		UserInfoClaims: []string{"email"}, IDTokenClaims: []string{"name"}, ExpiresAt: a.Clock.Now().Add(time.Minute),
	}
	if !reflect.DeepEqual(code, want) {
		t.Errorf("code %+v, want %+v", code, want)
	}
	if _, ok := broker.ParseID(code.SID); !ok || code.SID == session.SID {
		t.Errorf("sid %q", code.SID)
	}
	if again := a.codeOf(t, a.authorize(t, params, session.RefreshToken)); again.SID == code.SID {
		t.Error("two authorizations share a grant")
	}
}

// OAuth 2.1 §4.1.2.1: without a valid client and redirect URI, the user is informed and never redirected.
func TestOAuth21Section4121NoRedirectToAnUnregisteredURI(t *testing.T) {
	a := newAuthorizer(t)
	session := a.MustSignIn(t)
	refused := map[string]url.Values{
		"no client":        request("web", "client_id", ""),
		"unknown client":   request("nobody"),
		"removed client":   request("gone"),
		"long client":      request(strings.Repeat("x", 5000)),
		"client as key":    request("web\x00"),
		"no redirect URI":  request("web", "redirect_uri", ""),
		"repeated client":  {"client_id": {"web", "web"}, "redirect_uri": {webRedirect}},
		"repeated URI":     {"client_id": {"web"}, "redirect_uri": {webRedirect, webRedirect}},
		"another client's": request("web", "redirect_uri", nativeRedirect),
		"nothing":          {},
	}
	for _, uri := range []string{
		"https://evil.test/callback", "https://WEB.test/callback", "https://web.test/callback/", "https://web.test/callback?x=1", "https://web.test/callback#x",
		"https://web.test:443/callback", "https://web.test.evil.test/callback", "https://user@web.test/callback", "https://web.test/%63allback",
		"http://web.test/callback", "https://web.test/callback/../evil", "//web.test/callback", "/callback", "https:/web.test/callback", "https://web.test/callback ",
		"https://web.test/callback\r\nSet-Cookie: a=b", "javascript:alert(1)//https://web.test/callback", "*", "https://*.test/callback", "https://web.test",
	} {
		refused[uri] = request("web", "redirect_uri", uri)
	}
	for name, params := range refused {
		for _, fault := range []url.Values{{}, {"response_type": {"token"}}, {"request": {"x"}}, {"prompt": {"none"}}} {
			params := maps.Clone(params)
			maps.Copy(params, fault)
			for _, cookie := range []string{"", session.RefreshToken} {
				got, err := a.svc.Authorize(t.Context(), broker.AuthorizationRequest{Params: params, RefreshToken: cookie}, brokertest.Request)
				if app := brokertest.WantCode(t, err, broker.CodeInvalidRedirect); got != nil || strings.Contains(app.Message, "evil") {
					t.Errorf("%s: %+v, %v", name, got, err)
				}
			}
		}
	}
}

// The operator learns why a request was refused with a page, and the log has no URI and nothing that cannot be a client id.
func TestARefusalOnAPageIsAudited(t *testing.T) {
	a := newAuthorizer(t)
	for _, c := range []struct {
		params url.Values
		want   string
	}{
		{request("nobody"), `event=authorization_refused addr=192.0.2.1 request_id=r client=nobody refusal=invalid_redirect reason="The client is unknown."`},
		{request("web", "redirect_uri", "https://evil.test/?secret"), `client=web refusal=invalid_redirect reason="The redirect URI is not registered for the client."`},
		{request("web", "redirect_uri", ""), `client=web refusal=invalid_redirect reason="The parameter redirect_uri is missing."`},
		{request("evil id"), `request_id=r refusal=invalid_redirect reason="The client is unknown."`},
		{request(strings.Repeat("evil", 200)), `request_id=r refusal=invalid_redirect reason="The client is unknown."`},
	} {
		a.Log.Reset()
		_, err := a.svc.Authorize(t.Context(), broker.AuthorizationRequest{Params: c.params}, broker.Request{Addr: "192.0.2.1", ID: "r"})
		brokertest.WantCode(t, err, broker.CodeInvalidRedirect)
		if log := a.Log.String(); !strings.Contains(log, c.want) || strings.Contains(log, "evil") {
			t.Errorf("the log: %s, want %s", log, c.want)
		}
	}
	for want, in := range map[string]broker.EndSessionRequest{
		`event=log_out_refused addr=192.0.2.1 request_id=r client=web refusal=invalid_redirect reason="post_logout_redirect_uri is not registered for the client."`: {ClientID: "web", PostLogoutURI: "https://evil.test/?secret"},
		`request_id=r client=nobody refusal=invalid_redirect reason="The client is unknown."`:                                                                       {ClientID: "nobody", PostLogoutURI: "https://evil.test/"},
		`request_id=r refusal=invalid_redirect reason="The client is unknown."`:                                                                                     {ClientID: "evil id", PostLogoutURI: "https://evil.test/"},
	} {
		a.Log.Reset()
		_, err := a.svc.EndSession(t.Context(), in, broker.Request{Addr: "192.0.2.1", ID: "r"})
		brokertest.WantCode(t, err, broker.CodeInvalidRedirect)
		if log := a.Log.String(); !strings.Contains(log, want) || strings.Contains(log, "evil") {
			t.Errorf("the log: %s, want %s", log, want)
		}
	}
}

// Every other refusal goes to the redirect URI, also of a user who is signed in, and in the order of the checks.
func TestOAuth21Section4121ErrorsGoToTheRedirectURI(t *testing.T) {
	a := newAuthorizer(t)
	session := a.MustSignIn(t)
	repeated := func(name string, values ...string) url.Values {
		params := request("web")
		params[name] = values
		return params
	}
	for _, c := range []struct {
		name   string
		params url.Values
		want   broker.Code
	}{
		{"repeated scope", repeated("scope", "openid", "openid"), broker.CodeInvalidRequest},
		{"repeated state", repeated("state", "a", "a"), broker.CodeInvalidRequest},
		{"repeated nonce", repeated("nonce", "a", ""), broker.CodeInvalidRequest},
		{"repeated response_mode", repeated("response_mode", "form_post", "form_post"), broker.CodeInvalidRequest},
		{"repeated tb_continue", repeated(broker.ContinueParam, "a", "b"), broker.CodeInvalidRequest},
		{"client without the grant", request("machine"), broker.CodeUnauthorizedClient},
		{"no response_type", request("web", "response_type", ""), broker.CodeInvalidRequest},
		{"implicit", request("web", "response_type", "token"), broker.CodeUnsupportedResponseType},
		{"hybrid", request("web", "response_type", "code id_token"), broker.CodeUnsupportedResponseType},
		{"upper case", request("web", "response_type", "CODE"), broker.CodeUnsupportedResponseType},
		{"fragment", request("web", "response_mode", "fragment"), broker.CodeInvalidRequest},
		{"request object", request("web", "request", "e30."), broker.CodeRequestNotSupported},
		{"request_uri", request("web", "request_uri", "https://web.test/r"), broker.CodeRequestURINotSupported},
		{"no PKCE", request("web", "code_challenge", "", "code_challenge_method", ""), broker.CodeInvalidRequest},
		{"no challenge", request("web", "code_challenge", ""), broker.CodeInvalidRequest},
		{"no method", request("web", "code_challenge_method", ""), broker.CodeInvalidRequest},
		{"plain", request("web", "code_challenge_method", "plain"), broker.CodeInvalidRequest},
		{"s256", request("web", "code_challenge_method", "s256"), broker.CodeInvalidRequest},
		{"short challenge", request("web", "code_challenge", challenge[1:]), broker.CodeInvalidRequest},
		{"long challenge", request("web", "code_challenge", challenge+"A"), broker.CodeInvalidRequest},
		{"challenge with padding", request("web", "code_challenge", challenge[1:]+"="), broker.CodeInvalidRequest},
		{"unknown scope", request("web", "scope", "root"), broker.CodeInvalidScope},
		{"malformed scope", request("web", "scope", "openid \"x\""), broker.CodeInvalidScope},
		{"another client's scope", request("narrow", "scope", "hello:write"), broker.CodeInvalidScope},
		{"no default scopes", request("narrow", "scope", ""), broker.CodeInvalidScope},
		{"only offline_access, without refresh", request("once", "scope", "offline_access"), broker.CodeInvalidScope},
		{"unknown resource", request("web", "resource", "https://evil.test/"), broker.CodeInvalidTarget},
		{"resource of another audience", request("web", "resource", "urn:other"), broker.CodeInvalidTarget},
		{"audience as resource", request("web", "resource", "demo-api"), broker.CodeInvalidTarget},
		{"relative resource", request("web", "resource", "/api"), broker.CodeInvalidTarget},
		{"resource with a fragment", request("web", "resource", apiURI+"#x"), broker.CodeInvalidTarget},
		{"known and unknown resource", repeated("resource", apiURI, "https://evil.test/"), broker.CodeInvalidTarget},
		{"nine resources", repeated("resource", slices.Repeat([]string{apiURI}, 9)...), broker.CodeInvalidTarget},
		{"prompt none and login", request("web", "prompt", "none login"), broker.CodeInvalidRequest},
		{"prompt none and select_account", request("web", "prompt", "select_account none"), broker.CodeInvalidRequest},
		{"unknown prompt", request("web", "prompt", "create"), broker.CodeInvalidRequest},
		{"negative max_age", request("web", "max_age", "-1"), broker.CodeInvalidRequest},
		{"signed max_age", request("web", "max_age", "+1"), broker.CodeInvalidRequest},
		{"max_age that is no number", request("web", "max_age", "1h"), broker.CodeInvalidRequest},
		{"huge max_age", request("web", "max_age", "99999999999999999999"), broker.CodeInvalidRequest},
		{"claims that are no JSON", request("web", "claims", "{"), broker.CodeInvalidRequest},
		{"claims that are no object", request("web", "claims", "[]"), broker.CodeInvalidRequest},
		{"claims twice", request("web", "claims", `{"userinfo":{},"userinfo":{}}`), broker.CodeInvalidRequest},
		{"userinfo claims that are no object", request("web", "claims", `{"userinfo":null}`), broker.CodeInvalidRequest},
		{"a claim that is no object", request("web", "claims", `{"userinfo":{"email":1}}`), broker.CodeInvalidRequest},
		{"essential that is no boolean", request("web", "claims", `{"id_token":{"email":{"essential":"yes"}}}`), broker.CodeInvalidRequest},
		{"deep claims", request("web", "claims", `{"userinfo":{"email":`+strings.Repeat("[", 500)+strings.Repeat("]", 500)+`}}`), broker.CodeInvalidRequest},
		{"long nonce", request("web", "nonce", strings.Repeat("n", 513)), broker.CodeInvalidRequest},
		{"long request", request("web", "ui_locales", strings.Repeat("n", 2048)), broker.CodeInvalidRequest},
		{"long unknown parameter", request("web", "x", strings.Repeat("n", 2048)), broker.CodeInvalidRequest},
		{"long scope", request("web", "scope", "openid "+strings.Repeat("n", 5000)), broker.CodeInvalidRequest},
		{"long silent request", request("web", "prompt", "none", "id_token_hint", strings.Repeat("n", 16<<10)), broker.CodeInvalidRequest},
		{"control character", request("web", "login_hint", "a\x00b"), broker.CodeInvalidRequest},
		{"line break", request("web", "nonce", "a\r\nb"), broker.CodeInvalidRequest},
		{"not UTF-8", request("web", "display", "\xff"), broker.CodeInvalidRequest},
		{"id_token_hint of another issuer", request("web", "id_token_hint", "forged"), broker.CodeInvalidRequest},
		// The order of the checks.
		{"two faults", request("web", "response_type", "token", "code_challenge", "", "scope", "root"), broker.CodeUnsupportedResponseType},
		{"PKCE before scope", request("web", "code_challenge", "", "scope", "root"), broker.CodeInvalidRequest},
		{"scope before resource", request("web", "scope", "root", "resource", "x"), broker.CodeInvalidScope},
	} {
		for who, cookie := range map[string]string{"signed out": "", "signed in": session.RefreshToken} {
			t.Run(c.name+", "+who, func(t *testing.T) {
				wantRefusal(t, a.authorize(t, c.params, cookie), c.params, c.want)
				got, err := a.svc.Consent(t.Context(), broker.AuthorizationRequest{Params: c.params, RefreshToken: cookie},
					broker.ConsentDecision{Allow: true, CSRFToken: session.CSRFToken, Scopes: []string{"openid", "hello:read"}}, brokertest.Request)
				if err != nil {
					t.Fatal(err)
				}
				wantRefusal(t, got, c.params, c.want)
			})
		}
	}
}

// A code that was issued before an operator revoked the client's tokens is refused, and a later one is not.
func TestTheCodeHasTheEpochOfTheClient(t *testing.T) {
	a := newAuthorizer(t)
	if _, err := a.RevokeClient(t.Context(), "first", "revoked", brokertest.Request); err != nil {
		t.Fatal(err)
	}
	client, _, err := directory.ReadClient(t.Context(), a.Store, "first")
	if err != nil || client.Epoch == 0 {
		t.Fatalf("client %+v, %v", client, err)
	}
	if code := a.codeOf(t, a.authorize(t, request("first"), a.MustSignIn(t).RefreshToken)); code.CEP != client.Epoch {
		t.Errorf("cep %d, want %d", code.CEP, client.Epoch)
	}
}

// An id token of a user with many groups fits into a request that no page carries along.
func TestALongIDTokenHintWithPromptNone(t *testing.T) {
	a := newAuthorizer(t)
	session := a.MustSignIn(t)
	hint := strings.Repeat("h", 15<<10)
	a.tokens[hint] = map[string]any{"sub": session.UID, "aud": "first"}
	wantStep(t, a.authorize(t, request("first", "prompt", "none", "id_token_hint", hint), session.RefreshToken), broker.StepRedirect)
	params := request("first", "id_token_hint", hint)
	wantRefusal(t, a.authorize(t, params, session.RefreshToken), params, broker.CodeInvalidRequest)
}

func TestAStateThatDoesNotPrintIsNotReturned(t *testing.T) {
	a := newAuthorizer(t)
	for _, state := range []string{"a\nb", "\xff", "\x00"} {
		got := a.authorize(t, request("web", "state", state), "")
		if got.Answer.Get("error") != "invalid_request" || got.Answer.Has("state") {
			t.Errorf("state %q: %v", state, got.Answer)
		}
	}
}

func TestFormPostIsUsedForAnswersAndErrors(t *testing.T) {
	a := newAuthorizer(t)
	session := a.MustSignIn(t)
	for _, params := range []url.Values{request("first", "response_mode", "form_post"), request("first", "response_mode", "form_post", "scope", "root")} {
		if got := a.authorize(t, params, session.RefreshToken); got.Step != broker.StepRedirect || got.ResponseMode != "form_post" {
			t.Errorf("got %+v", got)
		}
	}
	if got := a.authorize(t, request("first"), session.RefreshToken); got.ResponseMode != "query" {
		t.Errorf("got %+v", got)
	}
}

func TestScopesThatTheClientMayNotUseAreDropped(t *testing.T) {
	a := newAuthorizer(t)
	session := a.MustSignIn(t)
	for _, c := range []struct{ client, scope, want string }{
		{"narrow", "openid root hello:write email openid", "openid email"},
		{"once", "openid offline_access", "openid"},
		{"first", "openid offline_access", "openid offline_access"},
		{"first", " openid  hello:read ", "openid hello:read"},
	} {
		if got := a.codeOf(t, a.authorize(t, request(c.client, "scope", c.scope), session.RefreshToken)); strings.Join(got.Scopes, " ") != c.want {
			t.Errorf("%s, %q: got %v", c.client, c.scope, got.Scopes)
		}
	}
	if got := a.authorize(t, request("web", "scope", ""), session.RefreshToken); strings.Join(got.Scopes, " ") != "hello:read" {
		t.Errorf("without a scope: %v", got.Scopes)
	}
}

// RFC 8707 §2: the audience is restricted to the requested resources.
func TestRFC8707Section2ResourcesRestrictTheAudience(t *testing.T) {
	a := newAuthorizer(t)
	session := a.MustSignIn(t)
	for _, c := range []struct {
		client, scope string
		resources     []string
		want          []string
	}{
		{"first", "openid hello:read", nil, []string{"demo-api", "more-api"}},
		{"first", "openid hello:read", []string{apiURI}, []string{"demo-api", apiURI}},
		{"first", "hello:read", []string{"urn:more", apiURI, apiURI}, []string{"more-api", "demo-api", "urn:more", apiURI}},
		{"first", "openid profile email offline_access", nil, []string{"http://issuer.test"}},
		{"first", "openid", []string{apiURI}, []string{"demo-api", apiURI}},
		{"first", "hello:read", []string{""}, []string{"demo-api", "more-api"}},
		{"narrow", "hello:read", nil, []string{"other-api"}},
	} {
		params := request(c.client, "scope", c.scope)
		params["resource"] = c.resources
		if got := a.codeOf(t, a.authorize(t, params, session.RefreshToken)); !reflect.DeepEqual(got.Audience, c.want) {
			t.Errorf("%s %q %v: got %v, want %v", c.client, c.scope, c.resources, got.Audience, c.want)
		}
	}
}

func TestOpenIDConnectCoreSection55ClaimsThatTheClientMayAskFor(t *testing.T) {
	a := newAuthorizer(t)
	session := a.MustSignIn(t)
	claims := "{\n\t\"userinfo\": {\"email\": null, \"phone_number\": null, \"roles\": null}, \"id_token\": {\"email_verified\": {\"essential\": true}, \"name\": null}, \"other\": 1}"
	code := a.codeOf(t, a.authorize(t, request("narrow", "claims", claims), session.RefreshToken))
	if !reflect.DeepEqual(code.UserInfoClaims, []string{"email"}) || !reflect.DeepEqual(code.IDTokenClaims, []string{"email_verified"}) || !reflect.DeepEqual(code.Scopes, []string{"openid", "hello:read"}) {
		t.Errorf("code %+v", code)
	}
	code = a.codeOf(t, a.authorize(t, request("narrow", "claims", claims, "scope", "hello:read"), session.RefreshToken))
	if code.UserInfoClaims != nil || code.IDTokenClaims != nil {
		t.Errorf("without openid: %+v", code)
	}
	got := a.authorize(t, request("web", "claims", `{"userinfo":{"email":null,"email_verified":null}}`), session.RefreshToken)
	if want := []string{"openid", "hello:read", "email"}; !reflect.DeepEqual(got.Scopes, want) {
		t.Errorf("the consent page names %v, want %v", got.Scopes, want)
	}
}

func TestASignInIsAskedForWithoutASession(t *testing.T) {
	a := newAuthorizer(t)
	ended, revoked := a.MustSignIn(t), a.MustSignIn(t)
	if _, err := a.LogOff(t.Context(), ended.RefreshToken, ended.CSRFToken, brokertest.Request); err != nil {
		t.Fatal(err)
	}
	if _, err := a.RevokeUser(t.Context(), "ada", "revoked", brokertest.Request); err != nil {
		t.Fatal(err)
	}
	for name, cookie := range map[string]string{
		"no cookie": "", "damaged": ended.RefreshToken[:40] + "A" + ended.RefreshToken[41:], "ended": ended.RefreshToken, "revoked": revoked.RefreshToken,
	} {
		got := a.authorize(t, request("first", "login_hint", "ada"), cookie)
		wantStep(t, got, broker.StepSignIn)
		if got.Continue == "" || got.LoginHint != "ada" || got.ClientName != "first" || got.UserName != "" {
			t.Errorf("%s: %+v", name, got)
		}
		params := request("first", "prompt", "none")
		wantRefusal(t, a.authorize(t, params, cookie), params, broker.CodeLoginRequired)
	}
}

func TestATokenWithinTheGraceCountsAndAnOlderOneDoesNot(t *testing.T) {
	a := newAuthorizer(t)
	first := a.MustSignIn(t)
	a.Rotate(t, first, brokertest.Request)
	wantStep(t, a.authorize(t, request("first"), first.RefreshToken), broker.StepRedirect)
	a.Clock.Advance(brokertest.Policy.Grace)
	wantStep(t, a.authorize(t, request("first"), first.RefreshToken), broker.StepSignIn)
	if n := len(a.Ledger.Events()); n != 0 {
		t.Errorf("an authorization request recorded %d events", n)
	}
}

// continued returns the request as it is repeated after the sign-in page.
func continued(params url.Values, page *broker.Authorization) url.Values {
	next := maps.Clone(params)
	next.Set(broker.ContinueParam, page.Continue)
	return next
}

// OpenID Connect Core 1.0 §3.1.2.1: prompt=login, select_account and max_age need a new authentication.
func TestOpenIDConnectCoreSection3121NewAuthentication(t *testing.T) {
	for _, c := range []struct{ name, value string }{{"prompt", "login"}, {"prompt", "select_account"}, {"max_age", "60"}, {"max_age", "0"}} {
		t.Run(c.name+" "+c.value, func(t *testing.T) {
			a := newAuthorizer(t)
			old := a.MustSignIn(t)
			a.Clock.Advance(61 * time.Second)
			params := request("first", c.name, c.value)
			page := a.authorize(t, params, old.RefreshToken)
			wantStep(t, page, broker.StepSignIn)
			if page.UserName != "ada" {
				t.Errorf("user %q", page.UserName)
			}
			// The session that the browser had does not count, however often the request is repeated.
			wantStep(t, a.authorize(t, continued(params, page), old.RefreshToken), broker.StepSignIn)
			wantStep(t, a.authorize(t, continued(params, &broker.Authorization{Continue: "forged"}), old.RefreshToken), broker.StepSignIn)
			fresh := a.MustSignIn(t)
			wantStep(t, a.authorize(t, continued(params, page), fresh.RefreshToken), broker.StepRedirect)
			// It counts for this request only.
			wantStep(t, a.authorize(t, continued(request("first", c.name, c.value, "nonce", "other"), page), old.RefreshToken), broker.StepSignIn)
			// And only for ten minutes.
			a.Clock.Advance(10 * time.Minute)
			wantStep(t, a.authorize(t, continued(params, page), fresh.RefreshToken), broker.StepSignIn)
		})
	}
}

// The session that the browser had when it got the page does not count, however young it is. Another one counts, also if the clock
// of the broker that opened it is behind.
func TestOnlyAnotherSessionCountsForTheSignIn(t *testing.T) {
	a := newAuthorizer(t)
	old := a.MustSignIn(t)
	for _, params := range []url.Values{request("first", "prompt", "login"), request("first", "max_age", "0")} {
		page := a.authorize(t, params, old.RefreshToken)
		wantStep(t, page, broker.StepSignIn)
		wantStep(t, a.authorize(t, continued(params, page), old.RefreshToken), broker.StepSignIn)
		a.Clock.Advance(-3 * time.Second)
		wantStep(t, a.authorize(t, continued(params, page), a.MustSignIn(t).RefreshToken), broker.StepRedirect)
	}
}

// A session from before the page was shown is not a sign-in for the request, also if it is not the browser's present one.
func TestASessionFromBeforeThePageDoesNotCount(t *testing.T) {
	a := newAuthorizer(t)
	other, old := a.MustSignIn(t), a.MustSignIn(t)
	a.Clock.Advance(time.Minute)
	params := request("first", "prompt", "login")
	page := a.authorize(t, params, old.RefreshToken)
	wantStep(t, a.authorize(t, continued(params, page), other.RefreshToken), broker.StepSignIn)
}

func TestTheSignInPageHasTheHintsForProviders(t *testing.T) {
	a := newAuthorizer(t)
	got := a.authorize(t, request("first", "prompt", "consent login", "max_age", "60", "login_hint", "ada", "acr_values", "a b"), "")
	if want := (broker.LoginHints{Prompt: "login", MaxAge: "60", LoginHint: "ada", ACRValues: "a b"}); got.Hints != want || got.LoginHint != "ada" {
		t.Errorf("hints %+v", got.Hints)
	}
	if got := a.authorize(t, request("first", "prompt", "select_account", "login_hint", strings.Repeat("a", 513)), ""); got.Hints != (broker.LoginHints{Prompt: "select_account"}) {
		t.Errorf("hints %+v", got.Hints)
	}
}

func TestMaxAgeThatIsNotExceededNeedsNoSignIn(t *testing.T) {
	a := newAuthorizer(t)
	session := a.MustSignIn(t)
	a.Clock.Advance(60 * time.Second)
	wantStep(t, a.authorize(t, request("first", "max_age", "60"), session.RefreshToken), broker.StepRedirect)
	params := request("first", "max_age", "59", "prompt", "none")
	wantRefusal(t, a.authorize(t, params, session.RefreshToken), params, broker.CodeLoginRequired)
}

// OpenID Connect Core 1.0 §3.1.2.2: an answer is only for the user whom the id_token_hint or the sub of the claims names.
func TestOpenIDConnectCoreSection3122OnlyTheRequestedUser(t *testing.T) {
	a := newAuthorizer(t)
	session := a.MustSignIn(t)
	if _, err := a.AddUser(t.Context(), operator.NewUser{Username: "bob", Password: "builder1"}, brokertest.Request); err != nil {
		t.Fatal(err)
	}
	bob, err := a.SignIn(t.Context(), "bob", "builder1", brokertest.Request)
	if err != nil {
		t.Fatal(err)
	}
	a.tokens["hint"] = map[string]any{"sub": session.UID, "sid": "gone", "aud": "first"}
	for _, params := range []url.Values{request("first", "id_token_hint", "hint"), request("first", "claims", `{"id_token":{"sub":{"value":"`+session.UID+`"}}}`)} {
		wantStep(t, a.authorize(t, params, session.RefreshToken), broker.StepRedirect)
		page := a.authorize(t, params, bob.RefreshToken)
		wantStep(t, page, broker.StepSignIn)
		silent := maps.Clone(params)
		silent.Set("prompt", "none")
		wantRefusal(t, a.authorize(t, silent, bob.RefreshToken), silent, broker.CodeLoginRequired)
		again, err := a.SignIn(t.Context(), "bob", "builder1", brokertest.Request)
		if err != nil {
			t.Fatal(err)
		}
		wantRefusal(t, a.authorize(t, continued(params, page), again.RefreshToken), params, broker.CodeLoginRequired)
	}
	both := request("first", "id_token_hint", "hint", "claims", `{"id_token":{"sub":{"value":"`+bob.UID+`"}}}`)
	wantRefusal(t, a.authorize(t, both, session.RefreshToken), both, broker.CodeInvalidRequest)
}

// OpenID Connect Core 1.0 §5.5.1.1: an essential acr that is not reached is a failed authentication.
func TestOpenIDConnectCoreSection5511EssentialACR(t *testing.T) {
	a := newAuthorizer(t)
	session := a.MustSignIn(t)
	wantStep(t, a.authorize(t, request("first", "claims", `{"id_token":{"acr":{"essential":true,"values":["x","urn:tokenbroker:acr:password"]}}}`), session.RefreshToken), broker.StepRedirect)
	wantStep(t, a.authorize(t, request("first", "claims", `{"id_token":{"acr":{"values":["mfa"]}}}`, "acr_values", "mfa"), session.RefreshToken), broker.StepRedirect)
	params := request("first", "claims", `{"id_token":{"acr":{"essential":true,"value":"mfa"}}}`)
	page := a.authorize(t, params, session.RefreshToken)
	wantStep(t, page, broker.StepSignIn)
	wantRefusal(t, a.authorize(t, continued(params, page), a.MustSignIn(t).RefreshToken), params, broker.CodeAccessDenied)
}

func TestOutdatedKeysRefuseEveryUseCase(t *testing.T) {
	outdated := &outdatedSecrets{}
	a := newAuthorizer(t, func(c *oauthclient.Config) { c.Secrets = outdated })
	in := broker.AuthorizationRequest{Params: request("first"), RefreshToken: a.MustSignIn(t).RefreshToken}
	for name, call := range map[string]func() error{
		"Authorize": func() error { _, err := a.svc.Authorize(t.Context(), in, brokertest.Request); return err },
		"Consent": func() error {
			_, err := a.svc.Consent(t.Context(), in, broker.ConsentDecision{Allow: true}, brokertest.Request)
			return err
		},
		"EndSession": func() error {
			_, err := a.svc.EndSession(t.Context(), broker.EndSessionRequest{}, brokertest.Request)
			return err
		},
		"UserInfo": func() error { _, err := a.svc.UserInfo(t.Context(), "token", brokertest.Request); return err },
	} {
		t.Run(name, func(t *testing.T) { brokertest.WantCode(t, call(), broker.CodeUnavailable) })
	}
}

// outdatedSecrets are keys that may lack newer ones.
type outdatedSecrets struct{ brokertest.Secrets }

func (outdatedSecrets) Outdated() error { return &broker.Error{Code: broker.CodeUnavailable} }

// Nothing is stored for authorization requests: neither for those that nobody completes nor for codes.
func TestTenThousandAuthorizationRequestsLeaveNothing(t *testing.T) {
	a := newAuthorizer(t)
	session := a.MustSignIn(t)
	before := records(t, a.Store)
	for i := range 10_000 {
		params := request([]string{"web", "first", "native"}[i%3], "state", strings.Repeat("s", i%500))
		cookie := ""
		if i%2 == 0 {
			cookie = session.RefreshToken
		}
		_ = a.authorize(t, params, cookie)
	}
	if after := records(t, a.Store); !reflect.DeepEqual(before, after) {
		t.Errorf("%d records before, %d after", len(before), len(after))
	}
}

// records returns the revisions of all records by their key.
func records(t *testing.T, r store.Reader) map[string]store.Revision {
	t.Helper()
	all := map[string]store.Revision{}
	after := ""
	for {
		page, err := r.List(t.Context(), "", after, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			return all
		}
		for _, rec := range page {
			all[rec.Key], after = rec.Revision, rec.Key
		}
	}
}
