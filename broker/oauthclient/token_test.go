package oauthclient_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/credential"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/oauthclient"
	"tokenbroker/broker/session"
	"tokenbroker/revocation"
	"tokenbroker/store"
)

// The verifier and the challenge of RFC 7636 appendix B.
const (
	codeVerifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	codeChallenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
	tokenRedirect = "https://app.test/cb"
	demoURI       = "https://demo.test/"
)

// tokenEndpoint is a broker with the clients app (confidential, all grants), spa (public), other (confidential, all grants), machine
// (client_credentials and exchange; audiences demo-api and orders) and bare (no grants). Their secrets are their ids.
type tokenEndpoint struct {
	*testing.T
	*brokertest.Harness
	svc   *oauthclient.Service
	audit *strings.Builder
	// browser is ada's session.
	browser *broker.Grant
}

var allGrants = []string{broker.GrantAuthorizationCode, broker.GrantRefreshToken, broker.GrantClientCredentials, broker.GrantTokenExchange}

func newTokenEndpoint(t *testing.T, change ...func(*oauthclient.Config)) *tokenEndpoint {
	t.Helper()
	return tokenEndpointOn(t, brokertest.Start(t), change...)
}

func tokenEndpointOn(t *testing.T, h *brokertest.Harness, change ...func(*oauthclient.Config)) *tokenEndpoint {
	t.Helper()
	e := &tokenEndpoint{T: t, Harness: h, audit: &strings.Builder{}}
	cfg := oauthclient.Config{
		Path: h.Path, Store: h.Store, Signer: brokertest.Signer{}, Secrets: brokertest.Secrets{}, Clock: h.Clock, AccessTokens: ownTokens{h},
		Issuer: "http://issuer.test", Audience: []string{"demo-api"}, Resources: map[string]string{"demo-api": demoURI, "orders": "https://orders.test/"},
		Policy: brokertest.Policy, Logger: slog.New(slog.DiscardHandler), Audit: slog.New(slog.NewTextHandler(e.audit, nil)),
	}
	for _, c := range change {
		c(&cfg)
	}
	e.svc = oauthclient.New(cfg)
	scopes := []string{"openid", "profile", "email", "groups", "offline_access", "hello:read", "hello:write"}
	for _, c := range []directory.ClientRecord{
		{ID: "app", Grants: allGrants, Scopes: scopes, DefaultScopes: []string{"hello:read"}, RedirectURIs: []string{tokenRedirect}},
		{ID: "other", Grants: allGrants, Scopes: scopes, DefaultScopes: []string{"hello:read"}, RedirectURIs: []string{tokenRedirect}},
		{ID: "spa", Grants: allGrants, Scopes: scopes, RedirectURIs: []string{tokenRedirect}},
		{ID: "machine", Grants: allGrants[2:], Scopes: []string{"openid", "hello:read", "orders:read"}, DefaultScopes: []string{"hello:read"}, Audiences: []string{"demo-api", "orders"}},
		{ID: "bare", Scopes: scopes},
	} {
		if c.ID != "spa" {
			sum := sha256.Sum256([]byte(c.ID))
			c.SecretHash = sum[:]
		}
		e.setClient(c)
	}
	e.browser = e.MustSignIn(t)
	return e
}

func (e *tokenEndpoint) setClient(c directory.ClientRecord) {
	e.Helper()
	c.V = directory.RecordVersion
	_, rev, err := directory.ReadClient(e.Context(), e.Store, c.ID)
	if err != nil {
		e.T.Fatal(err)
	}
	write, err := c.Write(rev)
	if err != nil {
		e.T.Fatal(err)
	}
	if errs, _, err := e.Path.Commit(e.Context(), store.Change{Writes: []store.Write{write}}); err != nil || errs[0] != nil {
		e.T.Fatal(errs, err)
	}
}

// changeClient changes the record of a client.
func (e *tokenEndpoint) changeClient(id string, change func(*directory.ClientRecord)) {
	e.Helper()
	c, _, err := directory.ReadClient(e.Context(), e.Store, id)
	if err != nil {
		e.T.Fatal(err)
	}
	change(&c)
	e.setClient(c)
}

// ownTokens verifies what brokertest.Signer signs.
type ownTokens struct{ h *brokertest.Harness }

