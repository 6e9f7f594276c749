package config_test

import (
	"strings"
	"testing"

	"tokenbroker/config"
)

// An issuer that cannot work is refused with the reason; one of which only the discovery
// document can tell is not.
func TestIssuersThatCannotWork(t *testing.T) {
	const tenant = "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad"
	for issuer, says := range map[string]string{
		"https://id.example.com":                                                        "",
		"https://id.example.com/":                                                       "", // Auth0
		"https://id.example.com:8443/realms/Main":                                       "",
		"https://id.example.com//a":                                                     "",
		"https://accounts.google.com":                                                   "",
		"https://xn--bcher-kva.example":                                                 "",
		"https://[2001:db8::1]/a":                                                       "",
		"http://localhost:9090/a":                                                       "",
		"https://id.example.com/%7euser":                                                "",
		tenant + "/v2.0":                                                                "",
		"https://id.example.com/.well-known/openid-configuration":                       "remove /.well-known/openid-configuration",
		"https://id.example.com/realm/.well-known/openid-configuration/":                "address of a document",
		"https://id.example.com/.Well-Known/OpenID-Configuration":                       "address of a document",
		"https://id.example.com/.well-known/openid-configuration?p=b2c":                 "address of a document",
		"https://id.example.com/.well-known/oauth-authorization-server":                 "address of a document",
		"https://cognito-idp.us-east-1.amazonaws.com/us-east-1_a/.well-known/jwks.json": "address of a document",
		"https://login.microsoftonline.com/{tenantid}/v2.0":                             "placeholder",
		"https://login.microsoftonline.com/<tenant>/v2.0":                               "placeholder",
		"https://id.example.com/%7Btenant%7D":                                           "placeholder",
		"https://{host}/":                                                               "placeholder",
		"https://login.microsoftonline.com/common/v2.0":                                 `has "common" in place of a tenant`,
		"https://login.microsoftonline.com/organizations/v2.0":                          `"organizations"`,
		"https://login.microsoftonline.com/consumers/v2.0":                              `"consumers"`,
		"https://login.microsoftonline.us/common/v2.0":                                  `"common"`,
		"https://login.microsoftonline.com/contoso.onmicrosoft.com/v2.0":                "in place of a tenant's id",
		"https://login.microsoftonline.com/":                                            "in place of a tenant's id",
		tenant:                                                                          "does not end with /v2.0",
		tenant + "/":                                                                    "does not end with /v2.0",
		tenant + "/v2.0/":                                                               "does not end with /v2.0",
		"https://ID.example.com":                                                        "capital letters",
		"https://id.example.COM/realm":                                                  "capital letters",
		"HTTPS://id.example.com":                                                        "capital letters",
		"Https://id.example.com":                                                        "capital letters",
		"https://id.example.com?tenant=a":                                               "query",
		"https://id.example.com/?":                                                      "query",
		"https://id.example.com#":                                                       "fragment",
		"https://id.example.com/#a":                                                     "fragment",
		"https://user@id.example.com":                                                   "has a user",
		"https://user:secret@id.example.com":                                            "has a user",
		" https://id.example.com":                                                       "' '",
		"https://id.example.com ":                                                       "' '",
		"https://id.example.com/my realm":                                               "' '",
		"https://id.example.com/\t":                                                     `'\t'`,
		`https:\\id.example.com`:                                                        `'\\'`,
		"https://bücher.example":                                                        "xn--bcher-kva.example",
		"https://id.example.com/café":                                                   `'\u00e9'`,
		"https://id.example.com/a/../b":                                                 ". or ..",
		"https://id.example.com/./b":                                                    ". or ..",
		"https://id.example.com/%2e%2e/b":                                               ". or ..",
		"https://id.example.com/..":                                                     ". or ..",
		"https://id.example.com:0":                                                      "port that is not valid",
		"https://id.example.com:99999":                                                  "port that is not valid",
		"https://id.example.com:":                                                       "port that is not valid",
		"id.example.com":                                                                "not an https URL",
		"https://":                                                                      "not an https URL",
		"https:///realm":                                                                "not an https URL",
		"ftp://id.example.com":                                                          "not an https URL",
		"http://id.example.com":                                                         "is http",
		"https://id.example.com:44x":                                                    "not an https URL",
		"https://id.example.com/%zz":                                                    "not an https URL",
	} {
		t.Run(issuer, func(t *testing.T) {
			content := strings.Replace(base["oidc"], "'https://id.example.com/realm'", `"`+strings.NewReplacer(`\`, `\\`, "\t", `\t`).Replace(issuer)+`"`, 1)
			opts := config.Options{File: write(t, "c.yaml", content)}
			if says == "" {
				if loaded := mustLoad(t, opts); len(loaded.Warnings) > 0 {
					t.Errorf("warnings: %v", loaded.Warnings)
				}
				return
			}
			found := problems(t, opts)
			wantProblem(t, found, "providers.corp.issuer", says)
			if len(found) != 1 || strings.Contains(found[0].Message+found[0].Hint, "secret") {
				t.Errorf("problems: %v", found)
			}
		})
	}
}

// The default port works where the provider's document also writes it.
func TestIssuerWithDefaultPortIsAWarning(t *testing.T) {
	for issuer, port := range map[string]string{"https://id.example.com:443/realm": "443", "http://127.0.0.1:80": "80", "https://id.example.com:80": ""} {
		content := strings.Replace(base["oidc"], "https://id.example.com/realm", issuer, 1)
		loaded := mustLoad(t, config.Options{File: write(t, "c.yaml", content)})
		if text := loaded.Warnings.Error(); (port != "") != strings.Contains(text, "names the default port "+port) {
			t.Errorf("%s: warnings %q", issuer, text)
		}
	}
}
