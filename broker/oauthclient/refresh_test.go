package oauthclient_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/credential"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/oauthclient"
)

func TestRFC6749Section6Refresh(t *testing.T) {
	e := newTokenEndpoint(t)
	first := e.mustToken(e.code("app"))
	second := e.mustToken(refreshing("app", first.RefreshToken))
	if second.RefreshToken == first.RefreshToken || second.Scope != first.Scope || second.ExpiresIn != 5*time.Minute || second.IDToken == "" {
		t.Errorf("answer %+v", second)
	}
	if a, b := e.claims(first.AccessToken), e.claims(second.AccessToken); a["sid"] != b["sid"] || a["jti"] == b["jti"] {
		t.Errorf("claims %v, then %v", a, b)
	}
	replay := e.mustToken(refreshing("app", first.RefreshToken)) // within the grace
	if replay.RefreshToken != second.RefreshToken || !strings.Contains(e.audit.String(), "event=refresh_replayed") {
		t.Errorf("replay %+v; audit:\n%s", replay, e.audit)
	}
}

func TestRFC6749Section104ReuseEndsItsOwnGrantAndNoOther(t *testing.T) {
	e := newTokenEndpoint(t)
	first, bystander := e.mustToken(e.code("app")), e.mustToken(e.code("app"))
	second := e.mustToken(refreshing("app", first.RefreshToken))
	e.Clock.Advance(11 * time.Second)
	e.refusesRefresh(refreshing("app", first.RefreshToken), "reused")
	if !strings.Contains(e.audit.String(), "level=WARN msg=audit event=refresh_refused") {
		t.Errorf("audit:\n%s", e.audit)
	}
	if e.alive(second.AccessToken) || !e.alive(bystander.AccessToken) {
		t.Error("reuse has to end the access tokens of its own grant, and only those")
	}
	e.refusesRefresh(refreshing("app", second.RefreshToken), "reused")
	e.mustToken(refreshing("app", bystander.RefreshToken))
	if _, err := e.Refresh(t.Context(), e.browser.RefreshToken, e.browser.CSRFToken, brokertest.Request); err != nil {
		t.Errorf("the browser session: %v", err)
	}
}

// refusesRefresh fails the test unless the refresh is refused with invalid_grant and the reason.
func (e *tokenEndpoint) refusesRefresh(in broker.TokenRequest, reason string) {
	e.Helper()
	e.refuses(in, broker.CodeInvalidGrant)
	if !strings.Contains(e.audit.String(), "reason="+reason) && !strings.Contains(e.audit.String(), `reason="`+reason) {
		e.Errorf("audit:\n%s\nwant the reason %s", e.audit, reason)
	}
	if strings.Contains(e.audit.String(), "rt1.") {
		e.Error("the audit log contains a refresh token")
	}
}

func TestRFC6749Section52RefreshTokenIsRefused(t *testing.T) {
	e := newTokenEndpoint(t)
	answer := e.mustToken(e.code("app"))
	ahead, err := credential.ParseRefreshToken(answer.RefreshToken, brokertest.Secrets{})
	if err != nil {
		t.Fatal(err)
	}
	unknown := credential.NewRefreshToken(ahead.UID, broker.NewID())
	wrong := credential.NewRefreshToken(ahead.UID, ahead.SID)
	e.refuses(refreshing("app", ""), broker.CodeInvalidRequest)
	e.refusesRefresh(refreshing("other", answer.RefreshToken), "wrong_client")
	e.refusesRefresh(refreshing("spa", answer.RefreshToken), "wrong_client")
	e.refusesRefresh(refreshing("app", e.browser.RefreshToken), "wrong_channel")
	e.refusesRefresh(refreshing("app", "rt1.x"), "not a refresh token")
	e.refusesRefresh(refreshing("app", answer.RefreshToken+"A"), "not a refresh token")
	e.refusesRefresh(refreshing("app", unknown.Encode(brokertest.Secrets{})), "unknown")
	e.refusesRefresh(refreshing("app", wrong.Encode(brokertest.Secrets{})), "wrong_secret")
	long := refreshing("app", strings.Repeat("a", 3000))
	e.refuses(long, broker.CodeInvalidRequest)
	// None of these has changed the grant or the browser session.
	answer = e.mustToken(refreshing("app", answer.RefreshToken))
	if _, err := e.Refresh(t.Context(), e.browser.RefreshToken, e.browser.CSRFToken, brokertest.Request); err != nil {
		t.Errorf("the browser session: %v", err)
	}
	if _, err := e.Refresh(t.Context(), answer.RefreshToken, credential.CSRFToken(brokertest.Secrets{}, ahead.SID.String()), brokertest.Request); err == nil {
		t.Error("the browser's refresh takes a client's token")
	}
	ahead.Generation = 99
	e.refusesRefresh(refreshing("app", ahead.Encode(brokertest.Secrets{})), "generation_ahead")
}

