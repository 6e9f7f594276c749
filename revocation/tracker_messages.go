package revocation

import (
	"strings"
	"time"
)

// Message takes a verified message that arrived at the monotonic time arrival.
func (t *Tracker) Message(now Instant, arrival time.Duration, m Message) Effects {
	t.observe(now)
	t.receive(now, arrival, m)
	return t.settle(now)
}

func (t *Tracker) receive(now Instant, arrival time.Duration, m Message) {
	if t.store == "" {
		t.keep(arrival, m)
		return
	}
	if m.Store() != t.store {
		if m.Heartbeat != nil && t.rival != m.Store() {
			t.rival, t.rivalAt = m.Store(), now.Mono
			t.wanted = true
			if !t.conflict { // which has been reported, and the rival beats every second
				t.note("a heartbeat of store %s, the last answer was of %s", m.Store(), t.store)
			}
		}
		t.keep(arrival, m)
		return
	}
	o := t.origins[m.Origin()]
	if o == nil {
		t.unlisted(now, m)
		t.keep(arrival, m)
		return
	}
	if m.Batch != nil {
		t.batch(o, m)
	} else {
		t.heartbeat(now, arrival, o, m)
	}
}

// unlisted has a catch-up made when it first hears an origin of this store. An origin that is
// alive, although an answer that was asked for later does not list it, is another broker's on
// a copy of the store.
func (t *Tracker) unlisted(now Instant, m Message) {
	name := m.Origin()
	since, heard := t.heard[name]
	if !heard {
		if len(t.heard) < maxHeard {
			t.heard[name] = now.Mono
			t.wanted = true
		}
		return
	}
	if m.Heartbeat == nil || m.Incomplete || t.answeredAt < since {
		return
	}
	if t.copies.Beat(now.Mono, m.Heartbeat, t.startedMS) && !t.copied[name] {
		t.copied[name] = true
		t.note("another broker, origin %s, runs on a copy of store %s: what it revokes does not reach this service; stop it", name, t.store)
	}
}

func (t *Tracker) batch(o *origin, m Message) {
	if m.Incomplete {
		o.head = max(o.head, m.Batch.Seq)
		o.torn = o.torn || m.Batch.Seq > o.applied
		return
	}
	if o.has(m.Batch.Seq) {
		t.replayed++ // applying it again changes nothing
	}
	t.eff.Apply = append(t.eff.Apply, m.Batch.Events...)
	if m.Batch.Ack && m.Batch.Seq > o.applied { // a replay asks for nothing
		o.ack = max(o.ack, m.Batch.Seq)
	}
	o.add(m.Batch.Seq)
	t.eff.Receipt = o.settled() || t.eff.Receipt
	o.advance()
}

func (t *Tracker) heartbeat(now Instant, arrival time.Duration, o *origin, m Message) {
	h := m.Heartbeat
	if m.Incomplete {
		o.head = max(o.head, h.Head)
		o.torn = true
		return
	}
	o.pulse(beat{
		head:    h.Head,
		up:      time.Duration(h.Up) * time.Millisecond,
		arrival: arrival,
		atMS:    h.AtMS,
		floor:   h.TimeFloor,
	})
	t.token.retry(now.Mono)
	t.feed.retry(now.Mono)
	if h.Up <= o.lastUp {
		t.replayed++
		return // an older one tells nothing of today's keys
	}
	o.lastUp = h.Up
	if tag := NormalETag(h.JWKS); tag != "" && t.tokenETag != "" && tag != t.tokenETag {
		at := now.Mono + t.jitter(etagJitter)
		if tag == t.soughtETag { // a fetch for it was in vain, or is due already
			at = max(at, t.token.started+etagSpacing)
		}
		t.soughtETag = tag
		t.token.by(at)
	}
}

// keep holds a message of an origin that the next answer may list. Before and during a
// catch-up it is bounded; at other times such a message is ignored. What does not fit is
// lost: the heads make that visible.
func (t *Tracker) keep(arrival time.Duration, m Message) {
	if !t.wanted && t.inFlight == 0 {
		t.ignored++
		return
	}
	n := 0
	if m.Batch != nil {
		n = len(m.Batch.Events)
	}
	if len(t.buffer) >= maxBuffered || t.buffering+n > bufferedEvents {
		t.ignored++
		return
	}
	t.buffer = append(t.buffer, buffered{arrival: arrival, msg: m})
	t.buffering += n
}

// release hands the kept messages in again, now that an answer listed its origins. Those
// of another store were sent before that answer was known, so they create no expectation.
func (t *Tracker) release(now Instant) {
	kept := t.buffer
	t.forget()
	for _, b := range kept {
		if b.msg.Store() == t.store {
			t.receive(now, b.arrival, b.msg)
		} else {
			t.ignored++
		}
	}
}

// forget drops the kept messages: keys that verified them are not trusted any more.
func (t *Tracker) forget() { t.buffer, t.buffering = nil, 0 }

// NormalETag gives an entity tag (RFC 9110 §8.8.3) without weakness mark and quotes, for
// comparison.
func NormalETag(tag string) string {
	return strings.Trim(strings.TrimPrefix(strings.TrimSpace(tag), "W/"), `"`)
}
