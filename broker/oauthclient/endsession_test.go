package oauthclient_test

import (
	"reflect"
	"strings"
	"testing"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
)

func (a *authorizer) endSession(t *testing.T, in broker.EndSessionRequest) *broker.EndSession {
	t.Helper()
	got, err := a.svc.EndSession(t.Context(), in, brokertest.Request)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestRPInitiatedLogoutSection2HintOfTheOwnSessionIsNotAsked(t *testing.T) {
	a := newAuthorizer(t)
	grant, other := a.MustSignIn(t), a.MustSignIn(t)
	a.tokens["own"] = map[string]any{"sub": grant.UID, "sid": grant.SID, "aud": "web", "exp": 1}
	a.tokens["other"] = map[string]any{"sub": grant.UID, "sid": other.SID, "aud": "web"}
	a.tokens["stranger"] = map[string]any{"sub": "someone", "sid": grant.SID, "aud": "web"}
	a.tokens["no sid"] = map[string]any{"sub": grant.UID, "aud": "web"}
	a.tokens["malformed"] = map[string]any{"sub": 7, "sid": grant.SID, "aud": "web"}
	for hint, logOff := range map[string]bool{"own": true, "other": false, "stranger": false, "no sid": false, "malformed": false, "forged": false, "": false, strings.Repeat("x", 9000): false} {
		got := a.endSession(t, broker.EndSessionRequest{IDTokenHint: hint, ClientID: "web", PostLogoutURI: "https://web.test/", State: "s&t", RefreshToken: grant.RefreshToken})
		want := &broker.EndSession{Ask: !logOff, LogOff: logOff, CSRFToken: grant.CSRFToken, UserName: "ada", ClientName: "The Web", RedirectURL: "https://web.test/?state=s%26t"}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("hint %.10q: got %+v, want %+v", hint, got, want)
		}
	}
	if n := len(a.Live(t)); n != 2 {
		t.Errorf("%d sessions are live; the decision must end none", n)
	}
}

func TestRPInitiatedLogoutSection2TheConfirmationLogsOff(t *testing.T) {
	a := newAuthorizer(t)
	grant, other := a.MustSignIn(t), a.MustSignIn(t)
	for csrf, logOff := range map[string]bool{grant.CSRFToken: true, other.CSRFToken: false, "x": false, "": false} {
		got := a.endSession(t, broker.EndSessionRequest{RefreshToken: grant.RefreshToken, CSRFToken: csrf})
		if got.LogOff != logOff || got.Ask == logOff || got.CSRFToken != grant.CSRFToken || got.RedirectURL != "" {
			t.Errorf("CSRF token %q: %+v", csrf, got)
		}
	}
	a.Rotate(t, grant, brokertest.Request)
	a.Clock.Advance(brokertest.Policy.Grace)
	if got := a.endSession(t, broker.EndSessionRequest{RefreshToken: grant.RefreshToken}); !got.Ask {
		t.Errorf("a superseded cookie: %+v", got)
	}
}

// RP-Initiated Logout 1.0 §3: the browser is not redirected to a URI that is not registered.
func TestRPInitiatedLogoutSection3OnlyRegisteredURIs(t *testing.T) {
	a := newAuthorizer(t)
	grant := a.MustSignIn(t)
	a.tokens["own"] = map[string]any{"sub": grant.UID, "sid": grant.SID, "aud": "web"}
	for name, in := range map[string]broker.EndSessionRequest{
		"another URI":         {ClientID: "web", PostLogoutURI: "https://evil.test/"},
		"path suffix":         {ClientID: "web", PostLogoutURI: "https://web.test/x"},
		"case":                {ClientID: "web", PostLogoutURI: "https://WEB.test/"},
		"fragment":            {ClientID: "web", PostLogoutURI: "https://web.test/#x"},
		"a redirect URI":      {ClientID: "web", PostLogoutURI: webRedirect},
		"no client":           {PostLogoutURI: "https://web.test/"},
		"unknown client":      {ClientID: "nobody", PostLogoutURI: "https://web.test/"},
		"removed client":      {ClientID: "gone", PostLogoutURI: "https://web.test/"},
		"client without URIs": {ClientID: "native", PostLogoutURI: "https://web.test/"},
		"forged hint":         {IDTokenHint: "forged", PostLogoutURI: "https://web.test/"},
		"hint and evil URI":   {IDTokenHint: "own", PostLogoutURI: "https://evil.test/"},
	} {
		for _, cookie := range []string{"", grant.RefreshToken} {
			in.RefreshToken = cookie
			got, err := a.svc.EndSession(t.Context(), in, brokertest.Request)
			if brokertest.WantCode(t, err, broker.CodeInvalidRedirect); got != nil {
				t.Errorf("%s: %+v", name, got)
			}
		}
	}
	for name, in := range map[string]broker.EndSessionRequest{
		"hint of another client": {IDTokenHint: "own", ClientID: "native", PostLogoutURI: "https://web.test/"},
		"long state":             {ClientID: "web", PostLogoutURI: "https://web.test/", State: strings.Repeat("s", 2049)},
		"control character":      {ClientID: "web", PostLogoutURI: "https://web.test/", State: "a\nb"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := a.svc.EndSession(t.Context(), in, brokertest.Request)
			brokertest.WantCode(t, err, broker.CodeInvalidRequest)
		})
	}
}

func TestLogoutWithoutASessionGoesOn(t *testing.T) {
	a := newAuthorizer(t)
	grant := a.MustSignIn(t)
	if _, err := a.LogOff(t.Context(), grant.RefreshToken, grant.CSRFToken, brokertest.Request); err != nil {
		t.Fatal(err)
	}
	a.tokens["own"] = map[string]any{"sub": grant.UID, "sid": grant.SID, "aud": "web"}
	for _, cookie := range []string{"", "damaged", grant.RefreshToken} {
		got := a.endSession(t, broker.EndSessionRequest{IDTokenHint: "own", PostLogoutURI: "https://web.test/out?from=us", State: "s", RefreshToken: cookie, CSRFToken: "x"})
		if want := (&broker.EndSession{ClientName: "The Web", RedirectURL: "https://web.test/out?from=us&state=s"}); !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if got := a.endSession(t, broker.EndSessionRequest{RefreshToken: cookie}); !reflect.DeepEqual(got, &broker.EndSession{}) {
			t.Errorf("got %+v", got)
		}
	}
}
