package revocation

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

const (
	maxSkew  = 1000 // ms of a broker's clock
	lifetime = 8000 // ms of a token: a batch that is older is collected
)

// modelStore is what the brokers share.
type modelStore struct {
	id      string
	heads   map[string]uint64 // of the origins on record
	commits []modelCommit
	floor   int64
	backup  *modelStore // what a rewind restores
	copied  *modelBroker
	copy    map[string]uint64 // heads of the copied store
}

type modelCommit struct {
	origin string
	seq    uint64
	at     int64
	name   string
}

type modelBroker struct {
	origin       string
	start        int64
	skew         int64
	beatAt       int64
	diedAt       int64
	alive, older bool
}

func newModelStore(id string) modelStore { return modelStore{id: id, heads: map[string]uint64{}} }

func (w *model) dead(c modelCommit) bool { return w.now-c.at > lifetime }

func (w *model) clock(b *modelBroker) int64 { return modelEpoch + w.now + b.skew }

func (w *model) live() []*modelBroker {
	return slices.DeleteFunc(slices.Clone(w.brokers), func(b *modelBroker) bool { return !b.alive })
}

func (w *model) join() {
	b := &modelBroker{
		origin: fmt.Sprint("o", len(w.brokers)+1), start: w.now, skew: w.rng.Int64N(2*maxSkew) - maxSkew,
		alive: true, older: w.kind.embedded && w.chance(2),
	}
	w.brokers, w.heads[b.origin] = append(w.brokers, b), 0
}

// rewind makes a backup, or at the next call puts it in place behind the backs of the brokers. Some of them
// continue.
func (w *model) rewind() {
	if w.backup == nil {
		w.backup = &modelStore{heads: maps.Clone(w.heads), commits: slices.Clone(w.commits)}
		return
	}
	if w.seen["rewound"] > 0 {
		return
	}
	w.seen["rewound"]++
	w.heads, w.commits = w.backup.heads, w.backup.commits
	for _, b := range w.brokers {
		if _, ok := w.heads[b.origin]; !ok || w.chance(2) {
			b.alive = false
		}
	}
}

// restore makes another store, to which no one is signed in.
func (w *model) restore() {
	w.seen["restored"]++
	for _, b := range w.brokers {
		b.alive = false
	}
	floor, copied := w.modelStore.floor, w.copied
	w.modelStore = newModelStore("S2")
	w.modelStore.floor, w.copied, w.sent, w.pending = floor, copied, nil, nil
	w.join()
}

// copyStore starts a broker on a copy of the store.
func (w *model) copyStore() {
	w.seen["copy"]++
	w.copied, w.copy = &modelBroker{origin: "copy", start: w.now, alive: true}, maps.Clone(w.heads)
	w.copy["copy"] = 0
}

// work is what the brokers do in one step.
func (w *model) work() {
	if w.now%100 == 0 {
		w.commits = slices.DeleteFunc(w.commits, w.dead)
		w.collect()
	}
	for _, b := range w.live() {
		if w.chance(w.kind.commits) {
			w.commit(b)
		}
		if w.now >= b.beatAt {
			b.beatAt = w.now + 1000
			w.beat(b)
		}
	}
	if b := w.copied; b != nil && w.id == "S" && w.now >= b.beatAt {
		b.beatAt = w.now + 1000
		w.copy["copy"]++
		w.publish(Message{Batch: &Batch{V: 1, Store: "S", Origin: "copy", Seq: w.copy["copy"]}})
		w.publish(Message{Heartbeat: &Heartbeat{
			V: 1, Store: "S", Origin: "copy", Up: w.now - b.start, AtMS: w.clock(b), Head: w.copy["copy"], Heads: maps.Clone(w.copy),
		}})
	}
}

