package enduser_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/credential"
	"tokenbroker/broker/customclaims"
	"tokenbroker/broker/operator"
)

func withClaims(t *testing.T, cfg customclaims.Config) func(*brokertest.Config) {
	t.Helper()
	set, err := customclaims.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return func(c *brokertest.Config) { c.CustomClaims = set }
}

func TestCustomClaimsAreComputedAtEachRefresh(t *testing.T) {
	h := brokertest.Start(t, withClaims(t, customclaims.Config{
		Attributes: []string{"email", "secret_absent"}, Roles: true,
		Computed: map[string]string{
			"tier":  `user.attributes.level >= 3 ? "gold" : "base"`,
			"from":  `identity.issuer + " " + identity.subject + " " + client.id + " " + session.scope`,
			"whose": `[user.id, session.id, session.amr[0]]`,
			"fresh": `int(session.auth_time) == int(user.last_login) && session.created_at >= user.created_at`,
		},
		UserObject: []string{"username", "email", "roles"},
	}))
	h.Update(t, operator.UserChange{Attributes: map[string]any{"email": "a@example.org", "level": 1, "hidden": "x"}})
	grant := h.MustSignIn(t)
	claims := brokertest.Claims(t, grant.AccessToken)
	for name, want := range map[string]any{
		"email": "a@example.org", "tier": "base", "from": "urn:tokenbroker:local ada demo-spa hello:read",
		"whose": []any{grant.UID, grant.SID, "pwd"}, "fresh": true, "sub": grant.UID, "sid": grant.SID,
		"hidden": nil, "secret_absent": nil, "level": nil, "roles": nil,
	} {
		if diff := cmp.Diff(want, claims[name]); diff != "" {
			t.Errorf("claim %s: -want +got:\n%s", name, diff)
		}
	}
	h.Update(t, operator.UserChange{Attributes: map[string]any{"email": "b@example.org", "level": 3}, Roles: []string{"editor"}})
	grant, err := h.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, brokertest.Request)
	if err != nil {
		t.Fatal(err)
	}
	claims = brokertest.Claims(t, grant.AccessToken)
	if claims["email"] != "b@example.org" || claims["tier"] != "gold" || !cmp.Equal(claims["roles"], []any{"editor"}) {
		t.Errorf("after the change: %v", claims)
	}
	want := map[string]any{"username": "ada", "email": "b@example.org", "roles": []string{"editor"}}
	if diff := cmp.Diff(want, grant.User); diff != "" {
		t.Errorf("the grant's user: -want +got:\n%s", diff)
	}
	info, err := h.Session(t.Context(), grant.RefreshToken, brokertest.Request)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, info.User); diff != "" {
		t.Errorf("the session's user: -want +got:\n%s", diff)
	}
}

func TestAFailingClaimRefusesUntilItsCauseIsRemoved(t *testing.T) {
	h := brokertest.Start(t, withClaims(t, customclaims.Config{Computed: map[string]string{"n": `int(user.attributes.number)`}}))
	_, err := h.SignIn(t.Context(), "ada", "lovelace", brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeClaimsFailed)
	h.Update(t, operator.UserChange{Attributes: map[string]any{"number": "7"}})
	grant := h.MustSignIn(t)
	h.Update(t, operator.UserChange{Attributes: map[string]any{"number": "s3cret"}})
	rotated, err := h.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, brokertest.Request)
	app := brokertest.WantCode(t, err, broker.CodeClaimsFailed)
	if rotated == nil || rotated.RefreshToken == "" || rotated.RefreshToken == grant.RefreshToken || rotated.AccessToken != "" {
		t.Fatalf("the rotated refresh token is missing: %+v", rotated)
	}
	if !strings.Contains(err.Error(), `claim "n"`) || strings.Contains(err.Error(), "s3cret") || strings.Contains(app.Message, `"n"`) {
		t.Errorf("the log must name the claim but not the value, and the answer neither of them: %v", err)
	}
	h.Update(t, operator.UserChange{Attributes: map[string]any{"number": "8"}})
	h.Clock.Advance(time.Hour) // long after the grace period
	again, err := h.Refresh(t.Context(), rotated.RefreshToken, rotated.CSRFToken, brokertest.Request)
	if err != nil {
		t.Fatalf("the token that came with the error: %v", err)
	}
	if n := brokertest.Claims(t, again.AccessToken)["n"]; n != 8.0 {
		t.Errorf("n is %v", n)
	}
}

// recklessClaims returns a claim with a reserved name.
type recklessClaims struct{ name string }

func (r recklessClaims) Claims(context.Context, credential.ClaimsInput) (map[string]any, error) {
	if r.name == "" {
		return nil, errors.New("no name")
	}
	return map[string]any{r.name: "forged", "fine": 1}, nil
}

func (recklessClaims) UserObject(credential.ClaimsUser) map[string]any { return nil }

func TestAReservedClaimNeverReachesAToken(t *testing.T) {
	for _, name := range strings.Fields("iss sub aud exp iat nbf jti client_id sid scope auth_time acr amr sep cep SUB cnf token_use") {
		h := brokertest.Start(t, func(c *brokertest.Config) { c.CustomClaims = recklessClaims{name: name} })
		grant, err := h.SignIn(t.Context(), "ada", "lovelace", brokertest.Request)
		brokertest.WantCode(t, err, broker.CodeClaimsFailed)
		if grant.AccessToken != "" {
			t.Errorf("%s: a token was issued", name)
		}
	}
	h := brokertest.Start(t, func(c *brokertest.Config) { c.CustomClaims = recklessClaims{name: "free"} })
	if grant := h.MustSignIn(t); grant.User != nil || brokertest.Claims(t, grant.AccessToken)["free"] != "forged" {
		t.Errorf("a name that is not reserved: %v", grant)
	}
}

func TestReservedClaimsAreAllStandardOnes(t *testing.T) {
	for name := range brokertest.Claims(t, brokertest.Start(t).MustSignIn(t).AccessToken) {
		if !credential.ReservedClaim(name) {
			t.Errorf("the standard claim %s is not reserved", name)
		}
	}
}

// locals records whether the user was local at each computation of claims.
type locals struct{ seen []bool }

func (l *locals) Claims(_ context.Context, in credential.ClaimsInput) (map[string]any, error) {
	l.seen = append(l.seen, in.User.Local)
	return nil, nil
}

func (l *locals) UserObject(u credential.ClaimsUser) map[string]any {
	return map[string]any{"local": u.Local}
}

// A provider's user may have the name of a local user. Only the local user is local.
func TestProvidersUserWithALocalNameIsNotLocal(t *testing.T) {
	claims := &locals{}
	p := &brokertest.Provider{Identity: broker.Identity{Provider: "cognito", Issuer: "https://idp.test", Subject: "sub-1", Username: "ada", TokenHash: "t", Proven: true}}
	h := brokertest.Start(t, func(c *brokertest.Config) {
		c.CustomClaims, c.Providers = claims, map[string]broker.IdentityProvider{"cognito": p}
	})
	local := h.MustSignIn(t)
	federated, err := h.ExchangeTokens(t.Context(), "cognito", broker.UpstreamTokens{IDToken: "x"}, brokertest.Request)
	if err != nil {
		t.Fatal(err)
	}
	if local.User["local"] != true || federated.User["local"] != false {
		t.Errorf("user objects %v and %v", local.User, federated.User)
	}
	if len(claims.seen) != 2 || !claims.seen[0] || claims.seen[1] {
		t.Errorf("claims were computed from local = %v", claims.seen)
	}
}
