package oauthclient_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/operator"
	"tokenbroker/broker/session"
)

func (a *authorizer) user(t *testing.T, uid string) *session.User {
	t.Helper()
	rec, err := a.Store.Get(t.Context(), "user."+uid)
	if err != nil {
		t.Fatal(err)
	}
	user, err := session.DecodeUser(rec.Value)
	if err != nil {
		t.Fatal(err)
	}
	return user
}

func TestConsentOfAConfidentialClientIsRemembered(t *testing.T) {
	a := newAuthorizer(t)
	grant := a.MustSignIn(t)
	page := a.authorize(t, request("web"), grant.RefreshToken)
	wantStep(t, page, broker.StepConsent)
	want := &broker.Authorization{
		Step: broker.StepConsent, ClientID: "web", ClientName: "The Web", RedirectURI: webRedirect, ResponseMode: "query",
		Scopes: []string{"openid", "hello:read"}, UserName: "ada", CSRFToken: grant.CSRFToken,
	}
	if !reflect.DeepEqual(page, want) {
		t.Errorf("page %+v, want %+v", page, want)
	}
	code := a.codeOf(t, a.consent(t, request("web"), grant, true, "hello:read", "openid"))
	if code.BrowserSID != grant.SID || !reflect.DeepEqual(code.Scopes, []string{"openid", "hello:read"}) {
		t.Errorf("code %+v", code)
	}
	// Single sign-on is silent now, also for fewer scopes and in another session of the user.
	other := a.MustSignIn(t)
	for _, params := range [][]string{{}, {"prompt", "none"}, {"scope", "openid"}} {
		wantStep(t, a.authorize(t, request("web", params...), other.RefreshToken), broker.StepRedirect)
	}
	wantStep(t, a.authorize(t, request("narrow"), other.RefreshToken), broker.StepRedirect)
}

func TestConsentIsAskedAgainWhenScopesGrow(t *testing.T) {
	a := newAuthorizer(t)
	grant := a.MustSignIn(t)
	a.codeOf(t, a.consent(t, request("web"), grant, true, "openid", "hello:read"))
	for _, more := range [][]string{{"scope", "openid hello:read email"}, {"scope", "openid offline_access"}, {"claims", `{"userinfo":{"phone_number":null}}`}, {"prompt", "consent"}} {
		wantStep(t, a.authorize(t, request("web", more...), grant.RefreshToken), broker.StepConsent)
	}
	params := request("web", "prompt", "none", "scope", "openid email")
	wantRefusal(t, a.authorize(t, params, grant.RefreshToken), params, broker.CodeConsentRequired)
	a.codeOf(t, a.consent(t, request("web", "scope", "openid email"), grant, true, "openid", "email"))
	wantStep(t, a.authorize(t, request("web", "scope", "openid email hello:read"), grant.RefreshToken), broker.StepRedirect)
}

// RFC 8252 §8.6: a public client is not authenticated, so the user is asked each time.
func TestRFC8252Section86PublicClientsAreConfirmedEachTime(t *testing.T) {
	a := newAuthorizer(t)
	grant := a.MustSignIn(t)
	for range 2 {
		wantStep(t, a.authorize(t, request("native", "scope", "openid"), grant.RefreshToken), broker.StepConsent)
		a.codeOf(t, a.consent(t, request("native", "scope", "openid"), grant, true, "openid"))
	}
	params := request("native", "scope", "openid", "prompt", "none")
	wantRefusal(t, a.authorize(t, params, grant.RefreshToken), params, broker.CodeConsentRequired)
	if consents := a.user(t, grant.UID).Consents; len(consents) != 0 {
		t.Errorf("consents %v", consents)
	}
}

// A consent was given to a client that authenticates. It does not count once anybody can use the client's id.
func TestConsentDoesNotOutliveTheAuthenticationOfTheClient(t *testing.T) {
	a := newAuthorizer(t)
	grant := a.MustSignIn(t)
	a.codeOf(t, a.consent(t, request("web"), grant, true, "openid", "hello:read"))
	a.Put(t, "client.web", `{"v":1,"id":"web","scopes":["openid","hello:read"],"grants":["authorization_code"],"redirect_uris":["`+webRedirect+`"]}`)
	wantStep(t, a.authorize(t, request("web"), grant.RefreshToken), broker.StepConsent)
}

func TestOAuth21Section4121AccessDenied(t *testing.T) {
	a := newAuthorizer(t)
	grant := a.MustSignIn(t)
	wantRefusal(t, a.consent(t, request("web"), grant, false, "openid", "hello:read"), request("web"), broker.CodeAccessDenied)
	if consents := a.user(t, grant.UID).Consents; len(consents) != 0 {
		t.Errorf("consents %v", consents)
	}
	if !strings.Contains(a.Log.String(), "consent_denied") {
		t.Error("the denial left no audit line")
	}
}

