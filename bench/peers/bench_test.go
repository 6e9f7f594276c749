package peers_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	// live is the number of tokens that take turns.
	live = 1000
	// turnOfSignatures and turnOfRemembering are the numbers of tokens in a turn of a contestant. A
	// turn takes less than a millisecond, so that the load of the machine rarely changes during it.
	turnOfSignatures  = 8
	turnOfRemembering = 2 << 10
)

// BenchmarkFirstSight validates tokens that were not validated before.
func BenchmarkFirstSight(b *testing.B) {
	for _, alg := range algorithms {
		b.Run(alg, func(b *testing.B) {
			r := newRound(b, alg, contestant{build: oursForgetful})
			b.Run("raw-signature", func(b *testing.B) {
				r.run(b, turnOfSignatures, func(context.Context, string) (verdict, error) {
					if !r.raw() {
						b.Fatal("the signature is invalid")
					}
					return verdict{}, nil
				})
			})
			for _, c := range firstSight {
				b.Run(c.name, func(b *testing.B) { r.run(b, turnOfSignatures, c.build(b, r.mint)) })
			}
		})
	}
}

// BenchmarkSeenBefore validates tokens that were validated before. A peer that does not remember
// tokens verifies them again.
func BenchmarkSeenBefore(b *testing.B) {
	for _, alg := range algorithms {
		b.Run(alg, func(b *testing.B) {
			r := newRound(b, alg, contestant{remembers: true, build: ours})
			for _, c := range seenBefore {
				turn := turnOfSignatures
				if c.remembers {
					turn = turnOfRemembering
				}
				b.Run(c.name, func(b *testing.B) {
					validate := c.build(b, r.mint)
					validateAll(b, validate, r.tokens)
					r.run(b, turn, validate)
				})
			}
		})
	}
}

// round has what the contestants of one algorithm share: the tokens, and the two with which each is
// compared.
type round struct {
	mint     *mint
	tokens   []string
	raw      rawCheck
	ours     validate
	oursTurn int
}

func newRound(b *testing.B, alg string, reference contestant) *round {
	b.Helper()
	m := newMint(b, alg)
	r := &round{mint: m, tokens: m.tokens(b, live), ours: reference.build(b, m), oursTurn: turnOfSignatures}
	r.raw = newRawCheck(b, m, r.tokens[0])
	if reference.remembers {
		r.oursTurn = turnOfRemembering
		validateAll(b, r.ours, r.tokens)
	}
	return r
}

// run first measures the time and the allocations of validate. Then validate, the raw check and our
// validator alternate, for twice as long. The metrics are the medians of the ratios of the turns.
func (r *round) run(b *testing.B, turn int, validate validate) {
	ctx := b.Context()
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if _, err := validate(ctx, r.tokens[n%live]); err != nil {
			b.Fatal(err)
		}
		n++
	}
	var raw, theirs, ours float64
	turns := []func(){
		func() {
			raw = perCall(turnOfSignatures, func(int) {
				if !r.raw() {
					b.Fatal("the signature is invalid")
				}
			})
		},
		func() { theirs = r.turn(b, validate, turn, n) },
		// Other tokens, because the processor's cache contains the same ones.
		func() { ours = r.turn(b, r.ours, r.oursTurn, n+live/2) },
	}
	var toRaw, toOurs []float64
	for started := time.Now(); len(toRaw) == 0 || time.Since(started) < 2*b.Elapsed(); n += turn {
		for _, take := range turns {
			take()
		}
		slices.Reverse(turns) // because the order affects the times
		toRaw, toOurs = append(toRaw, theirs/raw), append(toOurs, theirs/ours)
	}
	b.ReportMetric(median(toRaw), "x-raw")
	b.ReportMetric(median(toOurs), "x-ours")
}

// turn validates the given number of tokens, starting with the given one, and returns the average
// time.
func (r *round) turn(b *testing.B, validate validate, tokens, from int) float64 {
	ctx := b.Context()
	return perCall(tokens, func(i int) {
		if _, err := validate(ctx, r.tokens[(from+i)%live]); err != nil {
			b.Fatal(err)
		}
	})
}

// validateAll validates copies of the tokens, so that caches contain them: the token in a request
// is another string than the remembered one.
func validateAll(b *testing.B, validate validate, tokens []string) {
	b.Helper()
	for _, token := range tokens {
		if _, err := validate(b.Context(), strings.Clone(token)); err != nil {
			b.Fatal(err)
		}
	}
}

// perCall returns the average time of a call, in nanoseconds.
func perCall(calls int, call func(i int)) float64 {
	started := time.Now()
	for i := range calls {
		call(i)
	}
	return float64(time.Since(started)) / float64(calls)
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}
