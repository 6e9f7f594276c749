package peers_test

import (
	"context"
	"log/slog"
	"testing"

	"tokenbroker/validator"
)

// ours is the validator as a service uses it, with its goroutines and a feed of revocations.
func ours(tb testing.TB, m *mint) validate { return newOurs(tb, m, 0) }

// oursForgetful remembers a few hundred tokens, so that each of a thousand tokens that take turns
// is a new one.
func oursForgetful(tb testing.TB, m *mint) validate { return newOurs(tb, m, 256) }

func newOurs(tb testing.TB, m *mint, cacheSize int) validate {
	config := m.issuer.Config(audience)
	config.CacheSize = cacheSize
	config.Logger = slog.New(slog.DiscardHandler)
	v, err := validator.New(tb.Context(), config)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(v.Close)
	return func(ctx context.Context, token string) (verdict, error) {
		claims, err := v.Validate(ctx, token)
		if err != nil {
			return verdict{}, err
		}
		return verdict{claims.Subject, claims.Scope}, nil
	}
}
