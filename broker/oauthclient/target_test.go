package oauthclient_test

import (
	"slices"
	"testing"

	"tokenbroker/broker"
	"tokenbroker/broker/credential"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/oauthclient"
)

// A resource without a path names the one that is configured with "/", and the aud has the configured form (RFC 3986 §6.2.3).
func TestAResourceWithoutItsSlashIsTheConfiguredOne(t *testing.T) {
	h := newTokenEndpoint(t)
	const sent = "https://demo.test"
	want := []any{"demo-api", demoURI}
	check := func(name string, e *tokenEndpoint, in broker.TokenRequest) *broker.TokenAnswer {
		t.Helper()
		answer := e.mustToken(in)
		if aud := e.claims(answer.AccessToken)["aud"].([]any); !slices.Equal(aud, want) {
			t.Errorf("%s: aud %v, want %v", name, aud, want)
		}
		return answer
	}
	machine := as("machine", broker.TokenRequest{GrantType: broker.GrantClientCredentials, Resources: []string{sent, demoURI}})
	check("client credentials", h, machine)
	code := h.code("app")
	code.Resources = []string{sent}
	answer := check("code", h, code)
	check("exchange", h, exchanging("machine", answer.AccessToken, func(in *broker.TokenRequest) { in.Resources = []string{sent} }))
	refreshed := refreshing("app", answer.RefreshToken)
	refreshed.Resources = []string{sent}
	check("refresh", h, refreshed)

	// The grant of an earlier configuration, which had no slash.
	grant := h.mustToken(h.code("app", func(c *credential.AuthorizationCode) { c.Audience = []string{"demo-api", sent} }))
	check("the configured form after the grant", h, refreshing("app", grant.RefreshToken))

	// Two resources that are configured apart stay apart.
	apart := tokenEndpointOn(t, h.Harness, func(c *oauthclient.Config) { c.Resources = map[string]string{"demo-api": sent, "orders": demoURI} })
	machine.Resources = []string{demoURI}
	want = []any{"orders", demoURI}
	check("with the slash", apart, machine)
	apart.changeClient("app", func(c *directory.ClientRecord) { c.Audiences = []string{"demo-api", "orders"} })
	grant = apart.mustToken(apart.code("app", func(c *credential.AuthorizationCode) { c.Audience = []string{"orders", demoURI} }))
	check("a refresh with the slash", apart, refreshing("app", grant.RefreshToken))
	machine.Resources = []string{sent}
	want = []any{"demo-api", sent}
	check("without it", apart, machine)
}
