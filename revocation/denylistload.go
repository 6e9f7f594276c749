package revocation

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// ReadAnswer decodes an answer like [DecodeBinaryAnswer], for a service with many live revocations: it
// adds the jti and sid in the form that the broker makes to the denylist while it reads, and does not
// return them among the answer's Events. The caller applies the rest.
//
// If the answer is truncated or the read is cancelled, the part that was applied does no harm: a jti or
// sid identifies its token in every store, and revokes no other.
func (d *Denylist) ReadAnswer(r io.Reader) (*Answer, error) {
	in := &idLoader{into: d, waiting: make([]idEvent, 0, idsAtOnce)}
	reader := &binaryReader{src: r, buf: make([]byte, readBuffer), ids: in}
	a, err := reader.answer()
	in.apply()
	if err != nil {
		return nil, fmt.Errorf("decoding a catch-up answer: %w", err)
	}
	return a, nil
}

// idsAtOnce is the number of ids that are added under one lock and with one new version.
const idsAtOnce = 4096

// idLoader collects ids, to add many of them under one lock.
type idLoader struct {
	into    *Denylist
	waiting []idEvent
}

// idEvent is an [Event] of a jti or sid that fits 16 bytes.
type idEvent struct {
	at, end int64
	id      id
	kind    tableKind
}

func (in *idLoader) put(e idEvent) {
	in.waiting = append(in.waiting, e)
	if len(in.waiting) == idsAtOnce {
		in.apply()
	}
}

// apply adds the waiting ids, as [Denylist.Apply] does.
func (in *idLoader) apply() {
	d := in.into
	now := time.Since(d.base)
	d.mu.Lock()
	changed := false
	for _, e := range in.waiting {
		l := life{end: e.end, until: now + lengthOf(Event{At: e.at, ExpiresAt: e.end})}
		if d.ids.prolong(e.kind, e.id, l) {
			d.inserted++
			changed = true
		}
	}
	if changed {
		d.version.Add(1)
	}
	d.mu.Unlock()
	if d.watched() {
		d.notify(in.events())
	}
	in.waiting = in.waiting[:0]
}

// events returns the waiting ids as events without a reason, which watchers do not need.
func (in *idLoader) events() []Event {
	events := make([]Event, 0, len(in.waiting))
	for _, e := range in.waiting {
		kind := KindJTI
		if e.kind == ofSID {
			kind = KindSID
		}
		events = append(events, Event{Kind: kind, Value: unpack(kind, e.id[:]), At: e.at, ExpiresAt: e.end})
	}
	return events
}

// Loader fills a denylist with many events that [AppendEvent] encoded. A Loader is used by one goroutine;
// several Loaders may fill one denylist at once.
type Loader struct{ in idLoader }

// Loader returns a new loader. The last added events are in force after Flush.
func (d *Denylist) Loader() *Loader { return &Loader{in: idLoader{into: d}} }

// AddEncoded adds an event. It returns an error for data that [DecodeEvent] refuses.
func (l *Loader) AddEncoded(data []byte) error {
	t, ok := packedTimes(data)
	if !ok {
		e, err := DecodeEvent(data)
		if err != nil {
			return err
		}
		l.in.into.Apply(e)
		return nil
	}
	kind := ofJTI
	if data[0]&tagKind == tagSID {
		kind = ofSID
	}
	l.in.put(idEvent{at: t.at, end: t.end, id: id(data[packedID:packedLen]), kind: kind})
	return nil
}

// Flush puts all added events in force.
func (l *Loader) Flush() { l.in.apply() }

// Watch calls f with the events of each [Denylist.Apply], with those that [Denylist.ReadAnswer] applied,
// as events without a reason, and with the keys that are new to [Denylist.SetKids], as events with only
// kind and value. It calls f after they are in force and before the caller continues. A caller that first
// registers its interest in a token and then calls [Denylist.Judge] therefore misses nothing.
//
// f is called by the goroutine that applies the events, possibly by several at once: it must be quick,
// must not keep the slice and must not call Watch or stop. It may be called once more while stop returns.
func (d *Denylist) Watch(f func([]Event)) (stop func()) {
	w := &watcher{call: f}
	d.rewatch(func(all []*watcher) []*watcher { return append(all, w) })
	return func() {
		d.rewatch(func(all []*watcher) []*watcher {
			return slices.DeleteFunc(all, func(one *watcher) bool { return one == w })
		})
	}
}

// rewatch replaces the list of watchers by a changed copy, so that readers need no lock.
func (d *Denylist) rewatch(change func([]*watcher) []*watcher) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []*watcher
	if old := d.watchers.Load(); old != nil {
		all = slices.Clone(*old)
	}
	all = change(all)
	d.watchers.Store(&all)
}

func (d *Denylist) watched() bool {
	all := d.watchers.Load()
	return all != nil && len(*all) > 0
}
