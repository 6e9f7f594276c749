package badgerstore_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tokenbroker/revocation"
	"tokenbroker/store"
	"tokenbroker/store/badgerstore"
	"tokenbroker/store/memstore"
)

// TestBadgerstoreAgreesWithMemstore makes the same random commits to badgerstore and memstore and
// compares the results and the contents. Revisions differ in number, not in meaning, so each
// operation names the expected revision by its age: none, the present one, the one before.
func TestBadgerstoreAgreesWithMemstore(t *testing.T) {
	engine := open(t, badgerstore.Config{InMemory: true})
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++ // each run has its own key space
		m := &pair{t: t, prefix: fmt.Sprintf("r%d.", round), stores: [2]store.Store{engine, memstore.New(nil)}}
		m.seen[0], m.seen[1] = map[string][]store.Revision{}, map[string][]store.Revision{}
		rt.Repeat(map[string]func(*rapid.T){"commit": m.commit, "": m.compare})
	})
}

type pair struct {
	t      *testing.T
	prefix string
	stores [2]store.Store
	seen   [2]map[string][]store.Revision // of each key, oldest first; zero when absent
}

func (m *pair) revision(which int, key string, age int) store.Revision {
	seen := m.seen[which][key]
	if age >= len(seen) {
		return 0
	}
	return seen[len(seen)-1-age]
}

func (m *pair) commit(rt *rapid.T) {
	var changes [2][]store.Change
	for range rapid.IntRange(1, 4).Draw(rt, "changes") {
		var change [2]store.Change
		for range rapid.IntRange(0, 3).Draw(rt, "writes") {
			key := m.prefix + rapid.SampledFrom([]string{"a", "b", "ab", "c"}).Draw(rt, "key")
			w := store.Write{
				Key: key, Value: []byte(rapid.StringN(0, 3, 8).Draw(rt, "value")),
				Delete: rapid.Bool().Draw(rt, "delete"), Blind: rapid.IntRange(0, 3).Draw(rt, "blind") == 0,
				ExpiresAt: rapid.SampledFrom([]int64{0, 0, 0, 1, 1 << 40}).Draw(rt, "expiry"),
			}
			age := rapid.SampledFrom([]int{0, 0, 0, 1, 99}).Draw(rt, "age")
			for i := range change {
				w.Expect = m.revision(i, key, age)
				change[i].Writes = append(change[i].Writes, w)
			}
		}
		for range rapid.SampledFrom([]int{0, 0, 1, 2}).Draw(rt, "events") {
			e := revocation.Event{Kind: revocation.KindSID, Value: rapid.StringN(1, 4, 8).Draw(rt, "event")}
			change[0].Events = append(change[0].Events, e)
			change[1].Events = append(change[1].Events, e)
		}
		changes[0], changes[1] = append(changes[0], change[0]), append(changes[1], change[1])
	}
	broken := errors.New("broken")
	fail := rapid.IntRange(0, 9).Draw(rt, "failing seal") == 0
	var verdicts [2][]string
	for i, s := range m.stores {
		seal := func(accepted []revocation.Event) ([]store.Write, error) {
			if fail {
				return nil, broken
			}
			return []store.Write{{Key: m.prefix + "sealed", Value: fmt.Append(nil, accepted), Blind: true}}, nil
		}
		for _, err := range s.Commit(m.t.Context(), changes[i], seal) {
			verdicts[i] = append(verdicts[i], fmt.Sprint(err))
		}
	}
	if diff := cmp.Diff(verdicts[1], verdicts[0]); diff != "" {
		rt.Fatalf("results of %+v (-memstore +badgerstore):\n%s", changes[1], diff)
	}
	for i, s := range m.stores {
		for _, key := range []string{"a", "b", "ab", "c"} {
			key = m.prefix + key
			r, err := s.Get(m.t.Context(), key)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				rt.Fatal(err)
			}
			if last := m.revision(i, key, 0); r.Revision != last || m.seen[i][key] == nil {
				for _, old := range m.seen[i][key] {
					if r.Revision != 0 && old >= r.Revision {
						rt.Fatalf("revision %d of %s after %d", r.Revision, key, old)
					}
				}
				m.seen[i][key] = append(m.seen[i][key], r.Revision)
			}
		}
	}
}

func (m *pair) compare(rt *rapid.T) {
	var listed [2][]string
	for i, s := range m.stores {
		for after := ""; ; {
			records, err := s.List(m.t.Context(), m.prefix, after, 2)
			if err != nil {
				rt.Fatal(err)
			}
			for _, r := range records {
				listed[i] = append(listed[i], fmt.Sprintf("%s=%q", r.Key, r.Value))
				after = r.Key
			}
			if len(records) < 2 {
				break
			}
		}
	}
	if diff := cmp.Diff(listed[1], listed[0]); diff != "" {
		rt.Fatalf("contents (-memstore +badgerstore):\n%s", diff)
	}
}
