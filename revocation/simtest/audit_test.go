package simtest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
	"tokenbroker/store/origins"
)

// audit sees every change of the engine at the instant when it is made, and knows what callers were told.
type audit struct {
	c      *cluster
	reader *memstore.Handle
	kept   []*attempt // that may be applied once more

	records map[string]store.Record
	origins map[string]*originAudit
	fates   map[any]*fate               // by the first write or event of a change
	ended   map[string]revocation.Event // of each session that ended,
	// endAcked is when a caller learned of it.
	endAcked map[string]time.Duration
	rotated  map[rotation]bool
	floor    int64
}

// originAudit is an origin since it was made.
type originAudit struct {
	seq     uint64 // of the last batch that was seen
	acked   []acked
	batches map[uint64]*batchAudit
	ended   bool // now or before it was removed
	removed bool
	clockMS int64 // the highest on record
	joined  time.Duration
}

// acked says until when callers were not told of a batch.
type acked struct {
	seq uint64
	at  time.Duration
}

type batchAudit struct {
	value   []byte
	events  []revocation.Event
	written time.Duration
	gone    bool
}

// fate is what happened to a change, and what the caller was told.
type fate struct {
	stored, never bool
	written       store.Record // by a change without events
}

// rotation is one generation of a session that was replaced.
type rotation struct {
	sid        string
	generation uint32
}

func newAudit(c *cluster) *audit {
	return &audit{
		c: c, reader: c.engine.Open(nil), records: make(map[string]store.Record), origins: make(map[string]*originAudit),
		fates: make(map[any]*fate), ended: make(map[string]revocation.Event),
		endAcked: make(map[string]time.Duration), rotated: make(map[rotation]bool),
	}
}

// name identifies a change by its memory.
func name(change store.Change) any {
	if len(change.Writes) > 0 {
		return &change.Writes[0]
	}
	return &change.Events[0]
}

func (a *audit) fate(change store.Change) *fate {
	n := name(change)
	if a.fates[n] == nil {
		a.fates[n] = &fate{}
	}
	return a.fates[n]
}

// commit runs one commit at the engine.
func (a *audit) commit(l *link, t *attempt) (store.Revision, []error) {
	sealed := func([]revocation.Event) ([]store.Write, error) { return t.sealed, nil }
	fence, changes := l.planted(t)
	rev, errs := l.handle.CommitFenced(context.Background(), fence, changes, sealed)
	if l.fault == memstore.Keep || l.fault == memstore.Duplicate {
		a.kept = append(a.kept, t)
		if w := a.c.w; w.chance(0.8) { // often while the commit is being settled
			w.after(w.between(0, w.pick(10, 30, 3000)*time.Millisecond), a.retransmit)
		}
	}
	a.look(t)
	return rev, errs
}

// retransmit delivers what is on its way.
func (a *audit) retransmit() {
	kept := a.kept
	a.kept = nil
	a.c.engine.Retransmit()
	if a.look(kept...) {
		counts["commits written late"]++
	}
}

