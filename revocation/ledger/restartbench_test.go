package ledger_test

import (
	"testing"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
	"tokenbroker/store/badgerstore"
)

// BenchmarkRestart measures the start of a broker with a million live entries: opening the store and
// loading every entry into the denylist. Its floor, measured in the same turn, is opening the store and
// iterating all entries; x-floor is the ratio.
func BenchmarkRestart(b *testing.B) {
	dir := b.TempDir()
	open := func() *badgerstore.Store {
		s, err := badgerstore.Open(badgerstore.Config{Dir: dir})
		if err != nil {
			b.Fatal(err)
		}
		return s
	}
	s := open()
	fill(b, s)
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	var floor, whole time.Duration
	for range b.N {
		b.StopTimer()
		begun := time.Now()
		s = open()
		n := 0
		for after := ""; ; {
			page, err := s.List(b.Context(), "ledger.event.", after, 10_000)
			if err != nil {
				b.Fatal(err)
			}
			n += len(page)
			if len(page) < 10_000 {
				break
			}
			after = page[len(page)-1].Key
		}
		floor += time.Since(begun)
		if err := s.Close(); err != nil || n != benchEvents {
			b.Fatal(n, err)
		}
		b.StartTimer()
		begun = time.Now()
		s = open()
		deny := revocation.NewDenylist()
		if _, err := ledger.Open(b.Context(), ledger.Config{Store: s, Denylist: deny}); err != nil {
			b.Fatal(err)
		}
		whole += time.Since(begun)
		b.StopTimer()
		if err := s.Close(); err != nil || deny.Len() != benchEvents {
			b.Fatal(deny.Len(), err)
		}
		b.StartTimer()
	}
	b.ReportMetric(floor.Seconds()/float64(b.N), "floor-s")
	b.ReportMetric(whole.Seconds()/floor.Seconds(), "x-floor")
}
