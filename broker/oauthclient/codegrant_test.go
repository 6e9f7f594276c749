package oauthclient_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/credential"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/oauthclient"
	"tokenbroker/broker/operator"
	"tokenbroker/broker/session"
	"tokenbroker/revocation"
)

// openCode returns the content of the code of a request.
func openCode(t *testing.T, in broker.TokenRequest) credential.AuthorizationCode {
	t.Helper()
	code, _, err := credential.OpenAuthorizationCode(in.Code, brokertest.Secrets{}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return code
}

func TestRFC6749Section413CodeIsRedeemed(t *testing.T) {
	e := newTokenEndpoint(t)
	e.changeClient("app", func(c *directory.ClientRecord) {
		grace := int64(0)
		c.Lifetimes = directory.ClientLifetimes{Access: 60, Absolute: 3600, Grace: &grace}
	})
	in := e.code("app")
	answer := e.mustToken(in)
	code := openCode(t, in)
	if answer.Scope != "openid hello:read hello:write" || answer.ExpiresIn != time.Minute || answer.RefreshToken == "" || answer.ClientID != "app" {
		t.Errorf("answer %+v", answer)
	}
	access := e.claims(answer.AccessToken)
	if access["sub"] != e.browser.UID || access["sid"] != code.SID || access["client_id"] != "app" || access["scope"] != answer.Scope || access["aud"].([]any)[0] != "demo-api" {
		t.Errorf("access token %v", access)
	}
	s := e.state(code.SID)
	if s.AbsoluteS != 3600 || s.IdleS != int64(brokertest.Policy.Idle/time.Second) || s.GraceS != 0 || s.AccessS != 60 || s.BrowserSID != e.browser.SID || s.Channel != session.ChannelOAuth {
		t.Errorf("session %+v", s)
	}
	if !strings.Contains(e.audit.String(), "event=token_issued") || !strings.Contains(e.audit.String(), "sid="+code.SID) {
		t.Errorf("audit:\n%s", e.audit)
	}
}

func TestOpenIDConnectCoreSection3133IDToken(t *testing.T) {
	e := newTokenEndpoint(t)
	e.Update(t, operator.UserChange{Attributes: map[string]any{"email": "ada@example.org", "email_verified": true, "name": "Ada", "phone_number": "+44", "website": "https://ada.test"}})
	in := e.code("app", func(c *credential.AuthorizationCode) {
		c.Scopes, c.IDTokenClaims = []string{"openid", "email", "profile"}, []string{"phone_number"}
		c.Audience = []string{"http://issuer.test"}
	})
	answer := e.mustToken(in)
	id, access := e.claims(answer.IDToken), e.claims(answer.AccessToken)
	for name, want := range map[string]any{
		"iss": "http://issuer.test", "sub": e.browser.UID, "aud": "app", "nonce": "n1", "sid": e.browser.SID, "exp": access["exp"], "iat": access["iat"],
		"auth_time": access["auth_time"], "acr": "urn:tokenbroker:acr:password", "email": "ada@example.org", "email_verified": true, "name": "Ada",
		"preferred_username": "ada", "phone_number": "+44", "website": nil, "groups": nil,
	} {
		if id[name] != want {
			t.Errorf("%s = %v, want %v", name, id[name], want)
		}
	}
	if id["at_hash"] == nil || id["amr"] == nil || access["email"] != nil {
		t.Errorf("id token %v", id)
	}
	refreshed := e.mustToken(refreshing("app", answer.RefreshToken))
	if again := e.claims(refreshed.IDToken); again["nonce"] != nil || again["sub"] != id["sub"] || again["auth_time"] != id["auth_time"] || again["sid"] != id["sid"] || again["at_hash"] == id["at_hash"] {
		t.Errorf("the id token of a refresh (OpenID Connect Core 1.0 §12.2): %v", again)
	}
	without := e.mustToken(e.code("app", func(c *credential.AuthorizationCode) { c.Scopes = []string{"hello:read"} }))
	if without.IDToken != "" {
		t.Error("an id token without the scope openid")
	}
}

// A client of OAuth 2.1 does not send the redirect URI again (§10.2): the verifier binds the code to the client.
func TestOAuth21Section102RedirectURIIsOptional(t *testing.T) {
	e := newTokenEndpoint(t)
	in := e.code("app")
	in.RedirectURI = ""
	answer := e.mustToken(in)
	refresh := refreshing("app", answer.RefreshToken)
	refresh.RedirectURI = "https://app.test/callback" // some clients send it, and it is ignored (RFC 6749 §3.2)
	e.mustToken(refresh)
}

func TestRFC6749Section52CodeIsRefused(t *testing.T) {
	e := newTokenEndpoint(t)
	change := func(change func(*broker.TokenRequest)) broker.TokenRequest {
		in := e.code("app")
		change(&in)
		return in
	}
	sealed := func(change func(*credential.AuthorizationCode)) broker.TokenRequest { return e.code("app", change) }
	for name, tc := range map[string]struct {
		in   broker.TokenRequest
		want broker.Code
	}{
		"no code":                          {change(func(in *broker.TokenRequest) { in.Code = "" }), broker.CodeInvalidRequest},
		"RFC 7636 §4.5 no verifier":        {change(func(in *broker.TokenRequest) { in.Verifier = "" }), broker.CodeInvalidRequest},
		"RFC 7636 §4.6 another verifier":   {change(func(in *broker.TokenRequest) { in.Verifier = strings.Repeat("a", 43) }), broker.CodeInvalidGrant},
		"the challenge as verifier, plain": {change(func(in *broker.TokenRequest) { in.Verifier = codeChallenge }), broker.CodeInvalidGrant},
		"RFC 7636 §4.1 a short verifier":   {change(func(in *broker.TokenRequest) { in.Verifier = codeVerifier[:42] }), broker.CodeInvalidGrant},
		"RFC 7636 §4.1 a long verifier":    {change(func(in *broker.TokenRequest) { in.Verifier = strings.Repeat("a", 129) }), broker.CodeInvalidRequest},
		"RFC 7636 §4.1 other characters":   {change(func(in *broker.TokenRequest) { in.Verifier += "=" }), broker.CodeInvalidGrant},
		"another redirect URI":             {change(func(in *broker.TokenRequest) { in.RedirectURI += "/" }), broker.CodeInvalidGrant},
		"another client's code":            {change(func(in *broker.TokenRequest) { in.Client = as("other", *in).Client }), broker.CodeInvalidGrant},
		"a damaged code":                   {change(func(in *broker.TokenRequest) { in.Code = in.Code[:len(in.Code)-4] + "AAAA" }), broker.CodeInvalidGrant},
		"no code of ours":                  {change(func(in *broker.TokenRequest) { in.Code = "code" }), broker.CodeInvalidGrant},
		"a long code":                      {change(func(in *broker.TokenRequest) { in.Code = strings.Repeat("a", 20<<10) }), broker.CodeInvalidRequest},
		"a refresh token with the code":    {change(func(in *broker.TokenRequest) { in.RefreshToken = "rt1." }), broker.CodeInvalidRequest},
		"an audience":                      {change(func(in *broker.TokenRequest) { in.Audiences = []string{"demo-api"} }), broker.CodeInvalidRequest},
		"RFC 8707 §2.2 another resource":   {change(func(in *broker.TokenRequest) { in.Resources = []string{"https://orders.test/"} }), broker.CodeInvalidTarget},
		"an expired code":                  {sealed(func(c *credential.AuthorizationCode) { c.ExpiresAt = e.Clock.Now() }), broker.CodeInvalidGrant},
		"no browser session":               {sealed(func(c *credential.AuthorizationCode) { c.BrowserSID = broker.NewID().String() }), broker.CodeInvalidGrant},
		"another user":                     {sealed(func(c *credential.AuthorizationCode) { c.UID = broker.NewID().String() }), broker.CodeInvalidGrant},
		"scopes that the client lost":      {sealed(func(c *credential.AuthorizationCode) { c.Scopes = []string{"gone"} }), broker.CodeInvalidScope},
	} {
		t.Run(name, func(t *testing.T) {
			e.T = t
			e.refuses(tc.in, tc.want)
			for _, secret := range []string{codeVerifier, tc.in.Code} {
				if len(secret) > 10 && strings.Contains(e.audit.String(), secret) {
					t.Error("the audit log contains a secret")
				}
			}
		})
	}
	e.T = t
	if live := e.Live(t); len(live) != 1 {
		t.Errorf("sessions %v after refusals, want only the browser's", live)
	}
}

// TestRFC6749Section412FailedAttemptDoesNotUseTheCode: a thief without the verifier cannot use up a code.
func TestRFC6749Section412FailedAttemptDoesNotUseTheCode(t *testing.T) {
	e := newTokenEndpoint(t)
	in := e.code("app")
	wrong := in
	wrong.Verifier = strings.Repeat("a", 43)
	e.refuses(wrong, broker.CodeInvalidGrant)
	e.mustToken(in)
}

func TestRFC6749Section412CodeIsUsedTwice(t *testing.T) {
	e := newTokenEndpoint(t)
	for name, later := range map[string]time.Duration{"in time": 0, "after it expired": 2 * time.Minute} {
		in := e.code("app", offline)
		first := e.mustToken(in)
		bystander := e.mustToken(e.code("app", offline))
		e.Clock.Advance(later)
		e.refuses(in, broker.CodeInvalidGrant)
		if !strings.Contains(e.audit.String(), "level=WARN msg=audit event=code_reused") {
			t.Errorf("%s: audit:\n%s", name, e.audit)
		}
		if e.alive(first.AccessToken) || !e.alive(bystander.AccessToken) {
			t.Errorf("%s: the grant's access token lives: %t, that of another grant: %t", name, e.alive(first.AccessToken), e.alive(bystander.AccessToken))
		}
		e.refuses(refreshing("app", first.RefreshToken), broker.CodeInvalidGrant)
		e.mustToken(refreshing("app", bystander.RefreshToken))
		e.refuses(in, broker.CodeInvalidGrant)
	}
}

func TestACodeThatIsRedeemedAtOnceIsRevoked(t *testing.T) {
	e := newTokenEndpoint(t)
	in := e.code("app")
	results := brokertest.AtOnce(8, func(int) (*broker.TokenAnswer, error) { return e.token(in) })
	won := 0
	for _, r := range results {
		if r.Err != nil {
			brokertest.WantCode(t, r.Err, broker.CodeInvalidGrant)
			continue
		}
		won++
		if e.alive(r.Value.AccessToken) {
			t.Error("the winner's access token is alive")
		}
		_, err := e.token(refreshing("app", r.Value.RefreshToken))
		brokertest.WantCode(t, err, broker.CodeInvalidGrant)
	}
	if won != 1 {
		t.Errorf("%d requests got tokens", won)
	}
}

func TestACodeOfARevokedClientIsRefused(t *testing.T) {
	e := newTokenEndpoint(t)
	in := e.code("app")
	if _, err := e.RevokeClient(t.Context(), "app", "", brokertest.Operator); err != nil {
		t.Fatal(err)
	}
	e.refuses(in, broker.CodeInvalidGrant)
	client, _, err := directory.ReadClient(t.Context(), e.Store, "app")
	if err != nil {
		t.Fatal(err)
	}
	e.mustToken(e.code("app", func(c *credential.AuthorizationCode) { c.CEP = client.Epoch }))
}

// secretsBefore calls before when a key of the purpose is needed.
type secretsBefore struct {
	brokertest.Secrets
	purpose string
	before  func()
}

func (s *secretsBefore) Keys(purpose string) [][]byte {
	if purpose == s.purpose && s.before != nil {
		before := s.before
		s.before = nil
		before()
	}
	return s.Secrets.Keys(purpose)
}

// TestACodeOfAClientThatIsRevokedMeanwhileIsRefused: the epoch of the client rises after the client has authenticated.
func TestACodeOfAClientThatIsRevokedMeanwhileIsRefused(t *testing.T) {
	secrets := &secretsBefore{purpose: "authorization-code"}
	e := newTokenEndpoint(t, func(c *oauthclient.Config) { c.Secrets = secrets })
	in := e.code("app")
	secrets.before = func() {
		if _, err := e.RevokeClient(t.Context(), "app", "", brokertest.Operator); err != nil {
			t.Error(err)
		}
	}
	e.refuses(in, broker.CodeInvalidGrant)
}

func TestACodeDiesWithItsBrowserSession(t *testing.T) {
	e := newTokenEndpoint(t)
	in := e.code("app", offline)
	if _, err := e.LogOff(t.Context(), e.browser.RefreshToken, e.browser.CSRFToken, brokertest.Request); err != nil {
		t.Fatal(err)
	}
	e.refuses(in, broker.CodeInvalidGrant)
}

func TestALogOffEndsDependentGrantsAtOnceAndNoOthers(t *testing.T) {
	e := newTokenEndpoint(t)
	dependent, second, kept := e.mustToken(e.code("app")), e.mustToken(e.code("spa")), e.mustToken(e.code("app", offline))
	if _, err := e.LogOff(t.Context(), e.browser.RefreshToken, e.browser.CSRFToken, brokertest.Request); err != nil {
		t.Fatal(err)
	}
	for name, gone := range map[string]*broker.TokenAnswer{"app": dependent, "spa": second} {
		if e.alive(gone.AccessToken) {
			t.Errorf("the access token of %s is alive", name)
		}
		found := false
		for _, event := range e.Ledger.Events() {
			found = found || event.Kind == revocation.KindSID && event.Value == e.claims(gone.AccessToken)["sid"]
		}
		if !found {
			t.Errorf("no event of the grant of %s", name)
		}
		e.refuses(refreshing(name, gone.RefreshToken), broker.CodeInvalidGrant)
	}
	if !e.alive(kept.AccessToken) {
		t.Error("the access token of an offline grant was revoked")
	}
	e.mustToken(refreshing("app", kept.RefreshToken))
}

func TestRFC8707Section22ResourcesOfACode(t *testing.T) {
	e := newTokenEndpoint(t)
	e.changeClient("app", func(c *directory.ClientRecord) { c.Audiences = []string{"demo-api", "orders"} })
	in := e.code("app", func(c *credential.AuthorizationCode) {
		c.Resources, c.Audience = []string{demoURI, "https://orders.test/"}, []string{"demo-api", "orders", demoURI, "https://orders.test/"}
	})
	in.Resources = []string{demoURI}
	answer := e.mustToken(in)
	want := func(token string, want ...any) {
		t.Helper()
		if got := e.claims(token)["aud"].([]any); len(got) != len(want) || got[0] != want[0] || got[len(got)-1] != want[len(want)-1] {
			t.Errorf("aud %v, want %v", got, want)
		}
	}
	want(answer.AccessToken, "demo-api", demoURI)
	all := e.mustToken(refreshing("app", answer.RefreshToken)) // the grant has both
	want(all.AccessToken, "demo-api", "orders", demoURI, "https://orders.test/")
	narrow := refreshing("app", all.RefreshToken)
	narrow.Resources = []string{"https://orders.test/"}
	answer = e.mustToken(narrow)
	want(answer.AccessToken, "orders", "https://orders.test/")
	e.changeClient("app", func(c *directory.ClientRecord) { c.Audiences = []string{"orders"} })
	answer = e.mustToken(refreshing("app", answer.RefreshToken))
	want(answer.AccessToken, "orders", "https://orders.test/")
}

func TestAClientWithoutTheRefreshGrantGetsNoRefreshToken(t *testing.T) {
	e := newTokenEndpoint(t)
	e.changeClient("app", func(c *directory.ClientRecord) { c.Grants = []string{broker.GrantAuthorizationCode} })
	answer := e.mustToken(e.code("app"))
	if answer.RefreshToken != "" {
		t.Error("a refresh token")
	}
}

// TestACodeThatIsRedeemedAtTwoBrokersAtOnceIsRevoked: one of the brokers wins, and everything that it issued is revoked.
func TestACodeThatIsRedeemedAtTwoBrokersAtOnceIsRevoked(t *testing.T) {
	one := newTokenEndpoint(t)
	other := brokertest.Start(t, func(c *brokertest.Config) {
		c.Store, c.Ledger, c.Broadcast, c.Denylist, c.Clock = one.Store, one.Ledger, one.Ledger, one.Ledger, one.Clock
	})
	other.Store, other.Ledger, other.Clock = one.Store, one.Ledger, one.Clock
	two := tokenEndpointOn(t, other)
	for range 20 {
		in := one.code("app", offline)
		results := brokertest.AtOnce(2, func(i int) (*broker.TokenAnswer, error) {
			return []*tokenEndpoint{one, two}[i].svc.Token(t.Context(), in, brokertest.Request)
		})
		if (results[0].Err == nil) == (results[1].Err == nil) {
			t.Fatalf("errors %v and %v, want one", results[0].Err, results[1].Err)
		}
		for _, r := range results {
			if r.Err != nil {
				brokertest.WantCode(t, r.Err, broker.CodeInvalidGrant)
				continue
			}
			if one.alive(r.Value.AccessToken) {
				t.Error("the access token of the broker that won is alive")
			}
			one.refuses(refreshing("app", r.Value.RefreshToken), broker.CodeInvalidGrant)
		}
	}
}

// TestACodeOfAnAuthorizationIsRedeemed: also after the client's earlier tokens were revoked.
func TestACodeOfAnAuthorizationIsRedeemed(t *testing.T) {
	e := newTokenEndpoint(t)
	e.changeClient("app", func(c *directory.ClientRecord) { c.FirstParty = true })
	if _, err := e.RevokeClient(t.Context(), "app", "", brokertest.Operator); err != nil {
		t.Fatal(err)
	}
	authorized, err := e.svc.Authorize(t.Context(), broker.AuthorizationRequest{RefreshToken: e.browser.RefreshToken, Params: url.Values{
		"response_type": {"code"}, "client_id": {"app"}, "redirect_uri": {tokenRedirect}, "scope": {"openid hello:read"}, "state": {"s"}, "nonce": {"n"},
		"code_challenge": {codeChallenge}, "code_challenge_method": {"S256"},
	}}, brokertest.Request)
	if err != nil || authorized.Answer.Get("code") == "" {
		t.Fatalf("%+v, %v", authorized, err)
	}
	answer := e.mustToken(as("app", broker.TokenRequest{
		GrantType: broker.GrantAuthorizationCode, Code: authorized.Answer.Get("code"), RedirectURI: tokenRedirect, Verifier: codeVerifier,
	}))
	if id := e.claims(answer.IDToken); id["nonce"] != "n" || answer.Scope != "openid hello:read" {
		t.Errorf("answer %+v, id token %v", answer, id)
	}
}