// look finds out what commits have changed, and reports whether they did.
func (a *audit) look(commits ...*attempt) (changed bool) {
	var keys []string
	for _, t := range commits {
		keys = append(keys, t.keys()...)
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	if len(keys) == 0 {
		return false
	}
	now := make(map[string]store.Record) // what has changed
	for _, r := range a.get(keys) {
		if r.Revision != a.records[r.Key].Revision {
			now[r.Key] = r
		}
	}
	for _, t := range commits {
		a.judge(t, now)
	}
	for _, key := range keys {
		if r, ok := now[key]; ok {
			a.changed(a.records[key], r)
			a.records[key] = r
			changed = true
		}
	}
	a.c.hint(keys)
	return changed
}

func (a *audit) get(keys []string) []store.Record {
	records, err := a.reader.GetMany(context.Background(), keys)
	if err != nil {
		a.c.w.fail("reading the engine: %v", err)
		return make([]store.Record, len(keys))
	}
	return records
}

// judge records the fates of the changes of a commit, if it was written since the last look.
func (a *audit) judge(t *attempt, now map[string]store.Record) {
	if fence := now[t.fence.Key]; t.fence.Key != "" && !bytes.Equal(fence.Value, t.fence.Value) && !bytes.Equal(fence.Value, t.fence.Sealed) {
		return // another commit, perhaps with the same batch
	}
	wrote := func(w store.Write) bool {
		return !w.Delete && now[w.Key].Revision != 0 && bytes.Equal(now[w.Key].Value, w.Value)
	}
	group := slices.ContainsFunc(t.sealed, wrote)
	for _, change := range t.changes {
		put := -1
		if len(change.Events) == 0 {
			put = slices.IndexFunc(change.Writes, wrote)
		}
		if put < 0 && (len(change.Events) == 0 || !group) {
			continue
		}
		f := a.fate(change)
		if put >= 0 {
			f.written = now[change.Writes[put].Key]
		}
		if f.never {
			a.c.w.fail("7: a change of %s happened after its caller was told that it had not", t.node.name)
		}
		f.stored = true
	}
}

// told checks what the caller of a commit is told (7).
func (a *audit) told(n *node, change store.Change, err error, unsure bool) {
	if len(change.Events) == 0 && !slices.ContainsFunc(change.Writes, func(w store.Write) bool { return !w.Delete }) {
		return // nothing shows who deleted a record
	}
	f := a.fate(change)
	switch {
	case unsure:
	case err == nil && !f.stored:
		a.c.w.fail("7: %s tells a caller that a change is stored, and it is not", n.name)
	case errors.Is(err, store.ErrConflict) && f.written.Revision != 0 && a.get([]string{f.written.Key})[0].Revision != f.written.Revision:
		// Others have written the record since, so that a settlement cannot tell.
	case err != nil && f.stored:
		a.c.w.fail("7: %s tells a caller %q, and the change is stored", n.name, err)
	case err != nil:
		f.never = true
	}
}

// changed checks one record's change.
func (a *audit) changed(before, now store.Record) {
	key, gone := before.Key, now.Revision == 0
	if key == "" {
		key = now.Key
	}
	kind, rest, _ := strings.Cut(key, ".")
	switch {
	case kind == "origin":
		a.origin(rest, before, now)
	case strings.HasPrefix(key, "ledger.batch."):
		a.batch(strings.TrimPrefix(key, "ledger.batch."), now)
	case key == "ledger.time_floor":
		var floor struct {
			TimeFloor int64 `json:"time_floor"`
		}
		if err := json.Unmarshal(now.Value, &floor); err != nil || floor.TimeFloor < a.floor {
			a.c.w.fail("8: the time floor goes from %d to %s", a.floor, now.Value)
		}
		a.floor = floor.TimeFloor
	case kind == "session" && !gone:
		a.session(before, now)
	case key == keyringKey:
		a.lineage(before, now)
	}
}

func (a *audit) of(id string) *originAudit {
	o := a.origins[id]
	if o == nil {
		o = &originAudit{batches: make(map[uint64]*batchAudit), joined: a.c.w.now}
		a.origins[id] = o
	}
	return o
}

func (a *audit) origin(id string, before, now store.Record) {
	o := a.of(id)
	if now.Revision == 0 {
		o.removed = true
		return
	}
	if o.removed && o.seq == 0 { // a late copy of its creation, which is of no run
		o.removed, o.joined = false, a.c.w.now
		delete(a.c.runs, id)
	}
	r, err := origins.Decode(now)
	if err != nil {
		a.c.w.fail("%v", err)
		return
	}
	o.clockMS = max(o.clockMS, r.ClockMS)
	if before.Revision != 0 {
		if old, _ := origins.Decode(before); r.Head < old.Head {
			a.c.w.fail("3: the head of an origin of %s goes back from %d to %d", r.Name, old.Head, r.Head)
		}
	}
	if before.Revision != 0 && o.ended && !r.Ended {
		a.c.w.fail("6: an origin of %s was ended and is not any more", r.Name)
	}
	if r.Ended && !o.ended {
		a.c.w.say("an origin of %s is ended at %d", r.Name, r.Head)
		counts["origins ended"]++
	}
	o.ended = o.ended || r.Ended
}