// RFC 9700 §4.7: a consent that another site sends has no CSRF token, and allows nothing.
func TestRFC9700Section47ConsentNeedsTheCSRFToken(t *testing.T) {
	a := newAuthorizer(t)
	grant, other := a.MustSignIn(t), a.MustSignIn(t)
	for _, csrf := range []string{"", other.CSRFToken, grant.CSRFToken + "A"} {
		for _, allow := range []bool{true, false} {
			got, err := a.svc.Consent(t.Context(), broker.AuthorizationRequest{Params: request("web"), RefreshToken: grant.RefreshToken},
				broker.ConsentDecision{Allow: allow, CSRFToken: csrf, Scopes: []string{"openid", "hello:read"}}, brokertest.Request)
			if brokertest.WantCode(t, err, broker.CodeCSRF); got != nil {
				t.Errorf("got %+v", got)
			}
		}
	}
	if consents := a.user(t, grant.UID).Consents; len(consents) != 0 {
		t.Errorf("consents %v", consents)
	}
}

func TestConsentIsForTheScopesThatThePageShowed(t *testing.T) {
	a := newAuthorizer(t)
	grant := a.MustSignIn(t)
	for _, shown := range [][]string{{}, {"openid"}, {"openid", "email"}, {"openid", "hello:read", "email"}, {"openid", "openid"}} {
		wantStep(t, a.consent(t, request("web"), grant, true, shown...), broker.StepConsent)
	}
	if consents := a.user(t, grant.UID).Consents; len(consents) != 0 {
		t.Errorf("consents %v", consents)
	}
}

func TestConsentAfterTheSessionEndedAllowsNothing(t *testing.T) {
	a := newAuthorizer(t)
	grant := a.MustSignIn(t)
	if _, err := a.LogOff(t.Context(), grant.RefreshToken, grant.CSRFToken, brokertest.Request); err != nil {
		t.Fatal(err)
	}
	wantStep(t, a.consent(t, request("web"), grant, true, "openid", "hello:read"), broker.StepSignIn)
	disabled := a.MustSignIn(t)
	if _, err := a.DisableUser(t.Context(), "ada", brokertest.Request); err != nil {
		t.Fatal(err)
	}
	wantStep(t, a.consent(t, request("web"), disabled, true, "openid", "hello:read"), broker.StepSignIn)
}

// The consent page follows a sign-in page: the proof of the sign-in is part of its request.
func TestConsentKeepsTheProofOfTheSignIn(t *testing.T) {
	a := newAuthorizer(t)
	params := request("web", "prompt", "login consent")
	page := a.authorize(t, params, a.MustSignIn(t).RefreshToken)
	wantStep(t, page, broker.StepSignIn)
	fresh := a.MustSignIn(t)
	next := continued(params, page)
	wantStep(t, a.authorize(t, next, fresh.RefreshToken), broker.StepConsent)
	wantStep(t, a.consent(t, next, fresh, true, "openid", "hello:read"), broker.StepRedirect)
	wantStep(t, a.consent(t, params, fresh, true, "openid", "hello:read"), broker.StepSignIn)
}

func TestConsentCannotAnswerASilentRequest(t *testing.T) {
	a := newAuthorizer(t)
	params := request("web", "prompt", "none")
	wantRefusal(t, a.consent(t, params, a.MustSignIn(t), true, "openid", "hello:read"), params, broker.CodeConsentRequired)
}

func TestAUserKeepsFiftyConsents(t *testing.T) {
	a := newAuthorizer(t)
	grant := a.MustSignIn(t)
	for i := range 51 {
		id := fmt.Sprintf("c%d", i)
		a.Put(t, "client."+id, `{"v":1,"id":"`+id+`","secret_hash":"cw==","scopes":["openid","hello:read"],"grants":["authorization_code"],"redirect_uris":["`+webRedirect+`"]}`)
		a.codeOf(t, a.consent(t, request(id), grant, true, "openid", "hello:read"))
	}
	consents := a.user(t, grant.UID).Consents
	if len(consents) != 50 || consents[0].ClientID != "c1" || consents[49].ClientID != "c50" {
		t.Errorf("%d consents: %v", len(consents), consents)
	}
	wantStep(t, a.authorize(t, request("c0"), grant.RefreshToken), broker.StepConsent)
}

func TestAnotherUserIsAskedForConsent(t *testing.T) {
	a := newAuthorizer(t)
	a.codeOf(t, a.consent(t, request("web"), a.MustSignIn(t), true, "openid", "hello:read"))
	if _, err := a.AddUser(t.Context(), operator.NewUser{Username: "bob", Password: "builder1"}, brokertest.Request); err != nil {
		t.Fatal(err)
	}
	bob, err := a.SignIn(t.Context(), "bob", "builder1", brokertest.Request)
	if err != nil {
		t.Fatal(err)
	}
	wantStep(t, a.authorize(t, request("web"), bob.RefreshToken), broker.StepConsent)
}

// A client that was removed and registered again may be another one.
func TestAConsentIsNotForALaterClientOfTheSameID(t *testing.T) {
	a := newAuthorizer(t)
	grant := a.MustSignIn(t)
	register := func() {
		a.Put(t, "client.again", fmt.Sprintf(`{"v":1,"id":"again","secret_hash":"cw==","scopes":["openid","hello:read"],"grants":["authorization_code"],"redirect_uris":[%q],"created_at":%d}`, webRedirect, a.Clock.Now().Unix()))
	}
	register()
	a.codeOf(t, a.consent(t, request("again"), grant, true, "openid", "hello:read"))
	wantStep(t, a.authorize(t, request("again"), grant.RefreshToken), broker.StepRedirect)
	a.Clock.Advance(time.Minute)
	register()
	wantStep(t, a.authorize(t, request("again"), grant.RefreshToken), broker.StepConsent)
}
