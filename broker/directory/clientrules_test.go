package directory_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/broker"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/session"
)

var limits = directory.ClientLimits{Policy: session.Policy{AccessLife: 5 * time.Minute, Idle: 336 * time.Hour, Absolute: 2160 * time.Hour, Grace: 10 * time.Second}}

const publicKeys = `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`

// fullClient returns a confidential client with a value of each kind.
func fullClient() broker.Client {
	grace := 5 * time.Second
	return broker.Client{
		ID: "my-app_1.2", SecretHash: directory.HashSecret("s3cret"), PreviousHash: directory.HashSecret("earlier"), Name: "My app ✓",
		Scopes: []string{"openid", "hello:read"}, DefaultScopes: []string{"hello:read"}, Audiences: []string{"my-api", "https://api.example.com/"},
		Grants:       []string{broker.GrantAuthorizationCode, broker.GrantRefreshToken, broker.GrantClientCredentials, broker.GrantTokenExchange},
		RedirectURIs: []string{"https://app.example.com/callback", "http://127.0.0.1/cb", "http://[::1]:80/cb", "com.example.app:/cb", "com.example.app:cb"}, PostLogoutURIs: []string{"https://app.example.com/"},
		Origins: []string{"https://app.example.com", "http://localhost:5173"}, FirstParty: true,
		AccessLife: time.Minute, Idle: time.Hour, Absolute: 8 * time.Hour, Grace: &grace, JWKS: json.RawMessage(publicKeys),
		Workloads: []broker.Workload{{Issuer: "https://ci.example.com", Subject: "repo:a/b", Audience: "broker"}, {Issuer: "urn:cluster", Subject: "s", Audience: "a", JWKSURI: "https://k8s.example.com/keys"}},
	}
}

func TestValidateClientAcceptsAGoodClient(t *testing.T) {
	if ps := directory.ValidateClient(fullClient(), limits); len(ps) > 0 {
		t.Error(ps)
	}
	public := broker.Client{ID: "spa"}
	if ps := directory.ValidateClient(public, limits); len(ps) > 0 {
		t.Error(ps)
	}
}

func TestAClientIsTheSameAfterItsRecord(t *testing.T) {
	encoded, err := directory.NewClientRecord(fullClient()).Write(0)
	if err != nil {
		t.Fatal(err)
	}
	var record directory.ClientRecord
	if err := directory.DecodeRecord("client", encoded.Value, &record, &record.V); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fullClient(), record.Client()); diff != "" {
		t.Error(diff)
	}
}

