package oauthclient_test

import (
	"context"
	"errors"
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
)

const (
	accessTokenType = "urn:ietf:params:oauth:token-type:access_token"
	idTokenType     = "urn:ietf:params:oauth:token-type:id_token"
)

func exchanging(client, subject string, change ...func(*broker.TokenRequest)) broker.TokenRequest {
	in := broker.TokenRequest{GrantType: broker.GrantTokenExchange, SubjectToken: subject, SubjectTokenType: accessTokenType}
	for _, c := range change {
		c(&in)
	}
	return as(client, in)
}

func (e *tokenEndpoint) own(client string) string {
	e.Helper()
	return e.mustToken(as(client, broker.TokenRequest{GrantType: broker.GrantClientCredentials})).AccessToken
}

func TestRFC8693Section22ExchangedToken(t *testing.T) {
	e := newTokenEndpoint(t)
	subject := e.mustToken(e.code("app")).AccessToken
	e.Clock.Advance(time.Minute)
	answer := e.mustToken(exchanging("machine", subject))
	if answer.IssuedTokenType != accessTokenType || answer.RefreshToken != "" || answer.IDToken != "" || answer.Scope != "openid hello:read" || answer.ExpiresIn != 4*time.Minute || answer.ClientID != "machine" {
		t.Errorf("answer %+v", answer)
	}
	was, is := e.claims(subject), e.claims(answer.AccessToken)
	for _, same := range []string{"iss", "sub", "sid", "sep", "auth_time", "acr", "exp"} {
		if was[same] == nil || was[same] != is[same] {
			t.Errorf("%s is %v, was %v", same, is[same], was[same])
		}
	}
	if is["client_id"] != "machine" || is["jti"] == was["jti"] || is["act"] != nil || len(is["aud"].([]any)) != 1 || is["aud"].([]any)[0] != "demo-api" {
		t.Errorf("claims %v", is)
	}
	if !strings.Contains(e.audit.String(), "subject_client_id=app") {
		t.Errorf("audit:\n%s", e.audit)
	}
	toOrders := func(in *broker.TokenRequest) {
		in.Resources, in.Scope, in.SubjectTokenType = []string{"https://orders.test/"}, "hello:read admin", "urn:ietf:params:oauth:token-type:jwt"
	}
	e.refuses(exchanging("machine", subject, toOrders), broker.CodeInvalidTarget) // an exchange narrows the audience
	wide := e.mustToken(e.code("app", func(c *credential.AuthorizationCode) { c.Audience = []string{"demo-api", "orders"} })).AccessToken
	to := e.mustToken(exchanging("machine", wide, toOrders))
	if aud := e.claims(to.AccessToken)["aud"].([]any); to.Scope != "hello:read" || !slices.Equal(aud, []any{"orders", "https://orders.test/"}) {
		t.Errorf("scope %q, aud %v", to.Scope, aud)
	}
	// The token dies with the subject's session, in the same event.
	if _, err := e.LogOff(t.Context(), e.browser.RefreshToken, e.browser.CSRFToken, brokertest.Request); err != nil {
		t.Fatal(err)
	}
	if e.alive(answer.AccessToken) || e.alive(to.AccessToken) {
		t.Error("an exchanged token outlives the session of its subject")
	}
}

func TestRFC8693Section41ActIsPresentOnlyForAnActor(t *testing.T) {
	e := newTokenEndpoint(t)
	subject, actor := e.mustToken(e.code("app")).AccessToken, e.own("machine")
	withActor := func(in *broker.TokenRequest) { in.ActorToken, in.ActorTokenType = actor, accessTokenType }
	first := e.mustToken(exchanging("machine", subject, withActor))
	act, _ := e.claims(first.AccessToken)["act"].(map[string]any)
	if act["sub"] != "machine" || act["client_id"] != "machine" || act["act"] != nil {
		t.Errorf("act %v", act)
	}
	other := e.own("other")
	second := e.mustToken(exchanging("other", first.AccessToken, func(in *broker.TokenRequest) { in.ActorToken, in.ActorTokenType = other, accessTokenType }))
	act, _ = e.claims(second.AccessToken)["act"].(map[string]any)
	if prior, _ := act["act"].(map[string]any); act["sub"] != "other" || prior["sub"] != "machine" {
		t.Errorf("act %v", act)
	}
	kept := e.mustToken(exchanging("app", first.AccessToken)) // what is known about the actor is not lost
	if act, _ = e.claims(kept.AccessToken)["act"].(map[string]any); act["sub"] != "machine" {
		t.Errorf("act %v", act)
	}
}

