package peers_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// rememberedGolangJWT is the cache that a team writes when validation is too slow: a map in front
// of golang-jwt. It does not check revocations.
func rememberedGolangJWT(_ testing.TB, m *mint) validate {
	parse := golangJWTParser(m)
	known := &rememberedTokens{byToken: make(map[string]*golangClaims)}
	return func(_ context.Context, token string) (verdict, error) {
		claims, err := known.claims(token, parse)
		if err != nil {
			return verdict{}, err
		}
		return verdict{claims.Subject, claims.Scope}, nil
	}
}

const maxRemembered = 100_000

// rememberedTokens has the claims of valid tokens. It is emptied when it is full.
type rememberedTokens struct {
	mu      sync.RWMutex
	byToken map[string]*golangClaims // guarded by mu
}

func (r *rememberedTokens) claims(token string, parse func(string) (*golangClaims, error)) (*golangClaims, error) {
	r.mu.RLock()
	claims, ok := r.byToken[token]
	r.mu.RUnlock()
	if ok {
		if !time.Now().Before(claims.ExpiresAt.Time) {
			return nil, jwt.ErrTokenExpired
		}
		return claims, nil
	}
	claims, err := parse(token)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.byToken) >= maxRemembered {
		clear(r.byToken)
	}
	r.byToken[token] = claims
	return claims, nil
}
