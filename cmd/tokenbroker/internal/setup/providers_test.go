package setup

import (
	"slices"
	"strings"
	"testing"

	"tokenbroker/config"
)

// The emulator takes the place of AWS in all that is asked, also where a configuration names the
// real pool's issuer and domain.
func TestDevEndpointReplacesAWS(t *testing.T) {
	p := config.Provider{
		Kind: "cognito", Region: "us-east-1", UserPool: "us-east-1_a", ClientID: "app", Domain: "https://x.auth.us-east-1.amazoncognito.com",
		Issuer: "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_a", InsecureDevEndpoint: "http://127.0.0.1:9090",
	}
	if _, problems := providers(&config.Config{Providers: map[string]config.Provider{"pool": p}}); len(problems) > 0 {
		t.Error(problems)
	}
	if c := UpstreamConfig("pool", p); c.Issuer != "http://127.0.0.1:9090/us-east-1_a" || len(c.Issuers) > 0 || c.LogoutURL != "http://127.0.0.1:9090" {
		t.Errorf("issuer %s, issuers %q, log-out at %s", c.Issuer, c.Issuers, c.LogoutURL)
	}
}

// A user pool's issuer is one of its own, and users are known by the same one in any case.
func TestIssuerOfAUserPool(t *testing.T) {
	const original, updated = "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_a", "https://issuer-cognito-idp.us-east-1.amazonaws.com/us-east-1_a"
	for _, tc := range []struct {
		region, issuer, first string // first: "" where it is refused
	}{
		{"us-east-1", "", original},
		{"us-east-1", original, original},
		{"us-east-1", updated, updated},
		{"us-east-1", "https://cognito-idp.us-east-1.api.aws/us-east-1_a", "https://cognito-idp.us-east-1.api.aws/us-east-1_a"},
		{"us-west-2", "", "https://cognito-idp.us-west-2.amazonaws.com/us-east-1_a"},
		{"us-west-2", updated, updated},
		{"us-east-1", updated + "/", ""},
		{"us-east-1", "https://issuer-cognito-idp.us-east-1.amazonaws.com/us-east-1_b", ""},
		{"us-east-1", "https://cognito-idp.us-west-2.amazonaws.com/us-east-1_a", ""},
		{"us-east-1", "https://id.example.com", ""},
	} {
		p := config.Provider{Kind: "cognito", Region: tc.region, UserPool: "us-east-1_a", ClientID: "app", Issuer: tc.issuer}
		_, problems := providers(&config.Config{Providers: map[string]config.Provider{"pool": p}})
		if tc.first == "" {
			if len(problems) != 1 || problems[0].Key != "providers.pool.issuer" || !strings.Contains(problems[0].Hint, original+" or "+updated) {
				t.Errorf("%s in %s: problems %v", tc.issuer, tc.region, problems)
			}
			continue
		}
		c := UpstreamConfig("pool", p)
		if len(problems) > 0 || c.Issuer != original || c.Issuers[0] != tc.first || !slices.Contains(c.Issuers, original) || !slices.Contains(c.Issuers, updated) {
			t.Errorf("%s in %s: %v, identities of %s, issuers %q", tc.issuer, tc.region, problems, c.Issuer, c.Issuers)
		}
	}
}
