package upstream_test

import (
	"crypto"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"tokenbroker/broker"
	"tokenbroker/upstream"
)

// keyOf has the test key for each algorithm, and the hash function of the algorithm's at_hash.
var keyOf = map[jose.SignatureAlgorithm]struct {
	key  string
	hash crypto.Hash
}{
	jose.RS256: {"rsa", crypto.SHA256}, jose.RS384: {"rsa", crypto.SHA384}, jose.RS512: {"rsa", crypto.SHA512},
	jose.PS256: {"rsa", crypto.SHA256}, jose.PS384: {"rsa", crypto.SHA384}, jose.PS512: {"rsa", crypto.SHA512},
	jose.ES256: {"ec", crypto.SHA256}, jose.ES384: {"ec384", crypto.SHA384}, jose.ES512: {"ec521", crypto.SHA512},
	jose.EdDSA: {"ed", crypto.SHA512},
}

// signedBy returns an id token whose at_hash is that of the access token.
func signedBy(t *testing.T, alg jose.SignatureAlgorithm, access string) string {
	t.Helper()
	h := keyOf[alg].hash.New()
	h.Write([]byte(access))
	atHash := base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:h.Size()/2])
	key := keyOf[alg].key
	return sign(t, alg, key, testKeys()[key], goodClaims(map[string]any{"at_hash": atHash}))
}

func TestAlgorithmsByAllowList(t *testing.T) {
	usual := []string{"RS256", "PS256", "ES256", "EdDSA"}
	for name, tc := range map[string]struct {
		configured, advertised []string
		accepted               []string
	}{
		"nothing advertised":           {accepted: usual},
		"RS256 advertised":             {advertised: []string{"RS256"}, accepted: usual},
		"others advertised":            {advertised: []string{"none", "HS256", "RS384", "ES512"}, accepted: append([]string{"RS384", "ES512"}, usual...)},
		"all advertised":               {advertised: upstream.Algorithms(), accepted: upstream.Algorithms()},
		"configured":                   {configured: []string{"RS512", "ES384"}, advertised: []string{"RS256"}, accepted: []string{"RS512", "ES384"}},
		"configured all":               {configured: upstream.Algorithms(), accepted: upstream.Algorithms()},
		"configured EdDSA, no other":   {configured: []string{"EdDSA"}, advertised: upstream.Algorithms(), accepted: []string{"EdDSA"}},
		"configured RS256, not PS256":  {configured: []string{"RS256"}, accepted: []string{"RS256"}},
		"configured ES256, not others": {configured: []string{"ES256"}, accepted: []string{"ES256"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOP()
			o.publish(public("rsa", "rsa"), public("ec", "ec"), public("ec384", "ec384"), public("ec521", "ec521"), public("ed", "ed"))
			if tc.advertised != nil {
				o.discovery["id_token_signing_alg_values_supported"] = tc.advertised
			}
			p := o.provider(t, func(c *upstream.Config) { c.Algorithms = tc.configured })
			for _, alg := range upstream.Algorithms() {
				raw := signedBy(t, jose.SignatureAlgorithm(alg), "access")
				_, err := p.VerifyTokens(t.Context(), broker.UpstreamTokens{IDToken: raw, AccessToken: "access"})
				switch accepted := slices.Contains(tc.accepted, alg); {
				case accepted && err != nil:
					t.Errorf("%s is refused: %v", alg, err)
				case !accepted && !errors.Is(err, broker.ErrUpstreamToken):
					t.Errorf("%s: error %v", alg, err)
				}
			}
		})
	}
}

// TestSymmetricAlgorithmsAreRefused checks that no configuration accepts none, or HS256 with the
// public key as the secret.
func TestSymmetricAlgorithmsAreRefused(t *testing.T) {
	o := newOP()
	o.discovery["id_token_signing_alg_values_supported"] = []string{"HS256", "none"}
	o.publish(public("rsa", "rsa"), map[string]any{"kty": "oct", "kid": "oct", "k": base64.RawURLEncoding.EncodeToString(make([]byte, 32))})
	p := o.provider(t, nil)
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString(encode(goodClaims(nil))) + "."
	for name, raw := range map[string]string{
		"HS256": sign(t, jose.HS256, "oct", make([]byte, 32), goodClaims(nil)),
		"none":  unsigned, "none, signed": unsigned + "AAAA",
	} {
		if _, err := p.VerifyTokens(t.Context(), broker.UpstreamTokens{IDToken: raw}); !errors.Is(err, broker.ErrUpstreamToken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, alg := range []string{"HS256", "none", "rs256", "", "Ed25519"} {
		_, err := upstream.New(upstream.Config{Name: "op", Issuer: issuerURL, ClientID: "c", Algorithms: []string{alg}})
		if err == nil || !strings.Contains(err.Error(), "is not one of") {
			t.Errorf("configured %q: %v", alg, err)
		}
	}
}

func TestCognitoSignsWithRS256(t *testing.T) {
	o := newOP()
	o.discovery["id_token_signing_alg_values_supported"] = upstream.Algorithms()
	o.publish(public("rsa", "rsa"), public("ec", "ec"))
	p := o.provider(t, func(c *upstream.Config) { c.Kind = upstream.KindCognito })
	for _, alg := range []jose.SignatureAlgorithm{jose.RS256, jose.RS512, jose.PS256, jose.ES256} {
		key := keyOf[alg].key
		raw := sign(t, alg, key, testKeys()[key], goodClaims(map[string]any{"token_use": "id"}))
		if _, err := p.VerifyTokens(t.Context(), broker.UpstreamTokens{IDToken: raw}); (err == nil) != (alg == jose.RS256) {
			t.Errorf("%s: %v", alg, err)
		}
	}
	_, err := upstream.New(upstream.Config{Name: "c", Kind: upstream.KindCognito, Issuer: issuerURL, ClientID: "c", Algorithms: []string{"ES256"}})
	if err == nil || !strings.Contains(err.Error(), "RS256 only") {
		t.Errorf("configured ES256: %v", err)
	}
}

func TestKeyListedTwiceIsOneKey(t *testing.T) {
	o := newOP()
	withAlg := public("rsa", "k")
	withAlg.Algorithm = "RS256"
	o.publish(withAlg, public("rsa", "k"), public("rsa", "other"))
	p := o.provider(t, nil)
	for _, kid := range []string{"k", ""} {
		if err := verifyIn(t, p, jose.RS256, kid, "rsa"); err != nil {
			t.Errorf("kid %q: %v", kid, err)
		}
	}
}