func TestRFC8693Section222ExchangeIsRefused(t *testing.T) {
	e := newTokenEndpoint(t)
	e.changeClient("other", func(c *directory.ClientRecord) { c.Audiences = []string{"billing"} })
	answer := e.mustToken(e.code("app", offline))
	subject := answer.AccessToken
	foreign, own := e.own("other"), e.own("app")
	openID := e.mustToken(e.code("app", func(c *credential.AuthorizationCode) {
		c.Scopes, c.Audience = []string{"openid"}, []string{"http://issuer.test"}
	})).AccessToken
	revoked := e.mustToken(e.code("app", offline))
	if _, err := e.svc.Revoke(t.Context(), as("app", broker.TokenRequest{}).Client, revoked.RefreshToken, "", brokertest.Request); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		in   broker.TokenRequest
		want broker.Code
	}{
		"no subject token":                    {exchanging("machine", ""), broker.CodeInvalidRequest},
		"no subject token type":               {exchanging("machine", subject, func(in *broker.TokenRequest) { in.SubjectTokenType = "" }), broker.CodeInvalidRequest},
		"another subject token type":          {exchanging("machine", subject, func(in *broker.TokenRequest) { in.SubjectTokenType = "urn:ietf:params:oauth:token-type:saml2" }), broker.CodeInvalidRequest},
		"no id tokens without providers":      {exchanging("machine", subject, func(in *broker.TokenRequest) { in.SubjectTokenType = idTokenType }), broker.CodeInvalidRequest},
		"another requested type":              {exchanging("machine", subject, func(in *broker.TokenRequest) { in.RequestedTokenType = idTokenType }), broker.CodeInvalidRequest},
		"an actor token without a type":       {exchanging("machine", subject, func(in *broker.TokenRequest) { in.ActorToken = own }), broker.CodeInvalidRequest},
		"an actor type without a token":       {exchanging("machine", subject, func(in *broker.TokenRequest) { in.ActorTokenType = accessTokenType }), broker.CodeInvalidRequest},
		"an actor token of another type":      {exchanging("machine", subject, func(in *broker.TokenRequest) { in.ActorToken, in.ActorTokenType = own, idTokenType }), broker.CodeInvalidRequest},
		"an invalid actor token":              {exchanging("machine", subject, func(in *broker.TokenRequest) { in.ActorToken, in.ActorTokenType = "x", accessTokenType }), broker.CodeInvalidRequest},
		"an actor token for another audience": {exchanging("machine", subject, func(in *broker.TokenRequest) { in.ActorToken, in.ActorTokenType = foreign, accessTokenType }), broker.CodeInvalidRequest},
		"not a token":                         {exchanging("machine", "x"), broker.CodeInvalidRequest},
		"a refresh token":                     {exchanging("machine", answer.RefreshToken), broker.CodeInvalidRequest},
		"a revoked token":                     {exchanging("machine", revoked.AccessToken), broker.CodeInvalidRequest},
		"none of the client's audiences":      {exchanging("other", subject), broker.CodeInvalidRequest},
		"a token for the broker itself":       {exchanging("machine", openID), broker.CodeInvalidRequest},
		"another client's own token":          {exchanging("machine", own), broker.CodeInvalidRequest},
		"an audience that the client lacks":   {exchanging("app", subject, func(in *broker.TokenRequest) { in.Audiences = []string{"orders"} }), broker.CodeInvalidTarget},
		"a resource that the client lacks":    {exchanging("app", subject, func(in *broker.TokenRequest) { in.Resources = []string{"https://orders.test/"} }), broker.CodeInvalidTarget},
		"a scope beyond that of the subject":  {exchanging("machine", subject, func(in *broker.TokenRequest) { in.Scope = "hello:read orders:read" }), broker.CodeInvalidScope},
		"a scope that the client lacks":       {exchanging("machine", subject, func(in *broker.TokenRequest) { in.Scope = "hello:write" }), broker.CodeInvalidScope},
		"a code":                              {exchanging("machine", subject, func(in *broker.TokenRequest) { in.Code = "c" }), broker.CodeInvalidRequest},
		"a store that cannot judge the token": {exchanging("machine", "unavailable"), broker.CodeUnavailable},
		"a long subject token":                {exchanging("machine", strings.Repeat("a", 65<<10)), broker.CodeInvalidRequest},
	} {
		t.Run(name, func(t *testing.T) {
			e.T = t
			e.refuses(tc.in, tc.want)
			for _, secret := range []string{subject, own, answer.RefreshToken} {
				if strings.Contains(e.audit.String(), secret) {
					t.Error("the audit log contains a token")
				}
			}
		})
	}
	e.T = t
	e.mustToken(exchanging("app", own)) // its own
	e.Clock.Advance(6 * time.Minute)
	e.refuses(exchanging("machine", subject), broker.CodeInvalidRequest)
}

