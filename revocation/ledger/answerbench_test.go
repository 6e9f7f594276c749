package ledger_test

import (
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
	"tokenbroker/store"
	"tokenbroker/store/badgerstore"
)

// benchEvents is the number of live entries.
const benchEvents = 1_000_000

// million is a ledger with that many sessions and tokens of the last quarter of an hour.
func million(b *testing.B) *ledger.Ledger {
	s, err := badgerstore.Open(badgerstore.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return fill(b, s)
}

// fill records the events of [million] in s.
func fill(b *testing.B, s *badgerstore.Store) *ledger.Ledger {
	l, err := ledger.Open(b.Context(), ledger.Config{Store: s, Denylist: revocation.NewDenylist()})
	if err != nil {
		b.Fatal(err)
	}
	for events := range manyEvents(revocation.MaxBatchEvents) {
		if err := s.Commit(b.Context(), []store.Change{{Events: events}}, l.Seal)[0]; err != nil {
			b.Fatal(err)
		}
		l.Committed()
	}
	return l
}

// manyEvents returns the events of [million], some at a time.
func manyEvents(each int) iter.Seq[[]revocation.Event] {
	return func(yield func([]revocation.Event) bool) {
		r := rand.New(rand.NewPCG(1, 1))
		now := time.Now().Unix()
		for recorded := 0; recorded < benchEvents; recorded += each {
			events := make([]revocation.Event, min(each, benchEvents-recorded))
			for i := range events {
				at := now - r.Int64N(900)
				high, low := r.Uint64(), r.Uint64()
				events[i] = revocation.Event{Kind: revocation.KindJTI, At: at, ExpiresAt: at + 900, Reason: revocation.ReasonLogoff,
					Value: fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", high>>32, high>>16&0xffff, high&0xffff, low>>48, low&(1<<48-1))}
			}
			if !yield(events) {
				return
			}
		}
	}
}

// BenchmarkAnswer measures a full answer of a million events, encoded from the store. Its floor is writing
// the same bytes from memory, as for all waiting callers except the first. live-MB is the memory of the
// encoding while it is in use.
func BenchmarkAnswer(b *testing.B) {
	l := million(b)
	for name, as := range map[string]revocation.Form{"json": revocation.FormJSON, "binary": revocation.FormBinary} {
		b.Run(name+"/encoded", func(b *testing.B) {
			b.ReportAllocs()
			var size int64
			for range b.N {
				a, err := l.EncodedAnswer(b.Context(), "", as)
				if err != nil {
					b.Fatal(err)
				}
				size = a.Size()
				_ = a.Close()
			}
			b.SetBytes(size)
			b.ReportMetric(float64(size)/benchEvents, "bytes/event")
		})
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		a, err := l.EncodedAnswer(b.Context(), "", as)
		if err != nil {
			b.Fatal(err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.Run(name+"/from-memory", func(b *testing.B) {
			b.SetBytes(a.Size())
			b.ReportAllocs()
			b.ReportMetric((float64(after.HeapAlloc)-float64(before.HeapAlloc))/1e6, "live-MB")
			for range b.N {
				if _, err := a.WriteTo(io.Discard); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/decoded", func(b *testing.B) {
			decode := revocation.DecodeAnswer
			if as == revocation.FormBinary {
				decode = revocation.DecodeBinaryAnswer
			}
			b.SetBytes(a.Size())
			b.ReportAllocs()
			for range b.N {
				if got, err := decode(a.Reader()); err != nil || len(got.Events) != benchEvents {
					b.Fatal(err)
				}
			}
		})
		_ = a.Close()
	}
}
