package ledger_test

import (
	"runtime"
	"testing"

	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
	"tokenbroker/store/origins"
)

// BenchmarkSharedEngine measures, with a million live events on an engine in memory, the start of a broker and a full answer
// of it. Batches have the size that etcd takes. live-B/event is the memory of the log and the denylist.
func BenchmarkSharedEngine(b *testing.B) {
	const each = 60
	engine := memstore.NewEngine(nil)
	join := func(name string) *origins.Run {
		run, err := origins.Join(b.Context(), origins.Config{Engine: engine.Open(nil), Name: name, KEK: "k"})
		if err != nil {
			b.Fatal(err)
		}
		return run
	}
	open := func(run *origins.Run) *ledger.Ledger {
		l, err := ledger.Open(b.Context(), ledger.Config{Run: run, Denylist: revocation.NewDenylist()})
		if err != nil {
			b.Fatal(err)
		}
		return l
	}
	first := join("first")
	writer := open(first)
	for events := range manyEvents(each) {
		if err := first.Commit(b.Context(), []store.Change{{Events: events}}, writer.Seal)[0]; err != nil {
			b.Fatal(err)
		}
		writer.Committed()
	}
	writer.Close()
	if err := first.Leave(b.Context()); err != nil {
		b.Fatal(err)
	}
	second := join("second")
	if err := second.Tick(b.Context()); err != nil {
		b.Fatal(err)
	}
	var l *ledger.Ledger
	b.Run("open", func(b *testing.B) {
		var before, after runtime.MemStats
		for range b.N {
			l = nil
			runtime.GC()
			runtime.ReadMemStats(&before)
			l = open(second)
			runtime.GC()
			runtime.ReadMemStats(&after)
		}
		b.ReportMetric((float64(after.HeapAlloc)-float64(before.HeapAlloc))/benchEvents, "live-B/event")
	})
	for name, form := range map[string]revocation.Form{"json": revocation.FormJSON, "binary": revocation.FormBinary} {
		b.Run("answer/"+name, func(b *testing.B) {
			for range b.N {
				a, err := l.EncodedAnswer(b.Context(), "", form)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(a.Size())
				_ = a.Close()
			}
		})
	}
}
