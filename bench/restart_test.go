package bench

import (
	"strings"
	"testing"
	"time"

	"tokenbroker/keyring"
	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
	"tokenbroker/store"
	"tokenbroker/store/badgerstore"
)

// BenchmarkRestart measures a broker's start after a clean stop, with a million live revocations
// and a million sessions in its store, until the store, the ledger with every revocation in the
// denylist, and the keyring are open, so that it can serve requests. It alternates with its floor:
// opening only the store and iterating the ledger's events.
func BenchmarkRestart(b *testing.B) {
	live := liveRevocations(b)
	dir := b.TempDir()
	open := func() *badgerstore.Store {
		s, err := badgerstore.Open(badgerstore.Config{Dir: dir})
		if err != nil {
			b.Fatal(err)
		}
		return s
	}
	closed := func(s *badgerstore.Store) {
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
	sealer, err := keyring.NewAESGCM(make([]byte, keyring.KEKSize))
	if err != nil {
		b.Fatal(err)
	}
	start := func(s *badgerstore.Store) (*ledger.Ledger, *revocation.Denylist) {
		d := revocation.NewDenylist()
		l, err := ledger.Open(b.Context(), ledger.Config{Store: s, Denylist: d})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := keyring.Open(b.Context(), keyring.Config{Store: keyringStore{s}, Sealer: sealer, StoreID: l.StoreID()}); err != nil {
			b.Fatal(err)
		}
		return l, d
	}
	s := open()
	fillSessions(b, s, newRig(b, nil).sessionRecord(b), live)
	l, _ := start(s)
	record(b, s, l, live)
	closed(s)
	var own, floor time.Duration
	times := 0
	for b.Loop() {
		times++
		floor += stopwatch(func() {
			s = open()
			n := 0
			if err := s.Scan(b.Context(), "ledger.event.", "ledger.event/", func(_, value []byte) error {
				n += min(len(value), 1)
				return nil
			}); err != nil || n != live {
				b.Fatal(n, err)
			}
		})
		closed(s)
		var d *revocation.Denylist
		own += stopwatch(func() {
			s = open()
			_, d = start(s)
		})
		if d.Len() != live {
			b.Fatalf("%d revocations, want %d", d.Len(), live)
		}
		closed(s)
	}
	b.ReportMetric(own.Seconds()/float64(times), "s")
	b.ReportMetric(floor.Seconds()/float64(times), "floor-s")
	b.ReportMetric(own.Seconds()/floor.Seconds(), "x-floor")
}

// fillSessions writes the given number of sessions that are copies of the given one.
func fillSessions(tb testing.TB, s *badgerstore.Store, like store.Record, count int) {
	tb.Helper()
	const atOnce = 4000
	in := newIDs(count)
	prefix := strings.TrimSuffix(like.Key, like.Key[len(like.Key)-sidLen:])
	for from := 0; from < count; from += atOnce {
		var writes []store.Write
		for i := from; i < min(from+atOnce, count); i++ {
			id := in.id(i)
			writes = append(writes, store.Write{Key: prefix + sidText.EncodeToString(id[:]), Value: like.Value, Blind: true})
		}
		if err := s.Commit(tb.Context(), []store.Change{{Writes: writes}}, nil)[0]; err != nil {
			tb.Fatal(err)
		}
	}
}
