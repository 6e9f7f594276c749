package oauthclient_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/operator"
	"tokenbroker/broker/session"
)

// OpenID Connect Core 1.0 §5.3: userinfo has the claims of the token's scopes and the sub.
func TestOpenIDConnectCoreSection53UserInfo(t *testing.T) {
	a := newAuthorizer(t)
	grant := a.MustSignIn(t)
	a.Update(t, operator.UserChange{Attributes: map[string]any{"email": "ada@example.org", "email_verified": "true", "phone_number": "+44 1"}})
	for scope, want := range map[string]map[string]any{
		"openid":                      {"sub": grant.UID},
		"openid hello:read":           {"sub": grant.UID},
		"profile openid":              {"sub": grant.UID, "preferred_username": "ada"},
		"openid email":                {"sub": grant.UID, "email": "ada@example.org", "email_verified": true},
		"openid email phone groups x": {"sub": grant.UID, "email": "ada@example.org", "email_verified": true, "phone_number": "+44 1"},
	} {
		a.tokens["t"] = map[string]any{"sub": grant.UID, "sid": grant.SID, "client_id": "demo-spa", "aud": []string{"any"}, "scope": scope}
		got, err := a.svc.UserInfo(t.Context(), "t", brokertest.Request)
		if err != nil || !reflect.DeepEqual(got, &broker.UserInfo{Claims: want, ClientID: "demo-spa"}) {
			t.Errorf("%s: got %+v, %v", scope, got, err)
		}
	}
}

func TestUserInfoHasTheClaimsOfTheGrant(t *testing.T) {
	a := newAuthorizer(t)
	grant := a.MustSignIn(t)
	a.Update(t, operator.UserChange{Attributes: map[string]any{"email": "ada@example.org", "phone_number": "+44 1"}})
	key := "session." + grant.UID + "." + grant.SID
	rec, err := a.Store.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	s, err := session.DecodeSession(rec.Value)
	if err != nil {
		t.Fatal(err)
	}
	s.UserInfoClaims, s.IDTokenClaims = []string{"email"}, []string{"phone_number"}
	raw, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	a.Put(t, key, string(raw))
	a.tokens["t"] = map[string]any{"sub": grant.UID, "sid": grant.SID, "client_id": "demo-spa", "scope": "openid"}
	got, err := a.svc.UserInfo(t.Context(), "t", brokertest.Request)
	if want := map[string]any{"sub": grant.UID, "email": "ada@example.org"}; err != nil || !reflect.DeepEqual(got.Claims, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	// The token that another client got by an exchange keeps the sid, but the user allowed those claims only to the grant's client.
	a.tokens["t"] = map[string]any{"sub": grant.UID, "sid": grant.SID, "client_id": "machine", "scope": "openid"}
	got, err = a.svc.UserInfo(t.Context(), "t", brokertest.Request)
	if want := map[string]any{"sub": grant.UID}; err != nil || !reflect.DeepEqual(got.Claims, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}

// RFC 6750 §3.1: invalid_token and insufficient_scope.
func TestRFC6750Section31UserInfoRefusals(t *testing.T) {
	a := newAuthorizer(t)
	grant, ended := a.MustSignIn(t), a.MustSignIn(t)
	if _, err := a.LogOff(t.Context(), ended.RefreshToken, ended.CSRFToken, brokertest.Request); err != nil {
		t.Fatal(err)
	}
	a.tokens["client"] = map[string]any{"sub": "machine", "client_id": "machine", "scope": "openid"}
	a.tokens["narrow"] = map[string]any{"sub": grant.UID, "sid": grant.SID, "scope": "hello:read openid2"}
	a.tokens["no scope"] = map[string]any{"sub": grant.UID, "sid": grant.SID}
	a.tokens["ended"] = map[string]any{"sub": ended.UID, "sid": ended.SID, "scope": "openid"}
	a.tokens["removed"] = map[string]any{"sub": broker.NewID().String(), "sid": broker.NewID().String(), "scope": "openid"}
	a.tokens["disabled"] = map[string]any{"sub": grant.UID, "sid": grant.SID, "scope": "openid"}
	for token, code := range map[string]broker.Code{
		"": broker.CodeInvalidToken, "forged": broker.CodeInvalidToken, "client": broker.CodeInvalidToken, "ended": broker.CodeInvalidToken,
		"removed": broker.CodeInvalidToken, "narrow": broker.CodeInsufficientScope, "no scope": broker.CodeInsufficientScope,
	} {
		t.Run(token, func(t *testing.T) {
			_, err := a.svc.UserInfo(t.Context(), token, brokertest.Request)
			brokertest.WantCode(t, err, code)
		})
	}
	if _, err := a.DisableUser(t.Context(), "ada", brokertest.Request); err != nil {
		t.Fatal(err)
	}
	_, err := a.svc.UserInfo(t.Context(), "disabled", brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeInvalidToken)
}
