package validator

import (
	"crypto/ed25519"
	"fmt"
	"strings"
	"testing"
	"time"
)

// BenchmarkTimeSince is the floor of a hit, which cannot do without one clock reading.
func BenchmarkTimeSince(b *testing.B) {
	start := time.Now()
	var total time.Duration
	for b.Loop() {
		total += time.Since(start)
	}
	if total < 0 {
		b.Fatal("time ran back")
	}
}

func BenchmarkSeenBefore(b *testing.B) {
	for _, live := range []int{1, 1000, 100_000} {
		v, _, mint := newFake(b)
		v.cache = newCache(defaultCacheSize)
		fixed := v.backend.(*remote).source.(*fakeSource)
		v.backend.(*remote).source = &steadySource{fixed, fixed.view()}
		b.Run(fmt.Sprintf("live=%d", live), func(b *testing.B) {
			tokens := make([]string, live)
			for i := range tokens {
				tokens[i] = mint(brokerNow, brokerNow+3000)
				if _, err := v.Validate(b.Context(), tokens[i]); err != nil {
					b.Fatal(err)
				}
				// What a request brings is another string than the one in memory.
				tokens[i] = strings.Clone(tokens[i])
			}
			v.backend.(*remote).source.(*steadySource).fixed.asOf = monotonic()
			ctx := b.Context()
			b.ReportAllocs()
			before := v.verified.Load()
			n := 0
			for b.Loop() {
				if n += 7919; n >= live {
					n %= live
				}
				if _, err := v.Validate(ctx, tokens[n]); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(v.verified.Load()-before)/float64(b.N), "signatures/op")
		})
	}
}

// steadySource gives one view without making it anew, as the real one does.
type steadySource struct {
	*fakeSource
	fixed *view
}

func (s *steadySource) view() *view { return s.fixed }

// BenchmarkFirstSight stands beside the raw check of the same signatures.
func BenchmarkFirstSight(b *testing.B) {
	const live = 2000
	v, s, mint := newFake(b)
	s.now = aged(0, brokerNow*1000)
	tokens := make([]string, live)
	for i := range tokens {
		tokens[i] = mint(brokerNow, brokerNow+3000)
	}
	b.Run("raw EdDSA", func(b *testing.B) {
		b.ReportAllocs()
		n := 0
		for b.Loop() {
			text := tokens[n%live]
			dot := strings.LastIndexByte(text, '.')
			signature, err := strictBase64.DecodeString(text[dot+1:])
			if err != nil || !ed25519.Verify(s.public.(ed25519.PublicKey), []byte(text[:dot]), signature) {
				b.Fatal("the signature is bad")
			}
			n++
		}
	})
	b.Run("Validate", func(b *testing.B) {
		b.ReportAllocs()
		n := 0
		for b.Loop() {
			if n%live == 0 {
				v.cache = newCache(live)
				s.now = aged(0, brokerNow*1000)
			}
			if _, err := v.Validate(b.Context(), tokens[n%live]); err != nil {
				b.Fatal(err)
			}
			n++
		}
	})
}
