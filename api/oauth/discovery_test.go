package oauth_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/api/internal/apitest"
)

func TestDiscoveryNamesTheIntrospection(t *testing.T) {
	var got struct {
		Endpoint string   `json:"introspection_endpoint"`
		Methods  []string `json:"introspection_endpoint_auth_methods_supported"`
	}
	if err := json.NewDecoder(apitest.Call(apitest.New(t, &apitest.Fake{}), "GET", "/.well-known/oauth-authorization-server", "").Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if got.Endpoint != apitest.Own+"/oauth2/introspect" || !cmp.Equal(got.Methods, []string{"client_secret_basic", "client_secret_post"}) {
		t.Errorf("%+v", got)
	}
	if _, err := url.Parse(got.Endpoint); err != nil {
		t.Error(err)
	}
}

func TestDiscoveryNamesOnlyExistingEndpoints(t *testing.T) {
	h := apitest.New(t, &apitest.Fake{})
	for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"} {
		res := apitest.Call(h, "GET", path, "")
		var doc map[string]any
		if err := json.NewDecoder(res.Body).Decode(&doc); err != nil {
			t.Fatal(err)
		}
		if doc["issuer"] != apitest.Own || doc["access_token_max_lifetime"] != 300.0 || res.Header.Get("Cache-Control") != "public, max-age=300" {
			t.Errorf("%v %v", doc, res.Header)
		}
		for name, v := range doc {
			if url, ok := v.(string); ok && (strings.HasSuffix(name, "_uri") || strings.HasSuffix(name, "_endpoint")) {
				method, want := "GET", 200
				if name == "introspection_endpoint" {
					method, want = "POST", 400 // a form is wanted
				}
				if got := apitest.Call(h, method, strings.TrimPrefix(url, apitest.Own), "").StatusCode; got != want {
					t.Errorf("%s names %s, which answers %d", name, url, got)
				}
			}
		}
	}
}
