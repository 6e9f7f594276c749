package keyring

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Document is a JWK set ready to be served. Body must not be changed. The zero Document is none: the
// keyring is outdated ([Keyring.Outdated]), and the answer is 503.
type Document struct {
	Body []byte
	// ETag is a strong one with its quotes (RFC 9110 §8.8.3). It depends only on the keys and
	// the store's id, so that it is the same after a restart and at other brokers of the store.
	ETag string
	// MaxAge is for Cache-Control: how long a service may use the copy that it fetched.
	MaxAge time.Duration
}

// JWKS returns the document of the access keys (RFC 7517).
func (k *Keyring) JWKS() Document {
	s, err := k.latest()
	if err != nil {
		return Document{}
	}
	return s.jwks
}

// FeedJWKS returns the document of the feed keys, which are never in JWKS.
func (k *Keyring) FeedJWKS() Document {
	s, err := k.latest()
	if err != nil {
		return Document{}
	}
	return s.feedJWKS
}

// newDocument prepares the JWK set of the published keys of one purpose. They are sorted
// by key id, so that the document stays the same while a key changes its state and stays published.
func newDocument(published []*key, cfg *Config) (Document, error) {
	set := struct {
		Keys  []jose.JSONWebKey `json:"keys"`
		Store string            `json:"store"`
	}{Store: cfg.StoreID}
	for _, k := range published {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.public, KeyID: k.KID, Algorithm: string(k.Algorithm), Use: "sig"})
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