// collect raises the floor to the smallest clock, and removes the record of an origin 3 s after its broker died
// and its last batch was collected.
func (w *model) collect() {
	low := int64(1 << 62)
	for _, b := range w.brokers {
		if b.alive {
			low, b.diedAt = min(low, w.clock(b)), w.now
		} else if w.now-b.diedAt > 3000 && !slices.ContainsFunc(w.commits, func(c modelCommit) bool { return c.origin == b.origin }) {
			delete(w.heads, b.origin)
		}
	}
	if low < 1<<62 && w.chance(3) {
		w.modelStore.floor = max(w.modelStore.floor, low/1000)
	}
}

func (w *model) commit(b *modelBroker) {
	w.heads[b.origin]++
	c := modelCommit{origin: b.origin, seq: w.heads[b.origin], at: w.now}
	c.name = fmt.Sprintf("%s.%d at %d", c.origin, c.seq, c.at)
	w.commits, w.pending = append(w.commits, c), append(w.pending, c)
	w.publish(Message{Batch: &Batch{V: 1, Store: w.id, Origin: c.origin, Seq: c.seq, Events: []Event{{Kind: KindSID, Value: c.name}}}})
}

// onRecord reports whether a broker can read its own record in the store with that id.
func (w *model) onRecord(b *modelBroker, store string) bool {
	_, ok := w.heads[b.origin]
	return ok && b.alive && w.id == store
}

// beat reads up, and the heads and the floor some time later.
func (w *model) beat(b *modelBroker) {
	h := &Heartbeat{V: 1, Store: w.id, Origin: b.origin, Up: w.now - b.start, AtMS: w.clock(b)}
	w.after(w.delay(), func() {
		if !w.onRecord(b, h.Store) {
			return
		}
		h.Head, h.TimeFloor, h.AtMS = w.heads[b.origin], w.modelStore.floor, max(h.AtMS, w.modelStore.floor*1000)
		switch {
		case b.older:
		case w.kind.embedded:
			h.Heads = map[string]uint64{b.origin: h.Head}
		default:
			h.Heads = maps.Clone(w.heads)
		}
		w.publish(Message{Heartbeat: h})
	})
}

func (w *model) publish(m Message) {
	w.sent = append(w.sent, m)
	for range 1 + w.rng.IntN(2) {
		if w.calm || !w.chance(6) {
			w.deliver(m)
		}
	}
}

// ask sends a catch-up to some live broker: it reads up, later the heads and the batches up to them.
func (w *model) ask(c CatchUp) {
	live := w.live()
	done := func(a *Answer, err error) {
		w.after(w.delay(), func() { w.service(func() { w.answered(c, a, err) }) })
	}
	if len(live) == 0 || !w.calm && w.chance(5) {
		done(nil, errModel)
		return
	}
	b := live[w.rng.IntN(len(live))]
	w.after(w.delay(), func() {
		a := &Answer{V: 1, Store: w.id, Origin: b.origin, Up: w.now - b.start, AtMS: w.clock(b)}
		w.after(w.delay(), func() {
			if !w.onRecord(b, a.Store) {
				done(nil, errModel)
				return
			}
			w.answer(a, c.After)
			done(a, nil)
		})
	})
}

func (w *model) answer(a *Answer, after string) {
	known := make(map[string]uint64)
	for part := range strings.SplitSeq(after, ",") {
		origin, digits, _ := strings.Cut(part, ".")
		known[origin], _ = strconv.ParseUint(digits, 10, 64)
		head, ok := w.heads[origin]
		a.Full = a.Full || !ok || known[origin] > head || w.kind.embedded && origin != a.Origin
	}
	for _, origin := range slices.Sorted(maps.Keys(w.heads)) {
		if !w.kind.embedded || origin == a.Origin {
			a.Origins = append(a.Origins, OriginHead{Origin: origin, Head: w.heads[origin]})
		}
	}
	for _, c := range w.commits {
		if a.Full || c.seq > known[c.origin] {
			a.Events = append(a.Events, Event{Kind: KindSID, Value: c.name})
		}
	}
	a.TimeFloor, a.AtMS = w.modelStore.floor, max(a.AtMS, w.modelStore.floor*1000)
}
