package oauthclient

import (
	"testing"

	"tokenbroker/broker"
)

func TestADocumentIsDecodedAgainOnlyWhenItChanges(t *testing.T) {
	const id = "https://app.example.com/client.json"
	body := func(name string) []byte {
		return []byte(`{"client_id":"` + id + `","client_name":"` + name + `","redirect_uris":["https://app.example.com/callback"]}`)
	}
	cache, policy := newDocumentCache(), broker.ClientPolicy{Scopes: []string{"openid"}}
	first, err := cache.read(id, body("A"), policy)
	if err != nil {
		t.Fatal(err)
	}
	same, err := cache.read(id, body("A"), policy)
	if err != nil || &first.Scopes[0] != &same.Scopes[0] {
		t.Errorf("the same document was decoded twice: %v", err)
	}
	if changed, err := cache.read(id, body("B"), policy); err != nil || changed.Name != "B" {
		t.Errorf("%+v, %v", changed, err)
	}
	if _, err := cache.read(id, []byte(`{}`), policy); err == nil {
		t.Error("a document that became bad is accepted")
	}
	if _, err := cache.read("https://app.example.com/other.json", body("B"), policy); err == nil {
		t.Error("the document of another client is accepted")
	}
}
