package upstream

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json" // exact member names, no duplicates
)

// Limits of a provider's key set, the same that services apply to the broker's own (package
// validator). go-jose refuses a modulus of more than 8192 bits.
const (
	maxKeys    = 100
	minRSABits = 2048
)

// publicKey is what a signature check needs of a JWK (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2).
// Other members, such as a certificate that cannot be read, do not matter.
type publicKey struct {
	KTY string `json:"kty"`
	Use string `json:"use,omitempty"`
	Alg string `json:"alg,omitempty"`
	KID string `json:"kid,omitempty"`
	CRV string `json:"crv,omitempty"`
	N   string `json:"n,omitempty"`
	E   string `json:"e,omitempty"`
	X   string `json:"x,omitempty"`
	Y   string `json:"y,omitempty"`
	// D is the private part, which must not be there.
	D json.RawMessage `json:"d,omitempty"`
}

// parseKeys reads a JWK set key by key: one that cannot be used does not make the others
// unusable, and unfit names it with the reason, unless it is meant for encryption. Of a set with more than maxKeys keys, or with
// two usable keys for one kid and algorithm, nothing is taken: a token then means one key, and
// costs one signature check. Keys of several kinds may share a kid (RFC 7517 §4.5).
func parseKeys(body []byte) (keys []jose.JSONWebKey, unfit []string, err error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, nil, fmt.Errorf("reading the key set: %w", err)
	}
	if len(set.Keys) > maxKeys {
		return nil, nil, fmt.Errorf("the key set has %d keys, more than %d", len(set.Keys), maxKeys)
	}
	var other []string
	type use struct{ kid, algorithm string }
	seen := map[use]bool{}
	for i, raw := range set.Keys {
		key, err := parseKey(raw)
		switch {
		case errors.Is(err, errNotForSignatures):
			other = append(other, fmt.Sprintf("key %.64q: %s", key.KeyID, err))
			continue
		case err != nil:
			unfit = append(unfit, fmt.Sprintf("key %.64q (number %d): %s", key.KeyID, i+1, err))
			continue
		}
		for _, algorithm := range algorithms {
			u := use{key.KeyID, string(algorithm)}
			if !signs(key, u.algorithm) {
				continue
			}
			if u.kid != "" && seen[u] {
				return nil, nil, fmt.Errorf("the key set has two keys of kid %.64q for %s", u.kid, u.algorithm)
			}
			seen[u] = true
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, nil, fmt.Errorf("the set has no usable key: %s", listed(append(unfit, other...)))
	}
	return keys, unfit, nil
}

var (
	errNotForSignatures = errors.New("it is not for signatures")
	errUnfitKey         = errors.New("want RSA, EC with P-256, or OKP with Ed25519, for RS256, PS256, ES256 or EdDSA")
)

// parseKey reads one key; with an error it returns the kid, as far as that could be read.
func parseKey(raw []byte) (jose.JSONWebKey, error) {
	var member publicKey
	if err := json.Unmarshal(raw, &member); err != nil {
		return jose.JSONWebKey{KeyID: member.KID}, errors.New(shortened("reading its members: " + err.Error()))
	}
	named := jose.JSONWebKey{KeyID: member.KID}
	switch member.KTY {
	case "RSA":
		member.CRV, member.X, member.Y = "", "", ""
	case "EC":
		member.N, member.E = "", ""
	case "OKP":
		member.N, member.E, member.Y = "", "", ""
	default:
		return named, fmt.Errorf("kty is %.20q: %w", member.KTY, errUnfitKey)
	}
	if member.Use != "" && member.Use != "sig" {
		return named, fmt.Errorf("use is %.20q: %w", member.Use, errNotForSignatures)
	}
	if member.D != nil {
		return named, errors.New("its private part is published")
	}
	needed, err := json.Marshal(member)
	if err != nil {
		return named, fmt.Errorf("encoding: %w", err)
	}
	var key jose.JSONWebKey
	if err := key.UnmarshalJSON(needed); err != nil {
		return named, errors.New(shortened(err.Error()))
	}
	if !key.Valid() {
		return named, errors.New("its parameters are not valid")
	}
	if public, ok := key.Key.(*rsa.PublicKey); ok {
		if bits := public.N.BitLen(); bits < minRSABits {
			return named, fmt.Errorf("RSA of %d bits; want at least %d", bits, minRSABits)
		}
	}
	for _, algorithm := range algorithms {
		if signs(key, string(algorithm)) {
			return key, nil
		}
	}
	return named, fmt.Errorf("kty %q, crv %.20q, alg %.20q: %w", member.KTY, member.CRV, member.Alg, errUnfitKey)
}

// listed joins the first few reasons.
func listed(reasons []string) string {
	const shown = 5
	switch {
	case len(reasons) == 0:
		return "it is empty"
	case len(reasons) > shown:
		return strings.Join(reasons[:shown], "; ") + fmt.Sprintf("; and %d more", len(reasons)-shown)
	}
	return strings.Join(reasons, "; ")
}