func (o ownTokens) Verify(_ context.Context, token string) (json.RawMessage, error) {
	if token == "unavailable" {
		return nil, &broker.Error{Code: broker.CodeUnavailable, Message: "not now", RetryAfter: time.Second}
	}
	invalid := &broker.Error{Code: "token_invalid", Message: "The token is not a good one of this issuer."}
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return nil, invalid
	}
	var claims struct {
		JTI, SID string
		Exp      int64
	}
	if json.Unmarshal(raw, &claims) != nil || claims.JTI == "" {
		return nil, invalid
	}
	if claims.Exp <= o.h.Clock.Now().Unix() {
		return nil, &broker.Error{Code: "token_expired", Message: "The token has expired."}
	}
	if o.h.Ledger.Revoked(revocation.Subject{SID: claims.SID, JTI: claims.JTI}) {
		return nil, &broker.Error{Code: "token_revoked", Message: "The token was revoked."}
	}
	return raw, nil
}

// as returns the request of a client, which authenticates if it has a secret.
func as(id string, in broker.TokenRequest) broker.TokenRequest {
	in.Client = broker.ClientCredentials{ID: id}
	if id != "spa" {
		in.Client.Secrets = []string{id}
	}
	return in
}

func (e *tokenEndpoint) token(in broker.TokenRequest) (*broker.TokenAnswer, error) {
	return e.svc.Token(e.Context(), in, brokertest.Request)
}

func (e *tokenEndpoint) mustToken(in broker.TokenRequest) *broker.TokenAnswer {
	e.Helper()
	answer, err := e.token(in)
	if err != nil {
		e.Fatalf("%v; audit:\n%s", err, e.audit)
	}
	return answer
}

// refuses fails the test unless the request is refused with the code and exactly one audit line of it.
func (e *tokenEndpoint) refuses(in broker.TokenRequest, code broker.Code) {
	e.Helper()
	e.audit.Reset()
	answer, err := e.token(in)
	var app *broker.Error
	if !errors.As(err, &app) || app.Code != code || answer != nil {
		e.Errorf("answer %+v, %v; want %s", answer, err, code)
	}
	refused := 0
	for line := range strings.Lines(e.audit.String()) {
		if strings.Contains(line, " refusal="+string(code)) {
			refused++
		}
	}
	if refused != 1 {
		e.Errorf("%d lines of a refusal in the audit log:\n%s", refused, e.audit)
	}
}

// code returns a code of the client for ada's browser session. change may change it.
func (e *tokenEndpoint) code(client string, change ...func(*credential.AuthorizationCode)) broker.TokenRequest {
	e.Helper()
	code := credential.AuthorizationCode{
		UID: e.browser.UID, SID: broker.NewID().String(), BrowserSID: e.browser.SID, ClientID: client, RedirectURI: tokenRedirect, Challenge: codeChallenge,
		Nonce: "n1", Scopes: []string{"openid", "hello:read", "hello:write"}, Audience: []string{"demo-api"}, ExpiresAt: e.Clock.Now().Add(credential.CodeLife),
	}
	for _, c := range change {
		c(&code)
	}
	text, err := code.Seal(brokertest.Secrets{})
	if err != nil {
		e.T.Fatal(err)
	}
	return as(client, broker.TokenRequest{GrantType: broker.GrantAuthorizationCode, Code: text, RedirectURI: tokenRedirect, Verifier: codeVerifier})
}

func offline(c *credential.AuthorizationCode) {
	c.Offline, c.Scopes = true, append(c.Scopes, "offline_access")
}

func refreshing(client, token string) broker.TokenRequest {
	return as(client, broker.TokenRequest{GrantType: broker.GrantRefreshToken, RefreshToken: token})
}

// alive reports whether an access token is accepted.
func (e *tokenEndpoint) alive(token string) bool {
	_, err := ownTokens{e.Harness}.Verify(e.Context(), token)
	return err == nil
}

func (e *tokenEndpoint) claims(token string) map[string]any {
	e.Helper()
	return brokertest.Claims(e.T, token)
}

// state returns the record of a grant, or nil.
func (e *tokenEndpoint) state(sid string) *session.Session {
	e.Helper()
	st, err := e.Path.View(e.browser.UID).State(e.Context(), sid, "")
	if err != nil {
		e.T.Fatal(err)
	}
	return st.Session
}

