package keyring

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// newDocument prepares the JWK set of the published keys of one purpose. They are sorted
// by key id: a key that changes its state and stays published changes nothing.
func newDocument(published []*key, cfg *Config) (Document, error) {
	set := struct {
		Keys  []jose.JSONWebKey `json:"keys"`
		Store string            `json:"store"`
	}{Store: cfg.StoreID}
	for _, k := range published {
		set.Keys = append(set.Keys, jose.JSONWebKey{
			Key: k.public, KeyID: k.info.KID, Algorithm: string(k.info.Algorithm), Use: "sig",
		})
	}
	slices.SortFunc(set.Keys, func(a, b jose.JSONWebKey) int { return cmp.Compare(a.KeyID, b.KeyID) })
	body, err := json.Marshal(set)
	if err != nil {
		return Document{}, fmt.Errorf("encoding a JWK set: %w", err)
	}
	digest := sha256.Sum256(body)
	etag := `"` + base64.RawURLEncoding.EncodeToString(digest[:16]) + `"`
	return Document{Body: body, ETag: etag, MaxAge: cfg.JWKSMaxAge}, nil
}
