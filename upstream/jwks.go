package upstream

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json" // exact member names, no duplicates
)

// maxKeys is the largest number of keys in a provider's key set. Services apply the same limit to
// the broker's keys (package validator).
const maxKeys = 100

var errNotForSignatures = errors.New("it is not for signatures")

// keyReader reads a JWK set key by key, so that an unusable key does not affect the others. unfit
// describes the unusable keys with the reasons.
type keyReader struct {
	allowed []jose.SignatureAlgorithm
	keys    []jose.JSONWebKey
	unfit   []string
	other   []string // keys that are not for signatures; reported only if no key is usable
}

// parseKeys reads a JWK set (RFC 7517 §5). It refuses a set with more than maxKeys keys. A token
// must identify one key: if different keys have the same kid and algorithm, none of them is used.
// Keys of different types may share a kid (RFC 7517 §4.5).
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
	}): // otherwise it is a duplicate
		r.keys = append(r.keys, key)
	}
}

// dropAmbiguous removes the keys of a kid for which two different keys support one algorithm.
func (r *keyReader) dropAmbiguous() {
	var ambiguous []string
	for i, a := range r.keys {
		for _, b := range r.keys[:i] {
			if a.KeyID != "" && a.KeyID == b.KeyID && !slices.Contains(ambiguous, a.KeyID) && r.bothSign(a, b) && !sameKey(a, b) {
				ambiguous = append(ambiguous, a.KeyID)
				r.unfit = append(r.unfit, fmt.Sprintf("key %.64q: different keys have this kid, so a token does not identify one of them", a.KeyID))
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

// listed joins the first reasons.
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

// The sizes of RSA keys. Services apply the same limits to the broker's keys (package validator).
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// jwk has the members of a JWK (RFC 7517 §4). Only the members that a signature check needs are
// read, so that another invalid member, such as a certificate, does not make a key unusable.
type jwk map[string]json.RawMessage

// parseKey reads one key. With an error it returns the kid if that could be read.
func parseKey(raw []byte) (key jose.JSONWebKey, err error) {
	var member jwk
	if err := json.Unmarshal(raw, &member); err != nil {
		return key, errors.New("it is not a JSON object with unique names")
	}
	if key.KeyID, err = member.text("kid"); err != nil {
		return key, err
	}
	if key.Algorithm, err = member.text("alg"); err != nil {
		return key, err
	}
	kty, err := member.text("kty")
	if err != nil {
		return key, err
	}
	if err := member.verifies(); err != nil {
		return key, err
	}
	switch kty {
	case "RSA":
		key.Key, err = member.rsa()
	case "EC":
		key.Key, err = member.ec()
	case "OKP":
		key.Key, err = member.okp()
	default:
		err = fmt.Errorf("kty is %.20q; want RSA, EC or OKP", kty)
	}
	return key, err
}

// has reports whether the member exists and is not null.
func (k jwk) has(name string) bool { return k[name] != nil && string(k[name]) != "null" }

// text returns a member that is a string, or "" if it is absent.
func (k jwk) text(name string) (string, error) {
	var s string
	if k.has(name) && json.Unmarshal(k[name], &s) != nil {
		return "", fmt.Errorf("its %s is not a string", name)
	}
	return s, nil
}

// verifies refuses a key that is not for verifying signatures (RFC 7517 §4.2, §4.3), and one whose
// private part is published.
func (k jwk) verifies() error {
	use, err := k.text("use")
	var operations []string
	switch {
	case err != nil:
		return err
	case use != "" && use != "sig":
		return fmt.Errorf("use is %.20q: %w", use, errNotForSignatures)
	case k.has("key_ops") && json.Unmarshal(k["key_ops"], &operations) != nil:
		return errors.New("its key_ops is not a list of strings")
	case k.has("key_ops") && !slices.Contains(operations, "verify"):
		return fmt.Errorf("key_ops is %.100q: %w", operations, errNotForSignatures)
	case k.has("d"):
		return errors.New("its private part is published")
	}
	return nil
}

// octets decodes base64url. It also accepts padding and the standard alphabet, which some issuers
// use although RFC 7518 §2 does not allow them: they do not change the value.
func (k jwk) octets(name string) ([]byte, error) {
	text, err := k.text(name)
	switch {
	case err != nil:
		return nil, err
	case text == "":
		return nil, fmt.Errorf("it has no %s", name)
	}
	text = strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(text, "="))
	value, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") { // the decoder would skip them
		return nil, fmt.Errorf("its %s is not base64url", name)
	}
	return value, nil
}

func (k jwk) rsa() (*rsa.PublicKey, error) {
	n, err := k.octets("n")
	if err != nil {
		return nil, err
	}
	e, err := k.octets("e")
	if err != nil {
		return nil, err
	}
	modulus, exponent := new(big.Int).SetBytes(n), new(big.Int).SetBytes(e)
	switch bits := modulus.BitLen(); {
	case bits < minRSABits || bits > maxRSABits:
		return nil, fmt.Errorf("RSA of %d bits; want %d to %d", bits, minRSABits, maxRSABits)
	case modulus.Bit(0) == 0:
		return nil, errors.New("its modulus is even")
	case exponent.Bit(0) == 0 || exponent.Cmp(big.NewInt(3)) < 0 || exponent.Cmp(big.NewInt(math.MaxInt32)) > 0:
		return nil, errors.New("its exponent e is even, less than 3 or more than 2147483647")
	}
	return &rsa.PublicKey{N: modulus, E: int(exponent.Int64())}, nil
}

// ec reads a key with coordinates that may lack leading zeros.
func (k jwk) ec() (*ecdsa.PublicKey, error) {
	name, err := k.text("crv")
	if err != nil {
		return nil, err
	}
	curve, found := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[name]
	if !found {
		return nil, fmt.Errorf("crv is %.20q; want P-256, P-384 or P-521", name)
	}
	size := (curve.Params().BitSize + 7) / 8
	point := []byte{4} // uncompressed, SEC 1 §2.3.3
	for _, coordinate := range []string{"x", "y"} {
		value, err := k.octets(coordinate)
		if err != nil {
			return nil, err
		}
		if len(value) > size {
			return nil, fmt.Errorf("its %s has %d bytes; want %d", coordinate, len(value), size)
		}
		point = append(append(point, make([]byte, size-len(value))...), value...)
	}
	public, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	if err != nil {
		return nil, fmt.Errorf("its point is not on the curve %s", name)
	}
	return public, nil
}

func (k jwk) okp() (ed25519.PublicKey, error) {
	name, err := k.text("crv")
	if err != nil {
		return nil, err
	}
	if name != "Ed25519" {
		return nil, fmt.Errorf("crv is %.20q; want Ed25519", name)
	}
	x, err := k.octets("x")
	if err != nil {
		return nil, err
	}
	if len(x) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("its x has %d bytes; want %d", len(x), ed25519.PublicKeySize)
	}
	return ed25519.PublicKey(x), nil
}