// TestAnExchangedTokenHasTheEpochOfItsClient: the exchange never issues a token under an epoch that was raised before.
func TestAnExchangedTokenHasTheEpochOfItsClient(t *testing.T) {
	e := newTokenEndpoint(t)
	subject := e.mustToken(e.code("app")).AccessToken
	if _, err := e.RevokeClient(t.Context(), "machine", "", brokertest.Operator); err != nil {
		t.Fatal(err)
	}
	client, _, err := directory.ReadClient(t.Context(), e.Store, "machine")
	if err != nil {
		t.Fatal(err)
	}
	if claims := e.claims(e.mustToken(exchanging("machine", subject)).AccessToken); claims["cep"] != float64(client.Epoch) || claims["sep"] != 0.0 {
		t.Errorf("claims %v, epoch %d", claims, client.Epoch)
	}
	if _, err := e.DisableUser(t.Context(), "ada", brokertest.Operator); err != nil {
		t.Fatal(err)
	}
	e.refuses(exchanging("machine", subject), broker.CodeInvalidRequest) // the fake verifier does not know sub events; the record does
}

// claimsBefore calls before when claims are computed.
type claimsBefore struct {
	credential.CustomClaims
	before func()
}

func (c *claimsBefore) Claims(context.Context, credential.ClaimsInput) (map[string]any, error) {
	if c.before != nil {
		c.before()
	}
	return nil, nil
}

// TestAnExchangeMissesNoRevocationOfItsClient: the client is revoked after the session of its subject token was judged.
func TestAnExchangeMissesNoRevocationOfItsClient(t *testing.T) {
	claims := &claimsBefore{}
	e := newTokenEndpoint(t, func(c *oauthclient.Config) { c.CustomClaims = claims })
	subject := e.mustToken(e.code("app")).AccessToken
	claims.before = func() {
		claims.before = nil
		if _, err := e.RevokeClient(t.Context(), "app", "", brokertest.Operator); err != nil {
			t.Error(err)
		}
	}
	exchanged := e.claims(e.mustToken(exchanging("app", subject)).AccessToken)
	client, _, err := directory.ReadClient(t.Context(), e.Store, "app")
	if err != nil || exchanged["cep"].(float64) >= float64(client.Epoch) {
		t.Errorf("claims %v, epoch %d, %v: the token outlives the revocation of its client", exchanged, client.Epoch, err)
	}
}

func TestAnExchangedTokenWithOnlyOpenIDScopesIsForTheBroker(t *testing.T) {
	e := newTokenEndpoint(t)
	subject := e.mustToken(e.code("app")).AccessToken
	openID := func(in *broker.TokenRequest) { in.Scope = "openid" }
	if aud := e.claims(e.mustToken(exchanging("machine", subject, openID)).AccessToken)["aud"].([]any); !slices.Equal(aud, []any{"http://issuer.test"}) {
		t.Errorf("aud %v", aud)
	}
	named := e.mustToken(exchanging("machine", subject, openID, func(in *broker.TokenRequest) { in.Audiences = []string{"demo-api"} }))
	if aud := e.claims(named.AccessToken)["aud"].([]any); !slices.Equal(aud, []any{"demo-api"}) {
		t.Errorf("aud %v", aud)
	}
}