func TestValidateClientRefuses(t *testing.T) {
	type client = broker.Client
	many := make([]string, 101)
	for i := range many {
		many[i] = fmt.Sprintf("https://app.example.com/%d", i)
	}
	long := strings.Repeat("a", 600)
	public := func(c *client) {
		c.SecretHash, c.PreviousHash, c.JWKS, c.Workloads = nil, nil, nil, nil
		c.Grants = []string{broker.GrantAuthorizationCode}
	}
	uri := func(uri string) func(*client) { return func(c *client) { c.RedirectURIs = []string{uri} } }
	origin := func(origin string) func(*client) { return func(c *client) { c.Origins = []string{origin} } }
	keys := func(keys string) func(*client) { return func(c *client) { c.JWKS = json.RawMessage(keys) } }
	workload := func(issuer, subject, audience, jwks string) func(*client) {
		return func(c *client) {
			c.Workloads = []broker.Workload{{Issuer: issuer, Subject: subject, Audience: audience, JWKSURI: jwks}}
		}
	}
	for _, tt := range []struct {
		name     string
		change   func(*client)
		key      string
		fragment string
	}{
		{"no id", func(c *client) { c.ID = "" }, "", "not a client id"},
		{"id with a slash", func(c *client) { c.ID = "a/b" }, "", "not a client id"},
		{"id of dots", func(c *client) { c.ID = ".." }, "", "not a client id"},
		{"long id", func(c *client) { c.ID = long }, "", "longer than 128"},
		{"id like a uid", func(c *client) { c.ID = broker.ID{}.String() }, "", "uid"},
		{"name with a control character", func(c *client) { c.Name = "a\x1b[31m" }, "name", "control character"},
		{"name with an override", func(c *client) { c.Name = "a\u202eb" }, "name", "bidirectional"},
		{"name that is not UTF-8", func(c *client) { c.Name = "\xff" }, "name", "UTF-8"},
		{"long name", func(c *client) { c.Name = long }, "name", "more than 128"},
		{"scope with a space", func(c *client) { c.Scopes = []string{"hello:read", "a b"} }, "scopes", "not a scope"},
		{"empty scope", func(c *client) { c.Scopes = []string{"hello:read", ""} }, "scopes", "not a scope"},
		{"long scope", func(c *client) { c.Scopes = []string{"hello:read", long} }, "scopes", "longer"},
		{"too many scopes", func(c *client) { c.Scopes = append(c.Scopes, make([]string, 100)...) }, "scopes", "more than 100"},
		{"default scope of another client", func(c *client) { c.DefaultScopes = []string{"admin"} }, "default_scopes", "not one of the client's scopes"},
		{"empty audience", func(c *client) { c.Audiences = []string{""} }, "audiences", "not the name"},
		{"audience with a line end", func(c *client) { c.Audiences = []string{"a\nb"} }, "audiences", "control character"},
		{"unknown grant", func(c *client) { c.Grants = append(c.Grants, "password") }, "grants", "not a grant"},
		{"implicit grant", func(c *client) { c.Grants = append(c.Grants, "implicit") }, "grants", "not a grant"},
		{"code without redirect URIs", func(c *client) { c.RedirectURIs = nil }, "redirect_uris", "missing"},
		{"redirect URIs without code", func(c *client) { c.Grants = nil }, "redirect_uris", "authorization_code"},
		{"public with client_credentials", func(c *client) { public(c); c.Grants = append(c.Grants, broker.GrantClientCredentials) }, "grants", "public client"},
		{"public with token exchange", func(c *client) { public(c); c.Grants = append(c.Grants, broker.GrantTokenExchange) }, "grants", "token_exchange"},

		{"relative redirect URI", uri("/callback"), "redirect_uris", "not an absolute URI"},
		{"redirect URI without a scheme", uri("app.example.com/cb"), "redirect_uris", "not an absolute URI"},
		{"empty redirect URI", uri(""), "redirect_uris", "not an absolute URI"},
		{"redirect URI with a fragment", uri("https://app.example.com/#x"), "redirect_uris", "fragment"},
		{"redirect URI with a wildcard", uri("https://*.example.com/cb"), "redirect_uris", "wildcard"},
		{"redirect URI with a user", uri("https://u:p@app.example.com/cb"), "redirect_uris", "has a value that has a user or a password"},
		{"http redirect URI", uri("http://app.example.com/cb"), "redirect_uris", "is http"},
		{"http on another loopback address", uri("http://127.0.0.2/cb"), "redirect_uris", "is http"},
		{"http on a host like loopback", uri("http://127.0.0.1.example.com/cb"), "redirect_uris", "is http"},
		{"long IPv6", uri("http://[0:0:0:0:0:0:0:1]/cb"), "redirect_uris", "is http"},
		{"IPv6 zone", uri("http://[::1%25lo]/cb"), "redirect_uris", "escaped"},
		{"javascript", uri("javascript:alert(1)"), "redirect_uris", "a scheme that is not allowed"},
		{"data", uri("data:text/html,x"), "redirect_uris", "a scheme that is not allowed"},
		{"file", uri("file:///etc/passwd"), "redirect_uris", "a scheme that is not allowed"},
		{"private scheme without a dot", uri("myapp:/cb"), "redirect_uris", "private scheme with a dot"},
		{"only a scheme", uri("com.example.app:"), "redirect_uris", "not an absolute URI"},
		{"https without a host", uri("https:///cb"), "redirect_uris", "no host"},
		{"opaque https", uri("https:app.example.com/cb"), "redirect_uris", "no host"},
		{"capital host", uri("https://App.example.com/cb"), "redirect_uris", "capital letters in its host"},
		{"capital scheme", uri("HTTPS://app.example.com/cb"), "redirect_uris", "capital letters in its scheme"},
		{"host with a dot at its end", uri("https://app.example.com./cb"), "redirect_uris", "ends in a dot"},
		{"empty port", uri("https://app.example.com:/cb"), "redirect_uris", "port"},
		{"port 0", uri("https://app.example.com:0/cb"), "redirect_uris", "port"},
		{"large port", uri("https://app.example.com:65536/cb"), "redirect_uris", "port"},
		{"port with a zero", uri("https://app.example.com:0443/cb"), "redirect_uris", "port"},
		{"space", uri("https://app.example.com/a b"), "redirect_uris", "escaped"},
		{"backslash", uri(`https://app.example.com\@evil.example`), "redirect_uris", "escaped"},
		{"not ASCII", uri("https://bücher.example/cb"), "redirect_uris", "escaped"},
		{"line end", uri("https://app.example.com/\n"), "redirect_uris", "escaped"},
		{"parameter of the answer", uri("https://app.example.com/cb?code=x"), "redirect_uris", "code"},
		{"long redirect URI", uri("https://app.example.com/" + long), "redirect_uris", "longer than 512"},
		{"too many redirect URIs", func(c *client) { c.RedirectURIs = many }, "redirect_uris", "more than 100"},
		{"post-logout URI with a fragment", func(c *client) { c.PostLogoutURIs = []string{"https://app.example.com/#"} }, "post_logout_redirect_uris", "fragment"},

		{"origin with a path", origin("https://app.example.com/"), "origins", "not an origin"},
		{"origin null", origin("null"), "origins", "absolute"},
		{"any origin", origin("*"), "origins", "wildcard"},
		{"http origin", origin("http://app.example.com"), "origins", "is http"},
		{"origin with the default port", origin("https://app.example.com:443"), "origins", "default port"},
		{"origin of a private scheme", origin("com.example.app:/"), "origins", "a scheme that is not allowed"},

		{"long access token", func(c *client) { c.AccessLife = 6 * time.Minute }, "access_token", "5m"},
		{"long idle time", func(c *client) { c.Idle, c.Absolute = 400*time.Hour, 2000*time.Hour }, "session_idle", "14d"},
		{"long session", func(c *client) { c.Absolute = 3000 * time.Hour }, "session_absolute", "90d"},
		{"long grace", func(c *client) { c.Grace = new(time.Minute) }, "refresh_grace", "10s"},
		{"negative grace", func(c *client) { c.Grace = new(-time.Second) }, "refresh_grace", "negative"},
		{"part of a second", func(c *client) { c.AccessLife = 1500 * time.Millisecond }, "access_token", "whole seconds"},
		{"idle longer than absolute", func(c *client) { c.Idle = 9 * time.Hour }, "session_idle", "session_absolute, 8h"},
		{"idle shorter than a token", func(c *client) { c.Idle = time.Minute }, "session_idle", "access_token"},

		{"jwks that is not JSON", keys("{"), "jwks", "not a key set"},
		{"jwks without keys", keys(`{"keys":[]}`), "jwks", "not a key set"},
		{"private key", keys(`{"keys":[{"kty":"OKP","d":"x"}]}`), "jwks", "private"},
		{"symmetric key", keys(`{"keys":[{"kty":"oct","k":"x"}]}`), "jwks", "private"},
		{"too many keys", keys(`{"keys":[` + strings.Repeat(`{"kty":"OKP"},`, 16) + `{"kty":"OKP"}]}`), "jwks", "more than 16"},
		{"jwks and jwks_uri", func(c *client) { c.JWKSURI = "https://app.example.com/keys" }, "jwks_uri", "keep one"},
		{"http jwks_uri", func(c *client) { c.JWKS, c.JWKSURI = nil, "http://app.example.com/keys" }, "jwks_uri", "is http"},
		{"workload without a subject", workload("https://ci.example.com", "", "a", ""), "workloads[0]", "no subject"},
		{"workload without an audience", workload("https://ci.example.com", "s", "", ""), "workloads[0]", "no audience"},
		{"workload with a wildcard", workload("https://ci.example.com", "repo:*", "a", ""), "workloads[0]", "wildcard"},
		{"workload with a control character", workload("https://ci.example.com", "a\x00", "a", ""), "workloads[0]", "control character"},
		{"issuer that is not a URL", workload("urn:cluster", "s", "a", ""), "workloads[0]", "a scheme that is not allowed"},
		{"http issuer", workload("http://ci.example.com", "s", "a", ""), "workloads[0]", "is http"},
		{"too many workloads", func(c *client) { c.Workloads = make([]broker.Workload, 17) }, "workloads", "more than 16"},
		{"too large in all", func(c *client) {
			c.RedirectURIs = nil
			for i := range 80 {
				c.RedirectURIs = append(c.RedirectURIs, fmt.Sprintf("https://app.example.com/%d%s", i, long[:480]))
			}
		}, "", "larger than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := fullClient()
			tt.change(&c)
			ps := directory.ValidateClient(c, limits)
			if len(ps) != 1 || ps[0].Key != tt.key || !strings.Contains(ps[0].Message+" "+ps[0].Hint, tt.fragment) {
				t.Errorf("%+v, want one problem of %q with %q", ps, tt.key, tt.fragment)
			}
		})
	}
}

