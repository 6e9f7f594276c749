package ledger

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sort"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/store"
)

// storedBatch is the record of a batch on a shared engine. The operators are not sent.
type storedBatch struct {
	revocation.Batch
	// By has the operator who revoked for each event, or "". It is nil if there is none.
	By []string `json:"by,omitempty"`
}

// entry is a batch in memory. A slice of entries is shared with readers that hold no lock: an entry never
// changes.
type entry struct {
	index  uint64 // the place in the order of arrival
	seq    uint64
	at     int64
	events []byte   // each event in the binary form, after its length as a varint
	by     []string // of [storedBatch]
	end    int64    // of the last of its events, Unix seconds
	length time.Duration
	loaded time.Duration // by Mono: when this process committed or loaded the batch
}

// newEntry returns the entry of a batch. It returns an error for a batch with an event that this program does not
// know.
func newEntry(b storedBatch, loaded time.Duration) (entry, error) {
	e := entry{seq: b.Seq, at: b.At, by: b.By, loaded: loaded}
	if len(b.By) != 0 && len(b.By) != len(b.Events) {
		return e, fmt.Errorf("%d operators of %d events", len(b.By), len(b.Events))
	}
	var one []byte
	for _, event := range b.Events {
		var err error
		if one, err = revocation.AppendEvent(one[:0], event); err != nil {
			return e, err
		}
		e.events = append(binary.AppendUvarint(e.events, uint64(len(one))), one...)
		e.end = max(e.end, event.ExpiresAt)
		e.length = max(e.length, length(event))
	}
	e.events = slices.Clone(e.events) // without the capacity
	return e, nil
}

// decodeBatch returns the entry of a stored batch of an origin.
func decodeBatch(r store.Record, origin string, loaded time.Duration) (e entry, storeID string, err error) {
	var b storedBatch
	if err := decode(r, &b, &b.V); err != nil {
		return e, "", err
	}
	if b.Origin != origin || r.Key != batchKey(origin, b.Seq) {
		return e, "", fmt.Errorf("reading ledger record %s: it is batch %d of %.80q", r.Key, b.Seq, b.Origin)
	}
	if e, err = newEntry(b, loaded); err != nil {
		return e, "", fmt.Errorf("reading ledger record %s: %w", r.Key, err)
	}
	return e, b.Store, nil
}

// each calls fn with each event in the binary form and its operator.
func (e *entry) each(fn func(event []byte, by string) error) error {
	for i, rest := 0, e.events; len(rest) > 0; i++ {
		n, size := binary.Uvarint(rest)
		event := rest[size : size+int(n)]
		rest = rest[size+int(n):]
		by := ""
		if e.by != nil {
			by = e.by[i]
		}
		if err := fn(event, by); err != nil {
			return err
		}
	}
	return nil
}

// decode returns the events.
func (e *entry) decode() ([]revocation.Event, error) {
	var events []revocation.Event
	err := e.each(func(data []byte, _ string) error {
		event, err := revocation.DecodeEvent(data)
		events = append(events, event)
		return err
	})
	return events, err
}

// batchLog has the batches of all origins that were not collected, in the order in which they arrived at this
// process. The index of a batch is its place in that order; the batches of one origin arrive in the order of
// their sequence numbers. So a delta is all batches after an index. It is not safe for concurrent use.
type batchLog struct {
	origins map[string]*originLog
	last    uint64 // the index of the newest batch
}

// originLog has the batches of one origin.
type originLog struct {
	head    uint64  // every batch up to it is in entries or was collected
	entries []entry // by seq, and therefore by index
	// replaced says that batches were written for a store that this one has replaced: a position of the origin
	// may be one of that store, so it is unknown.
	replaced bool
}

// after returns the first entry with a higher index.
func (o *originLog) after(index uint64) int {
	return sort.Search(len(o.entries), func(i int) bool { return o.entries[i].index > index })
}

// headAt returns the origin's head when the batch with that index had arrived.
func (o *originLog) headAt(index uint64) uint64 {
	if i := o.after(index); i < len(o.entries) {
		return o.entries[i].seq - 1
	}
	return o.head
}

func (l *batchLog) origin(id string) *originLog {
	o := l.origins[id]
	if o == nil {
		o = new(originLog)
		l.origins[id] = o
	}
	return o
}

// add appends the next batches of an origin. It leaves out those that it has. It reports whether numbers are missing
// before them.
func (l *batchLog) add(id string, entries ...entry) (gap bool) {
	o := l.origin(id)
	for _, e := range entries {
		if e.seq > o.head {
			gap = gap || e.seq > o.head+1
			l.last++
			e.index = l.last
			o.entries = append(o.entries, e)
			o.head = e.seq
		}
	}
	return gap
}

// from returns the entries of an origin after a sequence number.
func (l *batchLog) from(id string, seq uint64) []entry {
	o := l.origins[id]
	if o == nil {
		return nil
	}
	return o.entries[sort.Search(len(o.entries), func(i int) bool { return o.entries[i].seq > seq }):]
}

// headsAt returns the heads of all origins when the batch with that index had arrived.
func (l *batchLog) headsAt(index uint64) map[string]uint64 {
	heads := make(map[string]uint64, len(l.origins))
	for id, o := range l.origins {
		heads[id] = o.headAt(index)
	}
	return heads
}

// run is a part of an origin's entries.
type run struct {
	origin  string
	entries []entry
}

// since returns the entries with a higher index, in the order of the origins' ids.
func (l *batchLog) since(index uint64) []run {
	var runs []run
	for _, id := range slices.Sorted(maps.Keys(l.origins)) {
		o := l.origins[id]
		if i := o.after(index); i < len(o.entries) {
			runs = append(runs, run{id, o.entries[i:len(o.entries):len(o.entries)]})
		}
	}
	return runs
}

// place is an entry with its origin.
type place struct {
	origin string
	entry
}

// page returns up to limit of the entries with a higher index, in order.
func (l *batchLog) page(index, limit uint64) []place {
	var page []place
	for _, r := range l.since(index) {
		for _, e := range r.entries[:min(limit, uint64(len(r.entries)))] {
			page = append(page, place{r.origin, e})
		}
	}
	slices.SortFunc(page, func(a, b place) int { return cmp.Compare(a.index, b.index) })
	return page[:min(limit, uint64(len(page)))]
}

// locate returns an index after which all batches are that a position does not cover. Batches of an origin
// that the position does not name are after it. If ok is false, the log does not know the position: it names
// no known origin, or one with a sequence number above its head.
func (l *batchLog) locate(positions map[string]uint64) (index uint64, ok bool) {
	index = l.last
	for id, o := range l.origins {
		seq, named := positions[id]
		switch {
		case named && seq > o.head:
			return 0, false
		case named && !o.replaced:
			ok = true
		default:
			seq = 0
		}
		i := sort.Search(len(o.entries), func(i int) bool { return o.entries[i].seq > seq })
		if i < len(o.entries) {
			index = min(index, o.entries[i].index-1)
		}
	}
	return index, ok
}

// names reports whether every origin of a position is known with a head of at least its sequence number.
func (l *batchLog) names(positions map[string]uint64) bool {
	for id, seq := range positions {
		if o := l.origins[id]; o == nil || o.head < seq {
			return false
		}
	}
	return true
}

// remove drops the entries for which gone returns true.
func (l *batchLog) remove(gone func(origin string, e *entry) bool) {
	for id, o := range l.origins {
		goes := func(e entry) bool { return gone(id, &e) }
		if slices.ContainsFunc(o.entries, goes) {
			o.entries = slices.DeleteFunc(slices.Clone(o.entries), goes) // readers use the old one
		}
	}
}