func TestRFC6749Section52RefusalsOfTheTokenEndpoint(t *testing.T) {
	e := newTokenEndpoint(t)
	long := strings.Repeat("a", 70<<10)
	cc := broker.TokenRequest{GrantType: broker.GrantClientCredentials}
	with := func(change func(*broker.TokenRequest)) broker.TokenRequest {
		in := cc
		change(&in)
		return as("machine", in)
	}
	for name, tc := range map[string]struct {
		in   broker.TokenRequest
		want broker.Code
	}{
		"no grant type":                     {as("machine", broker.TokenRequest{}), broker.CodeInvalidRequest},
		"unknown grant type":                {as("machine", broker.TokenRequest{GrantType: "x"}), broker.CodeUnsupportedGrantType},
		"password":                          {as("machine", broker.TokenRequest{GrantType: "password", Unused: []string{"username", "password"}}), broker.CodeUnsupportedGrantType},
		"implicit":                          {as("machine", broker.TokenRequest{GrantType: "implicit"}), broker.CodeUnsupportedGrantType},
		"wrong secret":                      {broker.TokenRequest{GrantType: broker.GrantClientCredentials, Client: broker.ClientCredentials{ID: "machine", Secrets: []string{"x"}}}, broker.CodeInvalidClient},
		"public client, client_credentials": {as("spa", cc), broker.CodeUnauthorizedClient},
		"public client, token exchange":     {as("spa", broker.TokenRequest{GrantType: broker.GrantTokenExchange}), broker.CodeUnauthorizedClient},
		"a grant that the client lacks":     {as("bare", cc), broker.CodeUnauthorizedClient},
		"code at client_credentials":        {with(func(in *broker.TokenRequest) { in.Code = "c" }), broker.CodeInvalidRequest},
		"refresh token":                     {with(func(in *broker.TokenRequest) { in.RefreshToken = "c" }), broker.CodeInvalidRequest},
		"subject token":                     {with(func(in *broker.TokenRequest) { in.SubjectToken = "c" }), broker.CodeInvalidRequest},
		"actor token type":                  {with(func(in *broker.TokenRequest) { in.ActorTokenType = "c" }), broker.CodeInvalidRequest},
		"password among the others":         {with(func(in *broker.TokenRequest) { in.Unused = []string{"password"} }), broker.CodeInvalidRequest},
		"long scope":                        {with(func(in *broker.TokenRequest) { in.Scope = long }), broker.CodeInvalidRequest},
		"long audience":                     {with(func(in *broker.TokenRequest) { in.Audiences = []string{long} }), broker.CodeInvalidRequest},
		"many resources":                    {with(func(in *broker.TokenRequest) { in.Resources = make([]string, 17) }), broker.CodeInvalidRequest},
		"malformed scope":                   {with(func(in *broker.TokenRequest) { in.Scope = "hello:read\x01" }), broker.CodeInvalidScope},
		"only scopes of others":             {with(func(in *broker.TokenRequest) { in.Scope = "hello:write admin" }), broker.CodeInvalidScope},
		"only scopes of OpenID Connect":     {with(func(in *broker.TokenRequest) { in.Scope = "openid" }), broker.CodeInvalidScope},
		"unknown resource":                  {with(func(in *broker.TokenRequest) { in.Resources = []string{"https://evil.test/"} }), broker.CodeInvalidTarget},
		"an audience as resource":           {with(func(in *broker.TokenRequest) { in.Resources = []string{"demo-api"} }), broker.CodeInvalidTarget},
		"a resource as audience":            {with(func(in *broker.TokenRequest) { in.Audiences = []string{demoURI} }), broker.CodeInvalidTarget},
		"an empty resource":                 {with(func(in *broker.TokenRequest) { in.Resources = []string{""} }), broker.CodeInvalidTarget},
		"an audience of another client":     {as("app", broker.TokenRequest{GrantType: broker.GrantClientCredentials, Audiences: []string{"orders"}}), broker.CodeInvalidTarget},
	} {
		t.Run(name, func(t *testing.T) {
			e.T = t
			e.refuses(tc.in, tc.want)
			if strings.Contains(e.audit.String(), "aaaa") {
				t.Error("the audit line contains a parameter")
			}
		})
	}
}

