package revocation

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// plainTable is a table without an index, which has its entries in the order in which they were added.
type plainTable struct {
	limit   int
	entries []plainEntry
	evicted []life
}

type plainEntry struct {
	kind tableKind
	key  id
	life life
}

func (t *plainTable) find(kind tableKind, key id) int {
	return slices.IndexFunc(t.entries, func(e plainEntry) bool { return e.kind == kind && e.key == key })
}

func (t *plainTable) prolong(kind tableKind, key id, l life) bool {
	if i := t.find(kind, key); i >= 0 {
		old := t.entries[i].life
		if l.end <= old.end {
			return false
		}
		t.entries, l = slices.Delete(t.entries, i, i+1), old.longer(l)
	} else if t.limit > 0 && len(t.entries) == t.limit {
		t.evicted = append(t.evicted, t.entries[0].life)
		t.entries = slices.Delete(t.entries, 0, 1)
	}
	t.entries = append(t.entries, plainEntry{kind, key, l})
	return true
}

func (t *plainTable) collect(dead func(life) bool) {
	for i := 0; i < len(t.entries); {
		switch {
		case dead(t.entries[i].life):
			t.entries = slices.Delete(t.entries, i, i+1)
		case t.limit > 0:
			return
		default:
			i++
		}
	}
}

// TestTableAgainstAPlainOne also covers equal hashes and hashes at the end of the index: the key itself is
// compared, so a key that an attacker chose is also found correctly.
func TestTableAgainstAPlainOne(t *testing.T) {
	hashes := map[string]func(id) uint64{
		"seeded":      idHash(),
		"all alike":   func(id) uint64 { return 0 },
		"at the end":  func(k id) uint64 { return ^uint64(k[15]%3) << 32 },
		"in clusters": func(k id) uint64 { return uint64(k[15]/4) << 32 },
	}
	for name, hash := range hashes {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				limit := rapid.SampledFrom([]int{0, 0, 1, 7, 40}).Draw(t, "limit")
				want := &plainTable{limit: limit}
				var evicted []life
				got := newTable(hash, limit, func(l life) { evicted = append(evicted, l) })
				for range rapid.IntRange(1, 400).Draw(t, "steps") {
					kind := tableKind(rapid.IntRange(0, 1).Draw(t, "kind"))
					key := id{0: 1, 15: byte(rapid.IntRange(0, 60).Draw(t, "key"))}
					if rapid.IntRange(0, 20).Draw(t, "collect") == 0 {
						floor := rapid.Int64Range(0, 120).Draw(t, "floor")
						dead := func(l life) bool { return l.end <= floor }
						want.collect(dead)
						got.collect(dead)
					} else {
						end := rapid.Int64Range(0, 100).Draw(t, "end")
						l := life{end: end, until: time.Duration(rapid.Int64Range(0, 100).Draw(t, "until"))}
						if g, w := got.prolong(kind, key, l), want.prolong(kind, key, l); g != w {
							t.Fatalf("changed %v, want %v", g, w)
						}
					}
					compareTables(t, &got, want)
				}
				if !slices.Equal(evicted, want.evicted) {
					t.Fatalf("evicted %v, want %v", evicted, want.evicted)
				}
			})
		})
	}
}

func compareTables(t *rapid.T, got *table[id], want *plainTable) {
	if got.len() != len(want.entries) || got.index.used != got.len() || 2*got.index.used > len(got.index.slots) {
		t.Fatalf("%d entries, %d of %d slots; want %d", got.len(), got.index.used, len(got.index.slots), len(want.entries))
	}
	p := got.oldest
	for _, e := range want.entries {
		if p == 0 || got.at(p).key != e.key || got.at(p).kind != e.kind || got.at(p).life != e.life {
			t.Fatalf("%+v is not in its place", e)
		}
		p = got.at(p).next
	}
	if p != 0 {
		t.Fatal("there are more")
	}
	for kind := range tableKind(2) {
		for n := range 62 {
			if key := (id{0: 1, 15: byte(n)}); got.has(kind, key) != (want.find(kind, key) >= 0) {
				t.Fatalf("%v of kind %v: %v", key, kind, got.has(kind, key))
			}
		}
	}
}

// TestAnIndexWithoutSlots checks that home may be any number without slots, also a negative one.
func TestAnIndexWithoutSlots(t *testing.T) {
	var x index
	for _, i := range []int{-1 << 31, -1, 0, 1, 1<<31 - 1} {
		if h, p := x.at(i); h != 0 || p != 0 {
			t.Errorf("at %d lies %d", i, p)
		}
	}
}
