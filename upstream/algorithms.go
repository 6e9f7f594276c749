package upstream

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// knownAlgorithms are all algorithms that a provider may be allowed to use. They are signatures
// with a private key (RFC 7518 §3.1, RFC 8037 §3.1). HS* and none must never be among them.
var knownAlgorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// defaultAlgorithms are accepted from a provider of kind oidc even if its document does not
// advertise them.
var defaultAlgorithms = []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.EdDSA}

// Algorithms returns the names that are valid in [Config.Algorithms].
func Algorithms() []string {
	names := make([]string, len(knownAlgorithms))
	for i, a := range knownAlgorithms {
		names[i] = string(a)
	}
	return names
}

// checkAlgorithms refuses unknown names, and for Cognito all names except RS256.
func (c *Config) checkAlgorithms() error {
	for _, name := range c.Algorithms {
		switch {
		case !slices.Contains(knownAlgorithms, jose.SignatureAlgorithm(name)):
			return fmt.Errorf("upstream %q: algorithm %q is not one of %v", c.Name, name, knownAlgorithms)
		case c.Kind == KindCognito && name != string(jose.RS256):
			return fmt.Errorf("upstream %q: algorithm %q: Cognito signs with RS256 only", c.Name, name)
		}
	}
	return nil
}

// algorithms returns the accepted signature algorithms of id tokens: the configured ones, or else
// the default ones and the known ones that the discovery document advertises. For Cognito it is
// RS256.
func (c *Config) algorithms(advertised []string) []jose.SignatureAlgorithm {
	var allowed []jose.SignatureAlgorithm
	for _, a := range knownAlgorithms {
		name := string(a)
		switch {
		case c.Kind == KindCognito:
			if a == jose.RS256 {
				allowed = append(allowed, a)
			}
		case len(c.Algorithms) > 0:
			if slices.Contains(c.Algorithms, name) {
				allowed = append(allowed, a)
			}
		case slices.Contains(defaultAlgorithms, a), slices.Contains(advertised, name):
			allowed = append(allowed, a)
		}
	}
	return allowed
}

// signs reports whether the key supports the algorithm, by its alg, its type and its curve.
func signs(key jose.JSONWebKey, algorithm jose.SignatureAlgorithm) bool {
	if key.Algorithm != "" && key.Algorithm != string(algorithm) {
		return false
	}
	switch public := key.Key.(type) {
	case *rsa.PublicKey:
		return slices.Contains([]jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512}, algorithm)
	case *ecdsa.PublicKey:
		curve, found := map[jose.SignatureAlgorithm]elliptic.Curve{
			jose.ES256: elliptic.P256(), jose.ES384: elliptic.P384(), jose.ES512: elliptic.P521(),
		}[algorithm]
		return found && public.Curve == curve
	case ed25519.PublicKey:
		return algorithm == jose.EdDSA
	}
	return false
}