func TestARefusalOfARequestThatCannotBeReadIsAudited(t *testing.T) {
	e := newTokenEndpoint(t)
	e.audit.Reset()
	e.svc.RefuseTokenRequest(t.Context(), broker.CodeInvalidRequest, "a parameter occurs twice", brokertest.Request)
	if line := e.audit.String(); !strings.Contains(line, `event=token_refused`) || !strings.Contains(line, `refusal=invalid_request reason="a parameter occurs twice"`) {
		t.Errorf("audit:\n%s", line)
	}
}

func TestRFC6749Section44ClientCredentials(t *testing.T) {
	e := newTokenEndpoint(t)
	answer := e.mustToken(as("machine", broker.TokenRequest{GrantType: broker.GrantClientCredentials, Scope: "openid orders:read hello:read admin orders:read", Unused: []string{"tenant"}}))
	if answer.Scope != "orders:read hello:read" || answer.ExpiresIn != 5*time.Minute || answer.RefreshToken != "" || answer.IDToken != "" || answer.IssuedTokenType != "" || answer.ClientID != "machine" {
		t.Errorf("answer %+v", answer)
	}
	claims := e.claims(answer.AccessToken)
	if claims["sub"] != "machine" || claims["client_id"] != "machine" || claims["sid"] != nil || claims["auth_time"] != nil || claims["sep"] != 0.0 || claims["cep"] != 0.0 {
		t.Errorf("claims %v", claims)
	}
	if n := strings.Count(e.audit.String(), "event=token_issued"); n != 1 || !strings.Contains(e.audit.String(), "jti="+claims["jti"].(string)) {
		t.Errorf("audit:\n%s", e.audit)
	}
	for name, tc := range map[string]struct {
		in   broker.TokenRequest
		want []any
	}{
		"all of the client's": {broker.TokenRequest{}, []any{"demo-api", "orders"}},
		"one audience":        {broker.TokenRequest{Audiences: []string{"orders"}}, []any{"orders"}},
		"one resource":        {broker.TokenRequest{Resources: []string{"https://orders.test/"}}, []any{"orders", "https://orders.test/"}},
		"both":                {broker.TokenRequest{Audiences: []string{"orders"}, Resources: []string{demoURI, demoURI}}, []any{"orders", "demo-api", demoURI}},
	} {
		tc.in.GrantType = broker.GrantClientCredentials
		if got := e.claims(e.mustToken(as("machine", tc.in)).AccessToken)["aud"]; !slices.Equal(got.([]any), tc.want) {
			t.Errorf("%s: aud %v, want %v", name, got, tc.want)
		}
	}
}

func TestAClientsOwnTokenHasTheEpochsAndTheLifeOfTheClient(t *testing.T) {
	e := newTokenEndpoint(t)
	if _, err := e.RevokeClient(t.Context(), "machine", "", brokertest.Operator); err != nil {
		t.Fatal(err)
	}
	e.changeClient("machine", func(c *directory.ClientRecord) { c.Lifetimes.Access = 60 })
	answer := e.mustToken(as("machine", broker.TokenRequest{GrantType: broker.GrantClientCredentials}))
	client, _, err := directory.ReadClient(t.Context(), e.Store, "machine")
	if err != nil || client.Epoch == 0 {
		t.Fatal(client, err)
	}
	if claims := e.claims(answer.AccessToken); claims["cep"] != float64(client.Epoch) || claims["sep"] != 0.0 || answer.ExpiresIn != time.Minute {
		t.Errorf("claims %v, epoch %d, life %v", claims, client.Epoch, answer.ExpiresIn)
	}
	if err := e.SignOutEverybody(t.Context(), revocation.ReasonRestore); err != nil {
		t.Fatal(err)
	}
	claims := e.claims(e.mustToken(as("machine", broker.TokenRequest{GrantType: broker.GrantClientCredentials})).AccessToken)
	if claims["sep"] != claims["cep"] || claims["sep"].(float64) <= float64(client.Epoch) {
		t.Errorf("claims %v after a new floor", claims)
	}
	// The exp of the token is on record before the token is signed.
	if last, err := commit.LastExpiry(t.Context(), e.Store); err != nil || float64(last.Unix()) < claims["exp"].(float64) {
		t.Errorf("the largest exp on record is %v, %v", last, err)
	}
	e.changeClient("machine", func(c *directory.ClientRecord) { c.Removed = true })
	e.refuses(as("machine", broker.TokenRequest{GrantType: broker.GrantClientCredentials}), broker.CodeInvalidClient)
}
