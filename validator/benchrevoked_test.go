package validator

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"tokenbroker/revocation"
)

// BenchmarkHitUnderRevocations is the worst case of a service that receives revocations continuously: the
// version changes before each hit, so each hit consults the denylist. "three look-ups" is a validator
// without versions, which makes a hit and three look-ups, of jti, sid and sub.
func BenchmarkHitUnderRevocations(b *testing.B) {
	const live, revoked = 1000, 10_000
	v, s := newBenchValidator(b, "ES256")
	tokens := remember(b, v, live)
	for i := range revoked {
		s.deny.Apply(
			revocation.Event{Kind: revocation.KindSID, Value: fmt.Sprintf("%026d", i+live), ExpiresAt: brokerNow + 3600, At: brokerNow},
			revocation.Event{Kind: revocation.KindJTI, Value: fmt.Sprintf("0190a1b2-c3d4-7e5f-8a9b-%012x", i+live), ExpiresAt: brokerNow + 3600, At: brokerNow},
		)
	}
	ctx := b.Context()
	n := 0
	next := func() string {
		if n += 7919; n >= len(tokens) {
			n %= len(tokens)
		}
		return tokens[n]
	}
	b.Run("plain hit", func(b *testing.B) {
		for _, token := range tokens {
			_, _ = v.Validate(ctx, token)
		}
		for b.Loop() {
			if _, err := v.Validate(ctx, next()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("three look-ups", func(b *testing.B) {
		var mu sync.RWMutex
		lru, _ := simplelru.NewLRU[string, int64](2*revoked, nil)
		for i := range 2 * revoked {
			lru.Add(fmt.Sprintf("0190a1b2-c3d4-7e5f-8a9b-%012x", i+live), 1)
		}
		for b.Loop() {
			c, err := v.Validate(ctx, next())
			if err != nil {
				b.Fatal(err)
			}
			for _, key := range [...]string{c.ID, c.SessionID, c.Subject} {
				mu.RLock()
				_, hit := lru.Peek(key)
				mu.RUnlock()
				if hit {
					b.Fatal("revoked")
				}
			}
		}
	})
	b.Run("another version each time", func(b *testing.B) {
		b.ReportAllocs()
		before := v.verified.Load()
		for b.Loop() {
			s.deny.BumpVersion()
			if _, err := v.Validate(ctx, next()); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(v.verified.Load()-before), "signatures")
	})
	b.Run("10,000 revocations a second", func(b *testing.B) {
		stop := make(chan struct{})
		var group sync.WaitGroup
		group.Go(func() {
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-tick.C:
				}
				for k := range 10 {
					s.deny.Apply(revocation.Event{Kind: revocation.KindSID, Value: fmt.Sprintf("%026d", 1_000_000+10*i+k),
						ExpiresAt: brokerNow + 3600, At: brokerNow})
				}
			}
		})
		for b.Loop() {
			if _, err := v.Validate(ctx, next()); err != nil {
				b.Fatal(err)
			}
		}
		close(stop)
		group.Wait()
	})
}

// BenchmarkHitsAtOnce has eight goroutines per core validate 1,000 tokens, or the same one in "all one". A
// hit writes nothing that another hit reads.
func BenchmarkHitsAtOnce(b *testing.B) {
	b.Run("only the clock", func(b *testing.B) {
		b.SetParallelism(8)
		start := time.Now()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				_ = time.Since(start)
			}
		})
	})
	for name, live := range map[string]int{"all one": 1, "1000 tokens": 1000} {
		b.Run(name, func(b *testing.B) {
			v, _ := newBenchValidator(b, "ES256")
			tokens := remember(b, v, live)
			ctx := b.Context()
			var begun atomic.Int64
			b.SetParallelism(8)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				n := int(begun.Add(1)) * 997
				for pb.Next() {
					n += 7919
					if _, err := v.Validate(ctx, tokens[n%len(tokens)]); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkFloodOfBadTokens validates different tokens with a bad signature between hits of valid tokens,
// which must stay hits.
func BenchmarkFloodOfBadTokens(b *testing.B) {
	v, s := newBenchValidator(b, "EdDSA")
	tokens := remember(b, v, 1000)
	bad := []byte(s.sign(b, benchToken("EdDSA", 5000)))
	tail := bad[len(bad)-20:]
	before := v.verified.Load()
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		n++
		copy(tail, fmt.Sprintf("%012dAAAAAAAA", n))
		if _, err := v.Validate(b.Context(), string(bad)); err == nil {
			b.Fatal("accepted")
		}
	}
	b.ReportMetric(float64(v.verified.Load()-before)/float64(n), "signatures/op")
	before = v.verified.Load()
	for _, token := range tokens {
		if _, err := v.Validate(b.Context(), token); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(v.verified.Load()-before), "evicted")
}
