package peers_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	// live is how many tokens take turns.
	live = 1000
	// A turn of a contestant is this many tokens, less than a millisecond: most turns are
	// over before the machine does something else.
	turnOfSignatures  = 8
	turnOfRemembering = 2 << 10
)

// BenchmarkFirstSight validates tokens that were not seen before.
func BenchmarkFirstSight(b *testing.B) {
	for _, alg := range algorithms {
		b.Run(alg, func(b *testing.B) {
			r := newRound(b, alg, contestant{build: oursForgetful})
			b.Run("raw-signature", func(b *testing.B) {
				r.run(b, turnOfSignatures, func(context.Context, string) (verdict, error) {
					if !r.raw() {
						b.Fatal("the signature is bad")
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

// BenchmarkSeenBefore validates tokens that were validated before. For a peer without a
// memory of tokens that is the first sight again.
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

// round is what the contestants of one algorithm share: the tokens, and the two to which
// each is compared.
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

// run first measures only validate, for time and allocations. Then validate, the raw check and
// ours take turns, twice as long: the metrics are the medians of the turns' ratios.
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
					b.Fatal("the signature is bad")
				}
			})
		},
		func() { theirs = r.turn(b, validate, turn, n) },
		// Not the same tokens: they would be in the processor's cache.
		func() { ours = r.turn(b, r.ours, r.oursTurn, n+live/2) },
	}
	var toRaw, toOurs []float64
	for started := time.Now(); len(toRaw) == 0 || time.Since(started) < 2*b.Elapsed(); n += turn {
		for _, take := range turns {
			take()
		}
		slices.Reverse(turns) // who comes after whom matters
		toRaw, toOurs = append(toRaw, theirs/raw), append(toOurs, theirs/ours)
	}
	b.ReportMetric(median(toRaw), "x-raw")
	b.ReportMetric(median(toOurs), "x-ours")
}

// turn validates so many tokens from the given one on, and returns the time for each.
func (r *round) turn(b *testing.B, validate validate, tokens, from int) float64 {
	ctx := b.Context()
	return perCall(tokens, func(i int) {
		if _, err := validate(ctx, r.tokens[(from+i)%live]); err != nil {
			b.Fatal(err)
		}
	})
}

// validateAll makes the tokens known to what remembers: as copies, since what a request
// brings is another string than the one that is remembered.
func validateAll(b *testing.B, validate validate, tokens []string) {
	b.Helper()
	for _, token := range tokens {
		if _, err := validate(b.Context(), strings.Clone(token)); err != nil {
			b.Fatal(err)
		}
	}
}

// perCall is the average time of so many calls, in nanoseconds.
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
