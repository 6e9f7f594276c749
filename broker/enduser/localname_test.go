package enduser_test

import (
	"context"
	"testing"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/credential"
)

// locals records what claims are computed from.
type locals struct{ seen []bool }

func (l *locals) Claims(_ context.Context, in credential.ClaimsInput) (map[string]any, error) {
	l.seen = append(l.seen, in.User.Local)
	return nil, nil
}

func (l *locals) UserObject(u credential.ClaimsUser) map[string]any {
	return map[string]any{"local": u.Local}
}

// A provider may give its user the name of a local one; only the local user's name is local.
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