// provenIDTokens proves any token but "bad" as ada's.
type provenIDTokens struct{ uid string }

func (p provenIDTokens) ProveIDToken(_ context.Context, idToken, _ string, _ broker.Request) (string, session.Open, []commit.Mark, error) {
	switch idToken {
	case "bad":
		return "", session.Open{}, nil, &broker.Error{Code: broker.CodeUpstreamToken, Message: "The provider's tokens are invalid."}
	case "down":
		return "", session.Open{}, nil, &broker.Error{Code: broker.CodeUpstreamUnavailable, Message: "The provider does not answer.", RetryAfter: time.Second}
	}
	return p.uid, session.Open{ACR: "a", Provider: "idp", UpstreamIssuer: "https://idp.test", UpstreamSubject: "s"},
		[]commit.Mark{commit.NewMark("id_token", idToken, time.Unix(1_800_003_600, 0))}, nil
}

func TestRFC8693Section3IDTokenOfAProvider(t *testing.T) {
	h := brokertest.Start(t)
	ada, err := h.User(t.Context(), "ada")
	if err != nil {
		t.Fatal(err)
	}
	e := tokenEndpointOn(t, h, func(c *oauthclient.Config) { c.Upstreams = provenIDTokens{ada.UID} })
	id := func(token string, change ...func(*broker.TokenRequest)) broker.TokenRequest {
		return exchanging("app", token, append([]func(*broker.TokenRequest){func(in *broker.TokenRequest) { in.SubjectTokenType = idTokenType }}, change...)...)
	}
	e.refuses(id("bad"), broker.CodeInvalidRequest)
	e.refuses(id("down"), broker.CodeUpstreamUnavailable)
	e.refuses(id("actor", func(in *broker.TokenRequest) { in.ActorToken, in.ActorTokenType = "x", accessTokenType }), broker.CodeInvalidRequest)
	answer := e.mustToken(id("one", func(in *broker.TokenRequest) { in.Scope = "openid hello:read" }))
	claims := e.claims(answer.AccessToken)
	if answer.IssuedTokenType != accessTokenType || answer.RefreshToken == "" || claims["sub"] != ada.UID || claims["acr"] != "a" || claims["aud"].([]any)[0] != "demo-api" {
		t.Errorf("answer %+v, claims %v", answer, claims)
	}
	e.refuses(id("one"), broker.CodeInvalidRequest) // once
	if s := e.state(claims["sid"].(string)); s == nil || !s.Offline || s.BrowserSID != "" || s.ClientID != "app" {
		t.Errorf("session %+v", s)
	}
	if _, err := e.LogOff(t.Context(), e.browser.RefreshToken, e.browser.CSRFToken, brokertest.Request); err != nil {
		t.Fatal(err)
	}
	e.mustToken(refreshing("app", answer.RefreshToken))
	if _, err := e.DisableUser(t.Context(), "ada", brokertest.Operator); err != nil {
		t.Fatal(err)
	}
	e.refuses(id("two"), broker.CodeInvalidRequest)
}

