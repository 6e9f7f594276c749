package benchrun

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// rawSignature checks a token's signature and nothing else: the floor of seeing a token for
// the first time.
type rawSignature struct {
	algorithm string
	keys      map[string]crypto.PublicKey // by kid
}

// fetchRawSignature takes the server's keys, for tokens like the one given.
func (s *Server) fetchRawSignature(ctx context.Context, token string) (*rawSignature, error) {
	var header struct {
		Algorithm string `json:"alg"`
	}
	if err := tokenPart(token, 0, &header); err != nil {
		return nil, err
	}
	body, err := s.get(ctx, "/.well-known/jwks.json")
	if err != nil {
		return nil, fmt.Errorf("fetching the keys: %w", err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, fmt.Errorf("reading the keys: %w", err)
	}
	raw := &rawSignature{algorithm: header.Algorithm, keys: map[string]crypto.PublicKey{}}
	for _, key := range set.Keys {
		raw.keys[key.KeyID] = key.Key
	}
	return raw, nil
}

// signedToken is a token taken apart beforehand, as that is not the signature's cost.
type signedToken struct {
	input     []byte
	signature []byte
	key       crypto.PublicKey
}

func (r *rawSignature) prepare(token string) (signedToken, error) {
	var header struct {
		KeyID string `json:"kid"`
	}
	if err := tokenPart(token, 0, &header); err != nil {
		return signedToken{}, err
	}
	key, ok := r.keys[header.KeyID]
	if !ok {
		return signedToken{}, errors.New("the server does not publish the key of its token")
	}
	end := strings.LastIndexByte(token, '.')
	signature, err := base64.RawURLEncoding.DecodeString(token[end+1:])
	if err != nil {
		return signedToken{}, fmt.Errorf("reading a signature: %w", err)
	}
	if _, ok := key.(*ecdsa.PublicKey); ok { // crypto/ecdsa wants DER
		half := len(signature) / 2
		signature, err = asn1.Marshal(struct{ R, S *big.Int }{
			new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:]),
		})
		if err != nil {
			return signedToken{}, fmt.Errorf("reading a signature: %w", err)
		}
	}
	return signedToken{input: []byte(token[:end]), signature: signature, key: key}, nil
}

var errBadSignature = errors.New("a token of the server has a bad signature")

// check is hash and signature, as RFC 7515 has them for the algorithm.
func (r *rawSignature) check(t signedToken) error {
	good := false
	switch key := t.key.(type) {
	case *ecdsa.PublicKey:
		digest := sha256.Sum256(t.input)
		good = r.algorithm == "ES256" && ecdsa.VerifyASN1(key, digest[:], t.signature)
	case ed25519.PublicKey:
		good = r.algorithm == "EdDSA" && ed25519.Verify(key, t.input, t.signature)
	case *rsa.PublicKey:
		digest := sha256.Sum256(t.input)
		if r.algorithm == "PS256" {
			good = rsa.VerifyPSS(key, crypto.SHA256, digest[:], t.signature, nil) == nil
		} else {
			good = r.algorithm == "RS256" && rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], t.signature) == nil
		}
	}
	if !good {
		return errBadSignature
	}
	return nil
}
