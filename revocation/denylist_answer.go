package revocation

import (
	"fmt"
	"io"
	"time"
)

// ReadAnswer is [DecodeBinaryAnswer] for a service with many live revocations: the jti and
// sid in the forms that the broker makes enter the denylist while the rest is on its way,
// and are not among the answer's Events. All else is left to the caller.
//
// That a part of an answer is applied which turns out to be cut short, or is given up, does
// no harm: a jti or sid names its token in every store, and revokes no other.
func (d *Denylist) ReadAnswer(r io.Reader) (*Answer, error) {
	in := &idInlet{into: d, waiting: make([]idEvent, 0, inletEvents)}
	reader := &binaryReader{src: r, buf: make([]byte, readBuffer), ids: in}
	a, err := reader.answer()
	in.apply()
	if err != nil {
		return nil, fmt.Errorf("decoding a catch-up answer: %w", err)
	}
	return a, nil
}

// inletEvents is how many ids enter under one hold of the lock, and make one version.
const inletEvents = 4096

// idInlet gathers ids until they are worth a hold of the lock.
type idInlet struct {
	into    *Denylist
	waiting []idEvent
}

// idEvent is an [Event] of a jti or sid that fits 16 bytes.
type idEvent struct {
	at, end int64
	id      id
	kind    tableKind
}

func (in *idInlet) put(e idEvent) {
	in.waiting = append(in.waiting, e)
	if len(in.waiting) == inletEvents {
		in.apply()
	}
}

// apply is [Denylist.Apply] of what waits.
func (in *idInlet) apply() {
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
		d.tell(in.events())
	}
	in.waiting = in.waiting[:0]
}

// events are those that wait, without their reasons, which no watcher of a service asks for.
func (in *idInlet) events() []Event {
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
