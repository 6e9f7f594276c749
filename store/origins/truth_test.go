package origins_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"tokenbroker/revocation"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
	"tokenbroker/store/origins"
)

// truth sees each transaction of the engine, and knows of each change whether it happened.
type truth struct {
	ctx     context.Context //nolint:containedctx // of the test
	audit   *memstore.Handle
	records map[string]store.Record
	changes []*modelChange
	batches map[string]string // every batch that was ever there
	heads   map[string]int    // batches by origin
	sealed  int
	failure string

	minReader int // of the record of the store's version
	raised    int // how often it rose
	tooOld    int // brokers that cannot use it

	nils, uncertain, fenced, settled int
}

type modelChange struct {
	change   store.Change
	happened bool
	never    bool // a caller was informed of it
}

func (tr *truth) fail(format string, args ...any) {
	if tr.failure == "" {
		tr.failure = fmt.Sprintf(format, args...)
	}
}

// watch calls look after each transaction.
func (tr *truth) watch(t *testing.T, engine *memstore.Engine) {
	tr.ctx, tr.audit = t.Context(), engine.Open(nil)
	tr.records, tr.batches, tr.heads = map[string]store.Record{}, map[string]string{}, map[string]int{}
	engine.Open(func(op memstore.Op) memstore.Fault {
		if op.Kind == memstore.OpHint {
			tr.look()
		}
		return memstore.OK
	}).Follow(tr.ctx, "")
}

// change returns a random change. The value of each of its records is its number.
func (tr *truth) change(rng *rand.Rand) (store.Change, int) {
	id := len(tr.changes)
	c := &modelChange{}
	tr.changes = append(tr.changes, c)
	value := []byte(strconv.Itoa(id))
	put := func() {
		key := "k" + strconv.Itoa(rng.IntN(6))
		w := store.Write{Key: key, Value: value, Expect: tr.records[key].Revision}
		switch rng.IntN(8) {
		case 0:
			w.Expect += 7 // stale
		case 1:
			w.Blind = true
		}
		c.change.Writes = append(c.change.Writes, w)
	}
	switch rng.IntN(8) {
	case 0: // only deletes, a record that no one else writes
		key := "d" + string(value)
		tr.audit.CommitFenced(tr.ctx, store.Fence{}, []store.Change{{Writes: []store.Write{{Key: key, Value: value}}}}, nil)
		c.happened = false // the audit's write of the same value
		c.change.Writes = []store.Write{{Key: key, Delete: true, Blind: true}}
	case 1, 2, 3:
		if rng.IntN(3) == 0 {
			put()
		}
		c.change.Writes = append(c.change.Writes, store.Write{Key: "session." + string(value), Value: value})
		c.change.Events = []revocation.Event{{Kind: revocation.KindSID, Value: string(value), At: 1, ExpiresAt: 2}}
	case 4:
		put()
		put()
	default:
		put()
	}
	return c.change, id
}

// answer compares a result with what has happened.
func (tr *truth) answer(id int, err error) {
	c := tr.changes[id]
	switch {
	case err == nil:
		if tr.nils++; !c.happened {
			tr.fail("change %d did not happen, and its caller heard that it did", id)
		}
	case errors.Is(err, store.ErrUncertain), errors.Is(err, origins.ErrRemoved):
		tr.uncertain++
	case errors.Is(err, store.ErrConflict) && c.happened && len(c.change.Events) == 0 && !tr.standing(c):
		tr.settled++ // documented
	case c.happened:
		tr.fail("change %d happened, and its caller heard %v", id, err)
	default:
		c.never = true
		if errors.Is(err, store.ErrFenced) {
			tr.fenced++
		}
	}
}

// standing reports whether a record that c puts has not been written again.
func (tr *truth) standing(c *modelChange) bool {
	return slices.ContainsFunc(c.change.Writes, func(w store.Write) bool {
		return !w.Delete && string(tr.records[w.Key].Value) == string(w.Value)
	})
}

// end ends some origin as another broker does.
func (tr *truth) end(rng *rand.Rand) {
	var writes []store.Write
	for key, stored := range tr.records {
		if r, err := origins.Decode(stored); strings.HasPrefix(key, origins.Prefix) && err == nil && !r.Ended {
			if r.Last == 0 {
				r.Last = stored.Revision
			}
			r.Ended = true
			writes = append(writes, store.Write{Key: key, Value: r.Encode(), Expect: stored.Revision})
		}
	}
	if len(writes) > 0 {
		slices.SortFunc(writes, func(a, b store.Write) int { return strings.Compare(a.Key, b.Key) })
		tr.audit.CommitFenced(tr.ctx, store.Fence{}, []store.Change{{Writes: []store.Write{writes[rng.IntN(len(writes))]}}}, nil)
	}
}

