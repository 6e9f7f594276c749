package validator

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

const (
	maxDocumentBytes = 256 << 10
	maxKeys          = 100
)

func readLimited(r io.Reader, limit int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(body)) > limit {
		err = fmt.Errorf("more than %d bytes", limit)
	}
	return body, err
}

func decodeJSON(body []byte, into any) error {
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("decoding JSON: %w", err)
	}
	return nil
}

// parseTokenKeys reads a JWK set (RFC 7517 §5) key by key: a key that this package cannot
// use is left out, and the others stay.
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
		return "", nil, errors.New("the key set holds no key to verify tokens with")
	}
	return store, keys, nil
}

// parseFeedKeys reads the JWK set of the feed: Ed25519 keys (RFC 8037) only.
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
		return "", nil, errors.New("the key set holds no key to verify the feed with")
	}
	return store, keys, nil
}

func parseJWKS(body []byte) (store string, keys []jose.JSONWebKey, err error) {
	var doc struct {
		Store string            `json:"store"`
		Keys  []json.RawMessage `json:"keys"`
	}
	if err := decodeJSON(body, &doc); err != nil {
		return "", nil, err
	}
	if doc.Store == "" {
		return "", nil, errors.New("the key set names no store")
	}
	if len(doc.Keys) > maxKeys {
		return "", nil, fmt.Errorf("the key set holds %d keys, more than %d", len(doc.Keys), maxKeys)
	}
	seen := make(map[string]bool, len(doc.Keys))
	for _, raw := range doc.Keys {
		var jwk jose.JSONWebKey
		if jwk.UnmarshalJSON(raw) != nil || !jwk.IsPublic() || !jwk.Valid() ||
			jwk.KeyID == "" || len(jwk.KeyID) > maxKIDBytes || (jwk.Use != "" && jwk.Use != "sig") {
			continue
		}
		if seen[jwk.KeyID] {
			return "", nil, fmt.Errorf("the key set holds %.64q twice", jwk.KeyID)
		}
		seen[jwk.KeyID] = true
		keys = append(keys, jwk)
	}
	return doc.Store, keys, nil
}

// fitsAlgorithm pins a key to the one algorithm that it names (RFC 8725 §3.1).
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
