package validator

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/go-jose/go-jose/v4"
	strictjson "github.com/go-jose/go-jose/v4/json"

	"tokenbroker/revocation"
)

const maxKeys = 100

// parseTokenKeys parses a JWK set (RFC 7517 §5) key by key. It skips a key that this package cannot use.
func parseTokenKeys(body []byte) (store string, keys map[string]verificationKey, err error) {
	store, all, err := parseJWKS(body)
	if err != nil {
		return "", nil, err
	}
	keys = make(map[string]verificationKey, len(all))
	for _, jwk := range all {
		if fitsAlgorithm(jwk.Algorithm, jwk.Key) {
			keys[jwk.KeyID] = verificationKey{
				kid: jwk.KeyID, alg: jose.SignatureAlgorithm(jwk.Algorithm), public: jwk.Key,
			}
		}
	}
	if len(keys) == 0 {
		return "", nil, errors.New("the key set has no key to verify tokens with")
	}
	return store, keys, nil
}

// parseFeedKeys parses the JWK set of the feed, which has only Ed25519 keys (RFC 8037).
func parseFeedKeys(body []byte) (store string, keys map[string]ed25519.PublicKey, err error) {
	store, all, err := parseJWKS(body)
	if err != nil {
		return "", nil, err
	}
	keys = make(map[string]ed25519.PublicKey, len(all))
	for _, jwk := range all {
		if public, ok := jwk.Key.(ed25519.PublicKey); ok && jwk.Algorithm == string(jose.EdDSA) {
			keys[jwk.KeyID] = public
		}
	}
	if len(keys) == 0 {
		return "", nil, errors.New("the key set has no key to verify the feed with")
	}
	return store, keys, nil
}

func parseJWKS(body []byte) (store string, keys []jose.JSONWebKey, err error) {
	var doc struct {
		Store string                  `json:"store"`
		Keys  []strictjson.RawMessage `json:"keys"`
	}
	if err := decodeJSON(body, &doc); err != nil {
		return "", nil, err
	}
	if doc.Store == "" {
		return "", nil, errors.New("the key set names no store")
	}
	if len(doc.Keys) > maxKeys {
		return "", nil, fmt.Errorf("the key set has %d keys, more than %d", len(doc.Keys), maxKeys)
	}
	seen := make(map[string]bool, len(doc.Keys))
	for _, raw := range doc.Keys {
		var jwk jose.JSONWebKey
		if jwk.UnmarshalJSON(raw) != nil || !jwk.IsPublic() || !jwk.Valid() ||
			jwk.KeyID == "" || len(jwk.KeyID) > maxKIDBytes || (jwk.Use != "" && jwk.Use != "sig") {
			continue
		}
		if seen[jwk.KeyID] {
			return "", nil, fmt.Errorf("the key set has %.64q twice", jwk.KeyID)
		}
		seen[jwk.KeyID] = true
		keys = append(keys, jwk)
	}
	return doc.Store, keys, nil
}

// fitsAlgorithm binds a key to the one algorithm that it names (RFC 8725 §3.1).
func fitsAlgorithm(alg string, key any) bool {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		return alg == "ES256" && k.Curve == elliptic.P256()
	case ed25519.PublicKey:
		return alg == "EdDSA"
	case *rsa.PublicKey:
		return (alg == "RS256" || alg == "PS256") && k.N.BitLen() >= minRSABits
	}
	return false
}

const (
	jobTokenKeys = "fetching the token keys"
	jobFeedKeys  = "fetching the feed keys"
)

// startTokenKeys fetches discovery and token keys, which are both needed to judge a token.
func (s *syncer) startTokenKeys(ctx context.Context) {
	s.counts.tokenFetches.Add(1)
	old := s.tokens.set.Load()
	s.spawn(ctx, func() func() {
		set, err := s.broker.fetchTokenKeys(ctx, old)
		s.broker.renewAfter(err)
		return func() { s.takeTokenKeys(ctx, set, err) }
	})
}

func (s *syncer) takeTokenKeys(ctx context.Context, set *keySet, err error) {
	fetched := revocation.Fetched{Err: err}
	if err == nil {
		fetched.Store, fetched.ETag = set.store, set.etag
		if !s.tracker.Accepts(set.store) {
			err = errOtherStore
		} else if s.tokens.replace(set, s.denied.KidRevoked) {
			s.denied.BumpVersion()
		}
	}
	s.jobDone(jobTokenKeys, err)
	s.perform(ctx, s.tracker.TokenKeysFetched(s.readClocks(), fetched))
	s.tokens.fetchDone(err != nil)
}

var errOtherStore = errors.New("the key set is of another store than the revocations")

func (b *brokerClient) fetchTokenKeys(ctx context.Context, old *keySet) (*keySet, error) {
	ctx, cancel := context.WithTimeout(ctx, documentTimeout)
	defer cancel()
	d, err := b.discover(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the discovery document: %w", err)
	}
	doc, err := b.fetchDocument(ctx, d.JWKSURI, old.etag)
	if err != nil {
		return nil, err
	}
	set := &keySet{loaded: true, etag: doc.etag, maxLifetime: time.Duration(d.MaxLifetime) * time.Second}
	if doc.unchanged {
		set.etag, set.store, set.keys = old.etag, old.store, maps.Clone(old.keys)
		return set, nil
	}
	set.store, set.keys, err = parseTokenKeys(doc.body)
	return set, err
}

// startFeedKeys fetches the keys that sign the feed's messages.
func (s *syncer) startFeedKeys(ctx context.Context) {
	s.counts.keyFetches.Add(1)
	etag := s.feedKeys.etag
	s.spawn(ctx, func() func() {
		set, doc, err := s.broker.fetchFeedKeys(ctx, etag)
		s.broker.renewAfter(err)
		return func() { s.takeFeedKeys(ctx, etag, set, doc, err) }
	})
}

func (b *brokerClient) fetchFeedKeys(ctx context.Context, etag string) (keys map[string]ed25519.PublicKey, doc document, err error) {
	ctx, cancel := context.WithTimeout(ctx, documentTimeout)
	defer cancel()
	doc, err = b.fetchDocument(ctx, b.base+"/revocations/jwks.json", etag)
	if err != nil || doc.unchanged {
		return nil, doc, err
	}
	doc.store, keys, err = parseFeedKeys(doc.body)
	return keys, doc, err
}

func (s *syncer) takeFeedKeys(ctx context.Context, etag string, keys map[string]ed25519.PublicKey, doc document, err error) {
	fetched := revocation.Fetched{Err: err, Store: doc.store, ETag: doc.etag}
	switch {
	case err != nil:
	case doc.unchanged && s.feedKeys.etag == etag:
		fetched.Store, fetched.ETag = s.feedKeys.store, etag
	case doc.unchanged:
		// The keys for which the broker answered "not modified" were dropped in the meantime.
		err = errors.New("the key set changed while it was fetched")
		fetched.Err = err
	case !s.tracker.Accepts(doc.store):
		err = errOtherStore
	default:
		fetched.Changed, fetched.Removed = s.feedKeys.replace(keys, s.denied.KidRevoked)
		s.feedKeys.etag, s.feedKeys.store = doc.etag, doc.store
	}
	s.jobDone(jobFeedKeys, err)
	s.perform(ctx, s.tracker.FeedKeysFetched(s.readClocks(), fetched))
}
