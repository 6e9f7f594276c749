package revocation_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"tokenbroker/revocation"
)

// twin is a model of a denylist without a limit.
type twin struct {
	values map[revocation.Kind]map[string]bool
	epochs map[revocation.Kind]map[string]int64
}

func newTwin() *twin {
	return &twin{values: map[revocation.Kind]map[string]bool{}, epochs: map[revocation.Kind]map[string]int64{}}
}

func (w *twin) apply(e revocation.Event) {
	if w.values[e.Kind] == nil {
		w.values[e.Kind], w.epochs[e.Kind] = map[string]bool{}, map[string]int64{}
	}
	w.values[e.Kind][e.Value] = true
	w.epochs[e.Kind][e.Value] = max(w.epochs[e.Kind][e.Value], e.Epoch)
}

func (w *twin) revoked(s revocation.Subject) bool {
	return w.values["jti"][s.JTI] || w.values["sid"][s.SID] || w.values["kid"][s.KID] || s.SEP < w.epochs["all"][""] ||
		s.SEP < w.epochs["sub"][s.Sub] || s.CEP < w.epochs["client"][s.ClientID]
}

// worldToken is one token of the property test and its expiry.
type worldToken struct {
	revocation.Subject
	exp int64
}

// worldTokens are tokens with both forms of jti and sid, three to a session.
func worldTokens() []worldToken {
	var tokens []worldToken
	for n := range 60 {
		s := revocation.Subject{
			JTI: fmt.Sprintf("0190a1b2-c3d4-7e5f-8a9b-%012x", n), SID: fmt.Sprintf("%c%s", 'a'+n/3, aSID[1:]),
			Sub: fmt.Sprint("user-", n%4), ClientID: fmt.Sprint("client-", n%3), KID: fmt.Sprint("key-", n%5),
			SEP: int64(n % 7), CEP: int64(n % 5),
		}
		if n%4 == 0 {
			s.JTI = fmt.Sprint("odd-", n)
		}
		if n/3%4 == 0 {
			s.SID = fmt.Sprint("odd-", n/3)
		}
		tokens = append(tokens, worldToken{s, 1000 + int64(n*7%90)})
	}
	return tokens
}

// TestCappedDenylistAgainstATwin checks for any events in any order that a capped denylist never reports a
// revoked and unexpired token as not revoked, and reports every other token as not revoked as long as
// nothing was evicted.
func TestCappedDenylistAgainstATwin(t *testing.T) {
	tokens := worldTokens()
	latest := map[string]int64{}
	for _, tok := range tokens {
		latest[tok.SID] = max(latest[tok.SID], tok.exp)
	}
	rapid.Check(t, func(t *rapid.T) {
		d := revocation.NewCappedDenylist(rapid.IntRange(1, 12).Draw(t, "cap"))
		w := newTwin()
		now := int64(990)
		var events []revocation.Event
		apply := func(batch ...revocation.Event) {
			evictions, version := d.Evictions(), d.Version()
			d.Apply(batch...)
			for _, e := range batch {
				w.apply(e)
			}
			if d.Evictions() != evictions && d.Version() == version {
				t.Fatal("an eviction did not change the version")
			}
		}
		// A reader stores the version that it read before the look-up.
		stored := map[string]uint64{}
		until := int64(0)
		t.Repeat(map[string]func(*rapid.T){
			"revoke": func(t *rapid.T) {
				tok := rapid.SampledFrom(tokens).Draw(t, "token")
				e := revocation.Event{Kind: rapid.SampledFrom([]revocation.Kind{
					"jti", "jti", "jti", "sid", "sid", "sub", "client", "all", "kid",
				}).Draw(t, "kind")}
				slack := rapid.Int64Range(0, 3).Draw(t, "slack")
				switch e.Kind {
				case "jti":
					e.Value, e.ExpiresAt = tok.JTI, tok.exp+slack
				case "sid":
					e.Value, e.ExpiresAt = tok.SID, latest[tok.SID]+slack
				case "kid":
					e.Value = "key-0"
				case "sub":
					e.Value = tok.Sub
				case "client":
					e.Value = tok.ClientID
				}
				if e.ExpiresAt == 0 {
					e.ExpiresAt, e.Epoch = 1100, rapid.Int64Range(0, 2).Draw(t, "epoch")
				}
				e.At = e.ExpiresAt // no length: only the broker's clock decides
				events = append(events, e)
				apply(e)
			},
			"replay and reorder": func(t *rapid.T) {
				if len(events) > 0 {
					apply(rapid.SliceOfN(rapid.SampledFrom(events), 1, 20).Draw(t, "events")...)
				}
			},
			"catch-up": func(t *rapid.T) { // all live events, the strongest of each kind and value, in any order
				strongest := map[string]revocation.Event{}
				for _, e := range events {
					if e.ExpiresAt < now && e.Kind != "kid" {
						continue
					}
					old := strongest[string(e.Kind)+e.Value]
					e.ExpiresAt, e.Epoch = max(e.ExpiresAt, old.ExpiresAt), max(e.Epoch, old.Epoch)
					strongest[string(e.Kind)+e.Value] = e
				}
				if len(strongest) > 0 {
					d.SetKids([]string{"key-4"})
					w.apply(revocation.Event{Kind: "kid", Value: "key-4"})
					apply(slices.Collect(maps.Values(strongest))...)
				}
			},
			"another store": func(*rapid.T) {
				d.DropStore()
				for _, kind := range []revocation.Kind{"sub", "client", "all"} {
					w.epochs[kind] = map[string]int64{}
				}
				events = slices.DeleteFunc(events, func(e revocation.Event) bool { return e.Epoch > 0 })
			},
			"time goes on": func(t *rapid.T) {
				now += rapid.Int64Range(0, 9).Draw(t, "seconds")
				d.Collect(now - rapid.Int64Range(0, 2).Draw(t, "floor behind"))
			},
			"": func(t *rapid.T) {
				if got := d.IncompleteUntil(); got < until {
					t.Fatalf("incomplete until %d, then %d", until, got)
				}
				until = d.IncompleteUntil()
				for _, tok := range tokens {
					if now >= tok.exp {
						continue
					}
					dead := w.revoked(tok.Subject)
					if v, ok := stored[tok.JTI]; ok && v == d.Version() && dead {
						t.Fatalf("a stored verdict hides that %+v is revoked", tok)
					}
					version := d.Version()
					got := d.Judge(tok.Subject, now*1000)
					switch {
					case got == revocation.NotRevoked && dead:
						t.Fatalf("%+v is revoked, but its entry is missing", tok)
					case got == revocation.Revoked && !dead:
						t.Fatalf("%+v is not revoked", tok)
					case got == revocation.Unknown && (d.Evictions() == 0 || now > d.IncompleteUntil()):
						t.Fatalf("unsure of %+v without a reason", tok)
					}
					if got == revocation.NotRevoked {
						stored[tok.JTI] = version
					}
				}
			},
		})
	})
}