func TestRFC7009Section2Revocation(t *testing.T) {
	e := newTokenEndpoint(t)
	revoke := func(client, token, hint string) {
		t.Helper()
		if id, err := e.svc.Revoke(t.Context(), as(client, broker.TokenRequest{}).Client, token, hint, brokertest.Request); err != nil || id != client {
			t.Errorf("client %q, %v", id, err)
		}
	}
	events := func() int { return len(e.Ledger.Events()) }
	answer, bystander := e.mustToken(e.code("app")), e.mustToken(e.code("app"))
	before := events()
	for _, token := range []string{answer.AccessToken, answer.RefreshToken} {
		for _, client := range []string{"other", "spa"} { // §2.1: the client is informed
			_, err := e.svc.Revoke(t.Context(), as(client, broker.TokenRequest{}).Client, token, "", brokertest.Request)
			var refused *broker.Error
			if !errors.As(err, &refused) || refused.Code != broker.CodeInvalidGrant {
				t.Errorf("client %q, a token of another client: %v", client, err)
			}
		}
	}
	for _, token := range []string{"x", "rt1.x", e.browser.RefreshToken, answer.IDToken, strings.Repeat("a", 70<<10)} { // unknown (§2.2)
		revoke("app", token, "unknown")
	}
	if events() != before || !e.alive(answer.AccessToken) || strings.Count(e.audit.String(), "event=token_revoke_refused") != 9 {
		t.Errorf("%d events; audit:\n%s", events()-before, e.audit)
	}
	revoke("app", answer.AccessToken, "refresh_token") // the hint is wrong
	if e.alive(answer.AccessToken) || events() != before+1 || e.Ledger.Events()[before].Kind != revocation.KindJTI {
		t.Errorf("events %v", e.Ledger.Events()[before:])
	}
	revoke("app", answer.AccessToken, "") // again
	next := e.mustToken(refreshing("app", answer.RefreshToken))
	e.Clock.Advance(time.Minute)
	revoke("app", answer.RefreshToken, "access_token") // an old generation
	if e.alive(next.AccessToken) || !e.alive(bystander.AccessToken) || events() != before+2 {
		t.Errorf("events %v", e.Ledger.Events()[before:])
	}
	e.refuses(refreshing("app", next.RefreshToken), broker.CodeInvalidGrant)
	revoke("app", next.RefreshToken, "")
	if events() != before+2 {
		t.Error("a grant that has ended is revoked again")
	}
	public := e.mustToken(e.code("spa"))
	revoke("spa", public.RefreshToken, "")
	if e.alive(public.AccessToken) {
		t.Error("the token of a public client is alive")
	}
	for _, secret := range []string{answer.AccessToken, "rt1."} {
		if strings.Contains(e.audit.String(), secret) {
			t.Error("the audit log contains a token")
		}
	}
}

func TestRFC7009Section21RevocationIsRefused(t *testing.T) {
	e := newTokenEndpoint(t)
	_, err := e.svc.Revoke(t.Context(), broker.ClientCredentials{ID: "app", Secrets: []string{"x"}}, "t", "", brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeInvalidClient)
	_, err = e.svc.Revoke(t.Context(), as("app", broker.TokenRequest{}).Client, "", "", brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeInvalidRequest)
	_, err = e.svc.Revoke(t.Context(), as("app", broker.TokenRequest{}).Client, "unavailable", "", brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeUnavailable)
}

func TestRFC7662Section22RefreshToken(t *testing.T) {
	e := newTokenEndpoint(t)
	first := e.mustToken(e.code("app"))
	second := e.mustToken(refreshing("app", first.RefreshToken))
	check := func(client, token string, want bool) {
		t.Helper()
		info, active, err := e.svc.IntrospectRefreshToken(t.Context(), client, token)
		if err != nil || active != want {
			t.Errorf("active %t, %v, want %t", active, err, want)
		}
		if active && (info.Subject != e.browser.UID || info.ClientID != "app" || info.Scope != first.Scope || info.SID == "" || !info.ExpiresAt.After(e.Clock.Now()) || info.IssuedAt.IsZero()) {
			t.Errorf("info %+v", info)
		}
	}
	check("app", second.RefreshToken, true)
	check("app", first.RefreshToken, true) // within the grace
	check("other", second.RefreshToken, false)
	check("", second.RefreshToken, false)
	check("app", e.browser.RefreshToken, false)
	check("demo-spa", e.browser.RefreshToken, false)
	check("app", "x", false)
	ahead, err := credential.ParseRefreshToken(second.RefreshToken, brokertest.Secrets{})
	if err != nil {
		t.Fatal(err)
	}
	ahead.Generation += 5
	check("app", ahead.Encode(brokertest.Secrets{}), false)
	e.Clock.Advance(time.Minute)
	check("app", first.RefreshToken, false) // and it is not reuse
	e.mustToken(refreshing("app", second.RefreshToken))
	if _, err := e.LogOff(t.Context(), e.browser.RefreshToken, e.browser.CSRFToken, brokertest.Request); err != nil {
		t.Fatal(err)
	}
	check("app", second.RefreshToken, false)
}
