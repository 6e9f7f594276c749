package ledger_test

import (
	"fmt"
	"maps"
	"testing"

	"pgregory.net/rapid"

	"tokenbroker/revocation"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
)

// strength is the part of an event that decides which one of a kind and value is kept.
type strength struct{ end, epoch int64 }

// record is a model of the ledger: a map that keeps the strongest events and never removes one.
type record map[string]strength

func (r record) add(events []revocation.Event) {
	for _, e := range events {
		key := string(e.Kind) + " " + e.Value
		r[key] = strength{end: max(r[key].end, e.ExpiresAt), epoch: max(r[key].epoch, e.Epoch)}
	}
}

// TestTheRecordAgainstATwin checks for any revocations in any commits, with restarts, that an answer has
// each kind and value once and with its strongest event, and that a reader that asks from its position
// misses nothing.
func TestTheRecordAgainstATwin(t *testing.T) {
	event := rapid.Custom(func(t *rapid.T) revocation.Event {
		kind := rapid.SampledFrom([]revocation.Kind{"jti", "sid", "sub", "client", "kid", "all"}).Draw(t, "kind")
		e := revocation.Event{Kind: kind, At: 100, ExpiresAt: 100 + rapid.Int64Range(0, 9).Draw(t, "length"), Reason: revocation.ReasonRevoked}
		if kind != "all" {
			e.Value = rapid.SampledFrom([]string{"a", "A", "a.b", "~a", "ä"}).Draw(t, "value")
		}
		if kind == "sub" || kind == "client" || kind == "all" {
			e.Epoch = rapid.Int64Range(1, 5).Draw(t, "epoch")
		}
		return e
	})
	rapid.Check(t, func(rt *rapid.T) {
		s := memstore.New(nil)
		p, twin := start(t, s), record{}
		reader, position := record{}, ""
		rt.Repeat(map[string]func(*rapid.T){
			"revoke": func(rt *rapid.T) {
				var changes []store.Change
				for range rapid.IntRange(1, 3).Draw(rt, "changes") {
					events := rapid.SliceOfN(event, 1, 4).Draw(rt, "events")
					changes = append(changes, store.Change{Events: events})
					twin.add(events)
				}
				for _, err := range s.Commit(t.Context(), changes, p.Seal) {
					if err != nil {
						rt.Fatal(err)
					}
				}
				p.Committed()
			},
			"restart": func(*rapid.T) { p = start(t, s) },
			"catch up": func(rt *rapid.T) {
				a := p.answer(position)
				if a.Full {
					reader = record{}
				}
				reader.add(a.Events)
				if position = fmt.Sprintf("%s.%d", a.Origin, a.Origins[0].Head); !maps.Equal(reader, twin) {
					rt.Fatalf("the reader has %v, want %v", reader, twin)
				}
			},
			"ask for everything": func(rt *rapid.T) {
				full := record{}
				a := p.answer("")
				if full.add(a.Events); !maps.Equal(full, twin) || len(a.Events) != len(twin) {
					rt.Fatalf("the answer holds %v, want %v", a.Events, twin)
				}
			},
		})
	})
}