func TestCappedDenylistHoldsEntriesAfterAMark(t *testing.T) {
	value := func(n int) string { return fmt.Sprintf("0190a1b2-c3d4-7e5f-8a9b-%012x", n) }
	revoke := func(d *revocation.Denylist, n int, end int64) {
		d.Apply(revocation.Event{Kind: "jti", Value: value(n), ExpiresAt: end})
	}
	d := revocation.NewCappedDenylist(4)
	for n := range 4 {
		revoke(d, n, 1000)
	}
	mark := d.Inserted()
	for n := 10; n < 20; n++ {
		revoke(d, n, 1000)
		first := d.Revoked(revocation.Subject{JTI: value(10)})
		if d.Holds(mark) != first {
			t.Fatalf("after %d: holds %v, the first is there %v", n, d.Holds(mark), first)
		}
		if n < 14 != first {
			t.Fatalf("after %d: the first is there %v", n, first)
		}
		for range 3 { // neither a look-up nor a replay makes an entry newer
			d.Judge(revocation.Subject{JTI: value(n - 3)}, 0)
			revoke(d, n, 1000)
		}
	}
	if d.Evictions() != 10 || d.Len() != 4 {
		t.Errorf("%d evictions, %d entries", d.Evictions(), d.Len())
	}
	if uncapped := revocation.NewDenylist(); !uncapped.Holds(0) {
		t.Error("without a cap everything is held")
	}
}

func TestCappedDenylistReturnsUnknownUntilEvictedEntriesEnd(t *testing.T) {
	d := revocation.NewCappedDenylist(2)
	other := revocation.Subject{JTI: "never revoked"}
	judge := func(when int64, want revocation.Verdict) {
		t.Helper()
		if got := d.Judge(other, when); got != want {
			t.Errorf("at %d ms: %v, want %v", when, got, want)
		}
	}
	d.Apply(revocation.Event{Kind: "sid", Value: "a", ExpiresAt: 1060}, revocation.Event{Kind: "jti", Value: aJTI, ExpiresAt: 1010})
	d.Apply(revocation.Event{Kind: "sub", Value: "u", Epoch: 1, ExpiresAt: 2000}, revocation.Event{Kind: "client", Value: "c", Epoch: 1, ExpiresAt: 2000},
		revocation.Event{Kind: "all", Epoch: 1, ExpiresAt: 2000}, revocation.Event{Kind: "kid", Value: "k"})
	other.SEP, other.CEP = 1, 1
	judge(1_000_000, revocation.NotRevoked)
	d.Apply(revocation.Event{Kind: "sid", Value: "b", ExpiresAt: 1020}, revocation.Event{Kind: "sid", Value: "c", ExpiresAt: 1030}) // "a" goes
	judge(1_000_000, revocation.Unknown)
	judge(1_060_999, revocation.Unknown)
	judge(1_061_000, revocation.NotRevoked)
	d.Apply(revocation.Event{Kind: "sid", Value: "d", ExpiresAt: 1500}) // "b" goes, which ended before "a"
	judge(1_060_000, revocation.Unknown)
	judge(1_061_000, revocation.NotRevoked)
	judge(1_000_000, revocation.Unknown) // a clock that is set back does not change the result
	for _, s := range []revocation.Subject{{SID: "d", SEP: 1, CEP: 1}, {Sub: "u", SEP: 0, CEP: 1}, {ClientID: "c", SEP: 1}, {KID: "k", SEP: 1, CEP: 1}, {CEP: 1}} {
		if got := d.Judge(s, 1_000_000); got != revocation.Revoked {
			t.Errorf("%+v: %v", s, got)
		}
	}
	if d.IncompleteUntil() != 1060 || d.Evictions() != 2 {
		t.Errorf("until %d, %d evictions", d.IncompleteUntil(), d.Evictions())
	}
	d.DropStore() // another store's epochs: evicted sessions stay unknown
	judge(1_000_000, revocation.Unknown)
}
