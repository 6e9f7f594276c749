package config_test

import (
	"testing"

	"tokenbroker/config"
)

func TestWarningsAboutClientsThatDescribeThemselves(t *testing.T) {
	for name, tt := range map[string]struct {
		oauth, key, fragment string
	}{
		"defaults":            {"registration: {enabled: true, scopes: [openid]}, cimd: {enabled: true, scopes: [openid]}", "", ""},
		"loopback":            {"cimd: {insecure_loopback: true}", "oauth.cimd.insecure_loopback", "development only"},
		"short-lived clients": {"registration: {enabled: true, scopes: [openid], unused_after: 1d}", "oauth.registration.unused_after", "shorter than session_idle, 14d"},
		"short sessions":      {"registration: {enabled: true, scopes: [openid], unused_after: 1d, session_idle: 12h}", "", ""},
		"no refresh tokens":   {"registration: {enabled: true, scopes: [openid], unused_after: 1d, refresh_tokens: false}", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			warnings := mustLoad(t, config.Options{File: write(t, "c.yaml", good+"oauth: {"+tt.oauth+"}\n")}).Warnings
			if tt.key == "" {
				if len(warnings) > 0 {
					t.Errorf("%v", warnings)
				}
				return
			}
			wantProblem(t, warnings, tt.key, tt.fragment)
		})
	}
}

func TestClientPolicyIsWhatItsGroupHas(t *testing.T) {
	cfg := mustLoad(t, config.Options{File: write(t, "c.yaml", good+`oauth:
  registration: {scopes: [openid], audiences: [other], refresh_tokens: false, access_token: 1m, session_idle: 1h, session_absolute: 8h, refresh_grace: 0s}
`)}).Config
	p := cfg.OAuth.Registration.Policy()
	if len(p.Scopes) != 1 || len(p.Audiences) != 1 || p.RefreshTokens || p.AccessLife.Minutes() != 1 || p.Idle.Hours() != 1 || p.Absolute.Hours() != 8 || p.Grace == nil || *p.Grace != 0 {
		t.Errorf("%+v", p)
	}
	if p := cfg.OAuth.CIMD.Policy(); !p.RefreshTokens || p.Grace != nil || p.AccessLife != 0 || len(p.Scopes) > 0 {
		t.Errorf("the other group: %+v", p)
	}
}