// look compares the records with those before the last transaction.
func (tr *truth) look() {
	list, err := tr.audit.List(tr.ctx, "", "", 1<<20)
	if err != nil {
		tr.fail("%v", err)
	}
	before, now := tr.records, make(map[string]store.Record, len(list))
	happened := map[int]bool{}
	for _, r := range list {
		now[r.Key] = r
		old := before[r.Key]
		if r.Revision == old.Revision {
			continue
		}
		switch kind, name, _ := strings.Cut(r.Key, "."); {
		case kind == "ledger":
			tr.batch(strings.TrimPrefix(name, "batch."), string(r.Value), before)
		case kind == "origin":
			tr.origin(name, old, r)
		case kind == origins.VersionKey:
			tr.version(r)
		case r.Key[0] == 'd':
		default:
			id, _ := strconv.Atoi(string(r.Value))
			happened[id] = true
		}
	}
	for key, old := range before {
		if _, there := now[key]; there {
			continue
		}
		if key[0] == 'd' {
			id, _ := strconv.Atoi(key[1:])
			happened[id] = true
		}
		if r, err := origins.Decode(old); strings.HasPrefix(key, origins.Prefix) && (err != nil || !r.Ended || r.Head > 0) {
			tr.fail("%s was removed: %+v", key, r)
		}
	}
	tr.records = now
	for _, id := range slices.Sorted(maps.Keys(happened)) {
		c := tr.changes[id]
		if c.happened || c.never {
			tr.fail("change %d happened again, or after its caller heard that it did not (%v)", id, c.never)
		}
		c.happened = true
	}
	for _, r := range list {
		if name, ok := strings.CutPrefix(r.Key, origins.Prefix); ok {
			rec, _ := origins.Decode(r)
			if rec.Head != uint64(tr.heads[name]) {
				tr.fail("%s has head %d and %d batches", r.Key, rec.Head, tr.heads[name])
			}
			if !rec.Ended && rec.Speaks[1] < tr.minReader {
				tr.fail("%s runs, speaks up to version %d, and the store has %d", r.Key, rec.Speaks[1], tr.minReader)
			}
			if rec.V > tr.minReader {
				tr.fail("%s was written in version %d, and the store has %d", r.Key, rec.V, tr.minReader)
			}
		}
	}
}

// version checks the record of the store's version.
func (tr *truth) version(stored store.Record) {
	v, err := origins.DecodeVersion(stored)
	if err != nil || v.MinReader < tr.minReader {
		tr.fail("the version went from %d to %d: %v", tr.minReader, v.MinReader, err)
	}
	if tr.minReader > 0 && v.MinReader > tr.minReader {
		tr.raised++
	}
	tr.minReader = v.MinReader
}

// batch checks a batch that was written.
func (tr *truth) batch(name, value string, before map[string]store.Record) {
	origin, seq, _ := strings.Cut(name, ".")
	if old, ok := tr.batches[name]; ok {
		tr.fail("batch %s was %q and is %q", name, old, value)
	}
	tr.batches[name] = value
	tr.heads[origin]++
	if n, _ := strconv.ParseUint(seq, 16, 64); n != uint64(tr.heads[origin]) {
		tr.fail("batch %s is the %dth", name, tr.heads[origin])
	}
	if r, err := origins.Decode(before[origins.Key(origin)]); err != nil || r.Ended {
		tr.fail("batch %s after the end of its origin", name)
	}
}

// origin checks a record that was written.
func (tr *truth) origin(name string, old, stored store.Record) {
	r, err := origins.Decode(stored)
	if err != nil {
		tr.fail("%v", err)
	}
	if old.Revision == 0 {
		if r.N != 0 || r.Head != 0 || r.Ended {
			tr.fail("origin %s begins with %+v", name, r)
		}
		return
	}
	o, _ := origins.Decode(old)
	switch {
	case o.Ended:
		tr.fail("origin %s was written after its end", name)
	case r.N != o.N && r.N != o.N+1, r.Head != o.Head && (r.Head != o.Head+1 || r.N == o.N), r.Ended && r.N != o.N:
		tr.fail("origin %s went from commit %d and head %d to %d and %d", name, o.N, o.Head, r.N, r.Head)
	}
}
