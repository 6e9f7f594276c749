package validatortest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"
)

// Claims of a token, by name.
type Claims map[string]any

type signingKey struct {
	kid     string
	alg     jose.SignatureAlgorithm
	private crypto.Signer
}

func newSigningKey(kid, alg string) signingKey {
	var private crypto.Signer
	var err error
	switch alg {
	case "ES256":
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "EdDSA":
		_, private, err = ed25519.GenerateKey(rand.Reader)
	case "RS256", "PS256":
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	default:
		err = fmt.Errorf("unknown algorithm %q", alg)
	}
	if err != nil {
		panic("validatortest: making a key: " + err.Error())
	}
	return signingKey{kid: kid, alg: jose.SignatureAlgorithm(alg), private: private}
}

// Mint signs a token that is valid for five minutes, with changes to its claims: a value replaces or adds a claim, nil removes it. The defaults are
//
//	iss: the issuer, sub: "user", client_id: "test-client", sid: "test-session",
//	aud: the audiences that [Issuer.Config] was asked for so far, else ["test"],
//	iat, nbf: now, exp: in 5 min, jti: new, sep, cep: 1
func (i *Issuer) Mint(changes Claims) string {
	now := time.Now().Unix()
	i.mu.Lock()
	audiences := slices.Clone(i.audiences)
	i.mu.Unlock()
	if len(audiences) == 0 {
		audiences = []string{"test"}
	}
	claims := Claims{
		"iss": i.URL(), "sub": "user", "aud": audiences, "client_id": "test-client",
		"sid": "test-session", "iat": now, "nbf": now, "exp": now + 300,
		"jti": uuid.Must(uuid.NewV7()).String(), "sep": 1, "cep": 1,
	}
	maps.Copy(claims, changes)
	maps.DeleteFunc(claims, func(_ string, value any) bool { return value == nil })
	payload, err := json.Marshal(claims)
	if err != nil {
		panic("validatortest: encoding the claims: " + err.Error())
	}
	return i.Sign(payload, nil)
}

// Sign signs any payload with the current key. header adds to or replaces members of the
// JOSE header but alg: {"typ": "JWT"} makes a token of another type.
func (i *Issuer) Sign(payload []byte, header map[string]any) string {
	i.mu.Lock()
	key := i.keys[len(i.keys)-1]
	i.mu.Unlock()
	options := (&jose.SignerOptions{}).WithType("at+jwt").WithHeader("kid", key.kid)
	for name, value := range header {
		options.WithHeader(jose.HeaderKey(name), value)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: key.alg, Key: key.private}, options)
	if err != nil {
		panic("validatortest: " + err.Error())
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		panic("validatortest: signing: " + err.Error())
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		panic("validatortest: signing: " + err.Error())
	}
	return token
}
