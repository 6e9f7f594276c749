package credential_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"tokenbroker/broker/credential"
	"tokenbroker/broker/session"
)

// ada has the attributes that Cognito's id tokens have, with booleans and numbers as texts.
func ada() *session.User {
	return &session.User{UID: "u", Username: "ada", Roles: []string{"admin"}, Groups: []string{"staff"}, Attributes: map[string]any{
		"name": "Ada Lovelace", "email": "ada@example.org", "email_verified": "true", "phone_number": "+44 1", "phone_number_verified": false,
		"address": `{"formatted":"1 St James's Square","country":"UK","planet":"Earth"}`, "updated_at": "1700000000", "custom:salary": "1", "nickname": 7,
	}}
}

func TestOpenIDConnectCoreSection54ClaimsByScope(t *testing.T) {
	for _, c := range []struct {
		scopes, names []string
		want          map[string]any
	}{
		{nil, nil, map[string]any{}},
		{[]string{"openid", "offline_access", "hello:read"}, nil, map[string]any{}},
		{[]string{"profile"}, nil, map[string]any{"name": "Ada Lovelace", "preferred_username": "ada", "updated_at": int64(1700000000)}},
		{[]string{"email"}, nil, map[string]any{"email": "ada@example.org", "email_verified": true}},
		{[]string{"phone"}, nil, map[string]any{"phone_number": "+44 1", "phone_number_verified": false}},
		{[]string{"address"}, nil, map[string]any{"address": map[string]any{"formatted": "1 St James's Square", "country": "UK"}}},
		{[]string{"groups"}, nil, map[string]any{"groups": []string{"staff"}}},
		{[]string{"openid"}, []string{"email", "custom:salary", "roles", "sub", "nickname"}, map[string]any{"email": "ada@example.org"}},
	} {
		if got := credential.UserClaims(ada(), c.scopes, c.names); !reflect.DeepEqual(got, c.want) {
			t.Errorf("scopes %v, names %v: got %v, want %v", c.scopes, c.names, got, c.want)
		}
	}
}

func TestClaimsHaveTheTypesOfTheStandard(t *testing.T) {
	for _, c := range []struct {
		name        string
		value, want any
	}{
		{"address", "1 St James's Square\nLondon", map[string]any{"formatted": "1 St James's Square\nLondon"}},
		{"address", map[string]any{"locality": "London", "region": 1}, map[string]any{"locality": "London"}},
		{"address", "", nil},
		{"address", 7, nil},
		{"email_verified", true, true},
		{"email_verified", "false", false},
		{"email_verified", "yes", nil},
		{"email_verified", nil, nil},
		{"updated_at", float64(1700000000), int64(1700000000)},
		{"updated_at", json.Number("1700000000"), int64(1700000000)},
		{"updated_at", "yesterday", nil},
		{"website", []any{"https://a.test"}, nil},
	} {
		u := &session.User{Attributes: map[string]any{c.name: c.value}}
		if got := credential.UserClaims(u, nil, []string{c.name})[c.name]; !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s %v: got %v, want %v", c.name, c.value, got, c.want)
		}
	}
}

func TestAUserWithoutAttributesHasAName(t *testing.T) {
	got := credential.UserClaims(&session.User{Username: "ada"}, []string{"profile", "email", "groups", "address", "phone"}, nil)
	if want := map[string]any{"preferred_username": "ada"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestEachClaimNameHasItsScope(t *testing.T) {
	for _, name := range credential.ClaimNames() {
		if scope := credential.ClaimScope(name); !credential.OpenIDScope(scope) {
			t.Errorf("%s belongs to %q", name, scope)
		}
	}
	if credential.ClaimScope("sub") != "" || len(credential.ClaimNames()) != 20 {
		t.Errorf("names: %v", credential.ClaimNames())
	}
}
