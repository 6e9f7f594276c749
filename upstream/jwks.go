package upstream

import (
	"crypto"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json" // exact member names, no duplicates
)

// maxKeys bounds a provider's key set, as services bound the broker's own (package validator).
const maxKeys = 100

var errNotForSignatures = errors.New("it is not for signatures")

// keyReader reads a JWK set key by key: one that cannot be used does not make the others
// unusable, and unfit names it with the reason.
type keyReader struct {
	allowed []jose.SignatureAlgorithm
	keys    []jose.JSONWebKey
	unfit   []string
	other   []string // not for signatures: of interest only where no key is left
}

// parseKeys reads a JWK set (RFC 7517 §5). Of a set with more than maxKeys keys nothing is
// taken. A token must mean one key: where different keys have one kid and one algorithm, none
// of them is used. Keys of several types may share a kid (RFC 7517 §4.5).
func parseKeys(body []byte, allowed []jose.SignatureAlgorithm) (keys []jose.JSONWebKey, unfit []string, err error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, nil, fmt.Errorf("reading the key set: %s", shortened(err.Error()))
	}
	if len(set.Keys) > maxKeys {
		return nil, nil, fmt.Errorf("the key set has %d keys, more than %d", len(set.Keys), maxKeys)
	}
	r := keyReader{allowed: allowed}
	for i, raw := range set.Keys {
		r.read(i+1, raw)
	}
	r.dropAmbiguous()
	if len(r.keys) == 0 {
		return nil, nil, fmt.Errorf("the set has no usable key: %s", listed(append(r.unfit, r.other...)))
	}
	return r.keys, r.unfit, nil
}

func (r *keyReader) read(number int, raw []byte) {
	key, err := parseKey(raw)
	if err == nil && !slices.ContainsFunc(r.allowed, func(a jose.SignatureAlgorithm) bool { return signs(key, a) }) {
		err = fmt.Errorf("it makes no signature of the accepted algorithms %v", r.allowed)
		if key.Algorithm != "" {
			err = fmt.Errorf("its alg %.20q does not fit its type, or is not one of the accepted algorithms %v", key.Algorithm, r.allowed)
		}
	}
	named := fmt.Sprintf("key %.64q (number %d): ", key.KeyID, number)
	switch {
	case errors.Is(err, errNotForSignatures):
		r.other = append(r.other, named+err.Error())
	case err != nil:
		r.unfit = append(r.unfit, named+err.Error())
	case !slices.ContainsFunc(r.keys, func(k jose.JSONWebKey) bool {
		return k.KeyID == key.KeyID && k.Algorithm == key.Algorithm && sameKey(k, key)
	}): // otherwise it was listed before
		r.keys = append(r.keys, key)
	}
}

// dropAmbiguous leaves out the keys of a kid with which two different keys sign by one algorithm.
func (r *keyReader) dropAmbiguous() {
	var ambiguous []string
	for i, a := range r.keys {
		for _, b := range r.keys[:i] {
			if a.KeyID != "" && a.KeyID == b.KeyID && !slices.Contains(ambiguous, a.KeyID) && r.bothSign(a, b) && !sameKey(a, b) {
				ambiguous = append(ambiguous, a.KeyID)
				r.unfit = append(r.unfit, fmt.Sprintf("key %.64q: different keys have this kid; a token would not mean one of them", a.KeyID))
			}
		}
	}
	r.keys = slices.DeleteFunc(r.keys, func(k jose.JSONWebKey) bool { return slices.Contains(ambiguous, k.KeyID) })
}

func (r *keyReader) bothSign(a, b jose.JSONWebKey) bool {
	return slices.ContainsFunc(r.allowed, func(algorithm jose.SignatureAlgorithm) bool { return signs(a, algorithm) && signs(b, algorithm) })
}

func sameKey(a, b jose.JSONWebKey) bool {
	public, ok := a.Key.(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(b.Key)
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
