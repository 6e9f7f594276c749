package bench

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"tokenbroker/validator"
	"tokenbroker/validator/validatortest"
)

// turnOfSignatures is the number of calls in a turn, which takes less than a millisecond.
const turnOfSignatures = 8

var serviceAlgorithms = []string{"ES256", "EdDSA", "RS256"}

// BenchmarkValidateFirstSight validates tokens that are not remembered, compared with the standard
// library's check of the same signatures. Warm and cold mean the same as in
// [BenchmarkValidateSeenBefore].
func BenchmarkValidateFirstSight(b *testing.B) {
	for _, alg := range serviceAlgorithms {
		b.Run(alg, func(b *testing.B) {
			from := validatortest.New(b)
			kid := from.Rotate(alg)
			tokens := newTokens(b, from, 1000)
			b.Run("warm", func(b *testing.B) {
				compareWithRaw(b, forgetful(b, from), tokens, showWarm, rawChecks(b, from, kid, tokens[:warmAtOnce]), nil)
			})
			b.Run("cold", func(b *testing.B) {
				var copies []string
				for range 20 {
					for _, token := range tokens {
						copies = append(copies, strings.Clone(token))
					}
				}
				compareWithRaw(b, forgetful(b, from), copies, showCold, rawChecks(b, from, kid, copies), nil)
			})
		})
	}
}

// forgetful returns a validator that remembers a few hundred tokens, so that each of a thousand
// tokens that take turns is a new one.
func forgetful(tb testing.TB, from *validatortest.Issuer) *validator.Validator {
	tb.Helper()
	return newValidator(tb, from, 256)
}

// BenchmarkValidateFlood validates distinct tokens with a bad signature by a validator that
// remembers 1,000 valid ones, compared with the standard library's check of the same signatures.
func BenchmarkValidateFlood(b *testing.B) {
	for _, alg := range serviceAlgorithms {
		b.Run(alg, func(b *testing.B) {
			from := validatortest.New(b)
			kid := from.Rotate(alg)
			good := newTokens(b, from, 1000)
			bad := swapSignatures(good)
			v := newValidator(b, from, 0)
			validateAll(b, v, good)
			compareWithRaw(b, v, bad, showWarm, rawChecks(b, from, kid, bad), validator.ErrInvalid)
			before := v.Stats().Verified
			validateAll(b, v, good)
			if evicted := v.Stats().Verified - before; evicted > 0 {
				b.Errorf("%d of the valid tokens are no longer remembered", evicted)
			}
		})
	}
}

var errAccepted = errors.New("the token was accepted")

// compareWithRaw alternates between v and the raw checks on the given tokens. v must return the error
// want. The metric signatures/op reports whether each token cost one signature check.
func compareWithRaw(b *testing.B, v *validator.Validator, tokens []string, show show, checks []func() bool, want error) {
	b.Helper()
	ctx := b.Context()
	validate := func(token string) error {
		if _, err := v.Validate(ctx, token); !errors.Is(err, want) {
			return fmt.Errorf("unexpected result: %w", cmp.Or(err, errAccepted))
		}
		return nil
	}
	raw := func(i int) error {
		if checks[i%len(checks)]() != (want == nil) {
			return errors.New("the raw check returned the wrong result")
		}
		return nil
	}
	before := v.Stats().Verified
	calls := takeTurns(b, contender{"ours", turnOfSignatures, show(tokens, validate)}, contender{"raw", turnOfSignatures, timed(raw)})
	b.ReportMetric(float64(v.Stats().Verified-before)/float64(calls), "signatures/op")
	reportAllocations(b, func(i int) error { return validate(tokens[i%len(tokens)]) })
}

// timed calls do with consecutive numbers.
func timed(do func(i int) error) func(from, calls int) (time.Duration, error) {
	return func(from, calls int) (time.Duration, error) {
		began := time.Now()
		for i := range calls {
			if err := do(from + i); err != nil {
				return 0, err
			}
		}
		return time.Since(began), nil
	}
}

func validateAll(b *testing.B, v *validator.Validator, tokens []string) {
	b.Helper()
	for _, token := range tokens {
		if _, err := v.Validate(b.Context(), strings.Clone(token)); err != nil {
			b.Fatal(err)
		}
	}
}
