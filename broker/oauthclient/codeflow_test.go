package oauthclient_test

import (
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
)

// verifier is that of challenge (RFC 7636 appendix B).
const verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"

// The code flow from the authorization request to userinfo and log-out, with the tokens of each step.
func TestCodeFlowFromTheRequestToTheLogOut(t *testing.T) {
	a := newAuthorizer(t)
	browser := a.MustSignIn(t)
	params := request("first", "scope", "openid profile hello:read", "resource", apiURI, "claims", `{"userinfo":{"email":null}}`)
	redeem := broker.TokenRequest{
		Client: broker.ClientCredentials{ID: "first"}, GrantType: broker.GrantAuthorizationCode, RedirectURI: params.Get("redirect_uri"), Verifier: verifier,
	}
	redeem.Code = a.authorize(t, params, browser.RefreshToken).Answer.Get("code")
	answer, err := a.svc.Token(t.Context(), redeem, brokertest.Request)
	if err != nil {
		t.Fatal(err)
	}
	access, id := brokertest.Claims(t, answer.AccessToken), brokertest.Claims(t, answer.IDToken)
	if aud, _ := access["aud"].([]any); len(aud) != 2 || aud[0] != "demo-api" || aud[1] != apiURI {
		t.Errorf("aud %v", access["aud"])
	}
	if id["aud"] != "first" || id["nonce"] != "n" || id["sid"] != browser.SID || id["auth_time"] != float64(a.Clock.Now().Unix()) {
		t.Errorf("id token %v", id)
	}
	a.tokens["access"], a.tokens["id"] = access, id
	info, err := a.svc.UserInfo(t.Context(), "access", brokertest.Request)
	if err != nil || info.ClientID != "first" || info.Claims["sub"] != id["sub"] || info.Claims["preferred_username"] != "ada" {
		t.Errorf("userinfo %+v, %v", info, err)
	}
	end := a.endSession(t, broker.EndSessionRequest{IDTokenHint: "id", RefreshToken: browser.RefreshToken})
	if !end.LogOff || end.Ask {
		t.Fatalf("end of the session: %+v", end)
	}
	if _, err := a.LogOff(t.Context(), browser.RefreshToken, end.CSRFToken, brokertest.Request); err != nil {
		t.Fatal(err)
	}
	_, err = a.svc.UserInfo(t.Context(), "access", brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeInvalidToken)
	if live := a.Live(t); len(live) != 0 {
		t.Errorf("the log-off left %v", live)
	}
}

// A code that is stolen from a log or a proxy is of no use with another verifier, and does not count as used then.
func TestRFC7636Section46CodeIsBoundToTheChallenge(t *testing.T) {
	a := newAuthorizer(t)
	params := request("first")
	redeem := broker.TokenRequest{
		Client: broker.ClientCredentials{ID: "first"}, GrantType: broker.GrantAuthorizationCode, RedirectURI: params.Get("redirect_uri"),
		Code: a.authorize(t, params, a.MustSignIn(t).RefreshToken).Answer.Get("code"), Verifier: verifier[1:] + "A",
	}
	_, err := a.svc.Token(t.Context(), redeem, brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeInvalidGrant)
	redeem.Verifier = verifier
	if _, err := a.svc.Token(t.Context(), redeem, brokertest.Request); err != nil {
		t.Fatal(err)
	}
}

// The session may end between the authorization and the token request.
func TestCodeOfAnEndedBrowserSessionIsRefused(t *testing.T) {
	a := newAuthorizer(t)
	browser := a.MustSignIn(t)
	params := request("first", "scope", "openid offline_access")
	redeem := broker.TokenRequest{
		Client: broker.ClientCredentials{ID: "first"}, GrantType: broker.GrantAuthorizationCode, RedirectURI: params.Get("redirect_uri"), Verifier: verifier,
		Code: a.authorize(t, params, browser.RefreshToken).Answer.Get("code"),
	}
	a.Clock.Advance(30 * time.Second)
	if _, err := a.LogOff(t.Context(), browser.RefreshToken, browser.CSRFToken, brokertest.Request); err != nil {
		t.Fatal(err)
	}
	_, err := a.svc.Token(t.Context(), redeem, brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeInvalidGrant)
}
