package oauth_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"tokenbroker/api/internal/apitest"
)

func document(t *testing.T, path string) map[string]any {
	t.Helper()
	res := apitest.Call(apitest.New(t, &apitest.Fake{}), "GET", path, "", "Origin: https://any.example")
	var doc map[string]any
	if err := json.NewDecoder(res.Body).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 200 || res.Header.Get("Cache-Control") != "public, max-age=300" || res.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	return doc
}

var documents = []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"}

func TestDiscoveryNamesWhatIsSupported(t *testing.T) {
	for _, path := range documents {
		doc := document(t, path)
		for name, want := range map[string]string{
			"issuer":                                           `"http://127.0.0.1:8080"`,
			"authorization_endpoint":                           `"http://127.0.0.1:8080/auth/authorize"`,
			"end_session_endpoint":                             `"http://127.0.0.1:8080/auth/logout"`,
			"token_endpoint":                                   `"http://127.0.0.1:8080/oauth2/token"`,
			"access_token_max_lifetime":                        `300`,
			"scopes_supported":                                 `["openid","hello:read"]`,
			"response_types_supported":                         `["code"]`,
			"response_modes_supported":                         `["query","form_post"]`,
			"grant_types_supported":                            `["authorization_code","refresh_token","client_credentials","urn:ietf:params:oauth:grant-type:token-exchange"]`,
			"subject_types_supported":                          `["public"]`,
			"id_token_signing_alg_values_supported":            `["ES256"]`,
			"token_endpoint_auth_methods_supported":            `["none","client_secret_basic","client_secret_post","private_key_jwt"]`,
			"token_endpoint_auth_signing_alg_values_supported": `["ES256"]`,
			"revocation_endpoint_auth_methods_supported":       `["none","client_secret_basic","client_secret_post","private_key_jwt"]`,
			"introspection_endpoint_auth_methods_supported":    `["client_secret_basic","client_secret_post","private_key_jwt"]`,
			"claims_supported":                                 `["iss","sub","aud","exp","iat","auth_time","nonce","acr","amr","at_hash","sid","email","name"]`,
			"claims_parameter_supported":                       `true`,
			"request_parameter_supported":                      `false`,
			"request_uri_parameter_supported":                  `false`,
			"code_challenge_methods_supported":                 `["S256"]`,
			"authorization_response_iss_parameter_supported":   `true`,
			"prompt_values_supported":                          `["none","login","consent","select_account"]`,
		} {
			if got, err := json.Marshal(doc[name]); err != nil || string(got) != want {
				t.Errorf("%s is %s, want %s", name, got, want)
			}
		}
	}
}

func TestDiscoveryNamesOnlyExistingEndpoints(t *testing.T) {
	h := apitest.New(t, &apitest.Fake{})
	for _, path := range documents {
		named := 0
		for name, v := range document(t, path) {
			url, ok := v.(string)
			if !ok || !strings.HasSuffix(name, "_uri") && !strings.HasSuffix(name, "_endpoint") {
				continue
			}
			named++
			want := map[string]struct {
				method   string
				statuses []int
			}{
				"token_endpoint":         {"POST", []int{400}}, // a form is wanted
				"revocation_endpoint":    {"POST", []int{400}},
				"introspection_endpoint": {"POST", []int{400}},
				"userinfo_endpoint":      {"GET", []int{401}}, // a token is wanted
				"authorization_endpoint": {"GET", []int{400}}, // a client is wanted
				"end_session_endpoint":   {"GET", []int{200}},
				"jwks_uri":               {"GET", []int{200}},
			}[name]
			got := apitest.Call(h, want.method, strings.TrimPrefix(url, apitest.Own), "").StatusCode
			if !slices.Contains(want.statuses, got) {
				t.Errorf("%s names %s, which answers %s with %d", name, url, want.method, got)
			}
		}
		if named != 7 {
			t.Errorf("%d endpoints", named)
		}
	}
}