func TestRFC6749Section6ScopeOfARefresh(t *testing.T) {
	e := newTokenEndpoint(t)
	answer := e.mustToken(e.code("app"))
	in := refreshing("app", answer.RefreshToken)
	for _, scope := range []string{"email", "hello:read admin", "hello:read\t"} {
		in.Scope = scope
		e.refuses(in, broker.CodeInvalidScope)
	}
	in.Scope, in.Resources = "", []string{"https://orders.test/"}
	e.refuses(in, broker.CodeInvalidTarget)
	// The refusals have not rotated the token: it is the current one.
	in.Scope, in.Resources = "hello:read", nil
	narrow := e.mustToken(in)
	if narrow.Scope != "hello:read" || narrow.IDToken != "" || e.claims(narrow.AccessToken)["scope"] != "hello:read" || strings.Contains(e.audit.String(), "replayed") {
		t.Errorf("answer %+v; audit:\n%s", narrow, e.audit)
	}
	in = refreshing("app", narrow.RefreshToken)
	in.Scope = "openid"
	id := e.mustToken(in)
	if aud := e.claims(id.AccessToken)["aud"].([]any); len(aud) != 1 || aud[0] != "http://issuer.test" {
		t.Errorf("aud %v of a token with only OpenID scopes", aud)
	}
	all := e.mustToken(refreshing("app", id.RefreshToken))
	if all.Scope != answer.Scope {
		t.Errorf("scope %q after a narrower token, want that of the grant", all.Scope)
	}
	e.changeClient("app", func(c *directory.ClientRecord) { c.Scopes = []string{"hello:read"} })
	lost := e.mustToken(refreshing("app", all.RefreshToken))
	if lost.Scope != "hello:read" || lost.IDToken != "" {
		t.Errorf("answer %+v after the client lost scopes", lost)
	}
}

func TestARefreshThatIsAnsweredTooOftenIsRefusedAndEndsNothing(t *testing.T) {
	e := newTokenEndpoint(t)
	first := e.mustToken(e.code("app"))
	second := e.mustToken(refreshing("app", first.RefreshToken))
	for range 128 {
		e.mustToken(refreshing("app", first.RefreshToken))
	}
	e.audit.Reset()
	_, err := e.token(refreshing("app", first.RefreshToken))
	brokertest.WantCode(t, err, broker.CodeInvalidGrant)
	e.mustToken(refreshing("app", second.RefreshToken))
}

func TestAGrantEndsWithItsUserItsClientAndTheBrowserSession(t *testing.T) {
	for name, tc := range map[string]struct {
		offline bool
		end     func(e *tokenEndpoint) error
	}{
		"the user is disabled": {true, func(e *tokenEndpoint) error {
			_, err := e.DisableUser(e.Context(), "ada", brokertest.Operator)
			return err
		}},
		"the client is revoked": {true, func(e *tokenEndpoint) error {
			_, err := e.RevokeClient(e.Context(), "app", "", brokertest.Operator)
			return err
		}},
		"everybody is revoked": {true, func(e *tokenEndpoint) error {
			_, err := e.RevokeEverybody(e.Context(), "", brokertest.Operator)
			return err
		}},
		"the grant is revoked": {true, func(e *tokenEndpoint) error { return nil }},
		"the session is revoked": {false, func(e *tokenEndpoint) error {
			_, err := e.RevokeSession(e.Context(), e.browser.SID, "", brokertest.Operator)
			return err
		}},
		"the browser is idle": {false, func(e *tokenEndpoint) error { e.Clock.Advance(brokertest.Policy.Idle + time.Hour); return nil }},
	} {
		t.Run(name, func(t *testing.T) {
			e := newTokenEndpoint(t)
			var change []func(*credential.AuthorizationCode)
			if tc.offline {
				change = append(change, offline)
			}
			answer := e.mustToken(e.code("app", change...))
			if err := tc.end(e); err != nil {
				t.Fatal(err)
			}
			if name == "the grant is revoked" {
				if _, err := e.RevokeSession(t.Context(), e.claims(answer.AccessToken)["sid"].(string), "", brokertest.Operator); err != nil {
					t.Fatal(err)
				}
			}
			e.refuses(refreshing("app", answer.RefreshToken), broker.CodeInvalidGrant)
		})
	}
}

// brokenClaims fails while it is true.
type brokenClaims struct {
	credential.CustomClaims
	broken bool
}

func (b *brokenClaims) Claims(context.Context, credential.ClaimsInput) (map[string]any, error) {
	if b.broken {
		return nil, errors.New("no such attribute")
	}
	return map[string]any{"team": "blue"}, nil
}

func TestARefreshWithoutClaimsRotatesNothing(t *testing.T) {
	claims := &brokenClaims{}
	e := newTokenEndpoint(t, func(c *oauthclient.Config) { c.CustomClaims = claims })
	answer := e.mustToken(e.code("app"))
	if e.claims(answer.AccessToken)["team"] != "blue" {
		t.Errorf("claims %v", e.claims(answer.AccessToken))
	}
	claims.broken = true
	e.refuses(refreshing("app", answer.RefreshToken), broker.CodeClaimsFailed)
	claims.broken = false
	e.Clock.Advance(time.Hour) // beyond any grace
	e.mustToken(refreshing("app", answer.RefreshToken))
}
