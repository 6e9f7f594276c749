package peers_test

import (
	"context"
	"crypto"
	"fmt"
	"testing"

	"github.com/auth0/go-jwt-middleware/v2/validator"
	"github.com/golang-jwt/jwt/v5"
	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	jwxjwt "github.com/lestrrat-go/jwx/v3/jwt"
	josev2 "gopkg.in/go-jose/go-jose.v2"
)

type golangClaims struct {
	jwt.RegisteredClaims
	ownClaims
}

// golangJWT is https://pkg.go.dev/github.com/golang-jwt/jwt/v5.
func golangJWT(_ testing.TB, m *mint) validate {
	parse := golangJWTParser(m)
	return func(_ context.Context, token string) (verdict, error) {
		claims, err := parse(token)
		if err != nil {
			return verdict{}, err
		}
		return verdict{claims.Subject, claims.Scope}, nil
	}
}

func golangJWTParser(m *mint) func(token string) (*golangClaims, error) {
	keys := map[string]crypto.PublicKey{m.kid: m.public}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{m.alg}), jwt.WithIssuer(m.issuer.URL()),
		jwt.WithAudience(audience), jwt.WithExpirationRequired())
	find := func(token *jwt.Token) (any, error) {
		kid, _ := token.Header["kid"].(string)
		if key, ok := keys[kid]; ok {
			return key, nil
		}
		return nil, fmt.Errorf("unknown key %q", kid)
	}
	return func(token string) (*golangClaims, error) {
		var claims golangClaims
		if _, err := parser.ParseWithClaims(token, &claims, find); err != nil {
			return nil, err
		}
		return &claims, nil
	}
}

// jwx is https://pkg.go.dev/github.com/lestrrat-go/jwx/v3/jwt. It allows the algorithm that is set
// in the key.
func jwx(tb testing.TB, m *mint) validate {
	key, err := jwk.Import(m.public)
	if err != nil {
		tb.Fatal(err)
	}
	alg, ok := jwa.LookupSignatureAlgorithm(m.alg)
	if !ok {
		tb.Fatalf("jwx does not support %s", m.alg)
	}
	for name, value := range map[string]any{jwk.KeyIDKey: m.kid, jwk.AlgorithmKey: alg} {
		if err := key.Set(name, value); err != nil {
			tb.Fatal(err)
		}
	}
	keys := jwk.NewSet()
	if err := keys.AddKey(key); err != nil {
		tb.Fatal(err)
	}
	options := []jwxjwt.ParseOption{jwxjwt.WithKeySet(keys), jwxjwt.WithIssuer(m.issuer.URL()),
		jwxjwt.WithAudience(audience), jwxjwt.WithRequiredClaim(jwxjwt.ExpirationKey)}
	return func(_ context.Context, token string) (verdict, error) {
		parsed, err := jwxjwt.ParseString(token, options...)
		if err != nil {
			return verdict{}, err
		}
		var v verdict
		if err := parsed.Get("scope", &v.scope); err != nil {
			return verdict{}, err
		}
		v.subject, _ = parsed.Subject()
		return v, nil
	}
}

// auth0Middleware is https://pkg.go.dev/github.com/auth0/go-jwt-middleware/v2/validator, which its
// middleware calls.
func auth0Middleware(tb testing.TB, m *mint) validate {
	keys := &josev2.JSONWebKeySet{Keys: []josev2.JSONWebKey{{Key: m.public, KeyID: m.kid, Algorithm: m.alg, Use: "sig"}}}
	v, err := validator.New(func(context.Context) (any, error) { return keys, nil },
		validator.SignatureAlgorithm(m.alg), m.issuer.URL(), []string{audience},
		validator.WithCustomClaims(func() validator.CustomClaims { return &auth0Claims{} }))
	if err != nil {
		tb.Fatal(err)
	}
	return func(ctx context.Context, token string) (verdict, error) {
		valid, err := v.ValidateToken(ctx, token)
		if err != nil {
			return verdict{}, err
		}
		claims := valid.(*validator.ValidatedClaims)
		return verdict{claims.RegisteredClaims.Subject, claims.CustomClaims.(*auth0Claims).Scope}, nil
	}
}

type auth0Claims struct{ ownClaims }

var _ validator.CustomClaims = (*auth0Claims)(nil)

// Validate implements [validator.CustomClaims].
func (*auth0Claims) Validate(context.Context) error { return nil }