// A grace shorter than the clocks of two brokers may differ would end sessions at random.
func TestValidateClientOnASharedStore(t *testing.T) {
	shared := limits
	shared.Shared = true
	c := fullClient()
	for grace, want := range map[time.Duration]int{0: 0, 4 * time.Second: 1, 5 * time.Second: 0} {
		c.Grace = &grace
		if ps := directory.ValidateClient(c, shared); len(ps) != want {
			t.Errorf("%v: %v", grace, ps)
		}
	}
}

func TestGrantNames(t *testing.T) {
	names := []string{"authorization_code", "refresh_token", "client_credentials", "token_exchange"}
	types := directory.GrantTypes(names)
	if diff := cmp.Diff([]string{broker.GrantAuthorizationCode, broker.GrantRefreshToken, broker.GrantClientCredentials, broker.GrantTokenExchange}, types); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(names, directory.GrantNames(types)); diff != "" {
		t.Error(diff)
	}
	if directory.GrantTypes(nil) != nil || directory.GrantTypes([]string{}) == nil {
		t.Error("no names and an empty list are the same")
	}
}

// The ids of clients that the configuration or an operator names, of registered clients and of documents are distinct.
func TestIDsOfTheClassesOfClientsAreDistinct(t *testing.T) {
	ids := map[broker.ClientClass]string{
		broker.ClassKnown: "registered-app", broker.ClassRegistered: directory.NewRegisteredID(), broker.ClassDocument: "https://app.example.com/client.json",
	}
	for class := range ids {
		for of, id := range ids {
			c := broker.Client{ID: id, Grants: []string{broker.GrantAuthorizationCode}, RedirectURIs: []string{"https://app.example.com/cb"}}
			if ps := directory.ValidateClient(c, directory.ClientLimits{Class: class}); (len(ps) == 0) != (class == of) {
				t.Errorf("%q as a client of class %q: %v", id, class, ps)
			}
		}
	}
}

func TestSetsWithSecretKeysAreRefused(t *testing.T) {
	for _, key := range []string{
		`{"kty":"oct","k":"eA"}`, `{"kty":"oct"}`, `{"kty":"EC","crv":"P-256","x":"eA","y":"eA","d":"eA"}`, `{"kty":"RSA","n":"eA","e":"AQAB","p":"eA","q":"eA"}`,
		`{"kty":"AKP","alg":"ML-DSA-44","pub":"eA","priv":"eA"}`,
	} {
		c := broker.Client{ID: "app", JWKS: json.RawMessage(`{"keys":[` + key + `]}`)}
		if ps := directory.ValidateClient(c, limits); len(ps) != 1 || ps[0].Key != "jwks" {
			t.Errorf("%s: %v", key, ps)
		}
	}
}
