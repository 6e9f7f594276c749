package peers_test

import (
	"context"
	"crypto"
	"fmt"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"
	zitadel "github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// ownClaims are the claims that a service needs in addition to the registered ones.
type ownClaims struct {
	Scope    string `json:"scope"`
	ClientID string `json:"client_id"`
	SID      string `json:"sid"`
}

func joseKeys(m *mint) jose.JSONWebKeySet {
	return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: m.public, KeyID: m.kid, Algorithm: m.alg, Use: "sig"}}}
}

// goJOSE is https://pkg.go.dev/github.com/go-jose/go-jose/v4/jwt.
func goJOSE(_ testing.TB, m *mint) validate {
	keys, allowed := joseKeys(m), []jose.SignatureAlgorithm{jose.SignatureAlgorithm(m.alg)}
	issuer := m.issuer.URL()
	return func(_ context.Context, token string) (verdict, error) {
		parsed, err := josejwt.ParseSigned(token, allowed)
		if err != nil {
			return verdict{}, err
		}
		var claims josejwt.Claims
		var own ownClaims
		if err := parsed.Claims(&keys, &claims, &own); err != nil {
			return verdict{}, err
		}
		expected := josejwt.Expected{Issuer: issuer, AnyAudience: josejwt.Audience{audience}, Time: time.Now()}
		if err := claims.ValidateWithLeeway(expected, 0); err != nil {
			return verdict{}, err
		}
		return verdict{claims.Subject, own.Scope}, nil
	}
}

// goOIDC is https://pkg.go.dev/github.com/coreos/go-oidc/v3/oidc with static keys.
func goOIDC(_ testing.TB, m *mint) validate {
	verifier := oidc.NewVerifier(m.issuer.URL(), &oidc.StaticKeySet{PublicKeys: []crypto.PublicKey{m.public}},
		&oidc.Config{ClientID: audience, SupportedSigningAlgs: []string{m.alg}})
	return func(ctx context.Context, token string) (verdict, error) {
		verified, err := verifier.Verify(ctx, token)
		if err != nil {
			return verdict{}, err
		}
		var own ownClaims
		if err := verified.Claims(&own); err != nil {
			return verdict{}, err
		}
		return verdict{verified.Subject, own.Scope}, nil
	}
}

// zitadelOIDC is https://pkg.go.dev/github.com/zitadel/oidc/v3/pkg/op: its verification of access
// tokens, in which the caller must check the audience.
func zitadelOIDC(_ testing.TB, m *mint) validate {
	verifier := op.NewAccessTokenVerifier(m.issuer.URL(), zitadelKeys{joseKeys(m)},
		op.WithSupportedAccessTokenSigningAlgorithms(m.alg))
	return func(ctx context.Context, token string) (verdict, error) {
		claims, err := op.VerifyAccessToken[*zitadel.AccessTokenClaims](ctx, token, verifier)
		if err != nil {
			return verdict{}, err
		}
		if err := zitadel.CheckAudience(claims, audience); err != nil {
			return verdict{}, err
		}
		return verdict{claims.Subject, claims.Scopes.String()}, nil
	}
}

// zitadelKeys finds keys in the same way as zitadel/oidc's remote key set after it has fetched
// them.
type zitadelKeys struct{ set jose.JSONWebKeySet }

var _ zitadel.KeySet = zitadelKeys{}

func (k zitadelKeys) VerifySignature(_ context.Context, jws *jose.JSONWebSignature) ([]byte, error) {
	kid, alg := zitadel.GetKeyIDAndAlg(jws)
	key, err := zitadel.FindMatchingKey(kid, zitadel.KeyUseSignature, alg, k.set.Keys...)
	if err != nil {
		return nil, fmt.Errorf("finding the key: %w", err)
	}
	return jws.Verify(&key)
}
