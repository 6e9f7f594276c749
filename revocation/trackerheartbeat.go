package revocation

import (
	"slices"
	"strings"
	"time"
)

// unlisted requests a catch-up at the first message of an unlisted origin of this store. If an
// origin is alive although a later answer does not list it, it is another broker on a copy of
// the store.
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
	alive := t.copies.Beat(now.Mono, m.Heartbeat, max(t.startedMS, t.gone[name]))
	// A heartbeat that was kept since before the last answer may be of a broker that ended until then.
	if alive && m.Heartbeat.AtMS > t.answeredMS && !t.copied[name] {
		t.copied[name] = true
		t.note("another broker, origin %s, runs on a copy of store %s: what it revokes does not reach this service; stop it", name, t.store)
	}
}

func (t *Tracker) heartbeat(now Instant, arrival time.Duration, o *origin, m Message) {
	h := m.Heartbeat
	o.head = max(o.head, h.Head)
	if m.Incomplete {
		o.incomplete = true
		return
	}
	t.follow(h.Heads)
	s := t.speaker(h.Origin)
	if s.hasBase {
		b := beat{
			speaker: h.Origin,
			heads:   h.Heads,
			up:      time.Duration(h.Up) * time.Millisecond,
			arrival: arrival,
			atMS:    h.AtMS,
			floor:   h.TimeFloor,
		}
		if b.heads == nil {
			b.heads, b.older = map[string]uint64{h.Origin: h.Head}, true
		}
		s.base = min(s.base, arrival-b.up)
		t.hold(b)
	}
	t.token.retry(now.Mono)
	t.feed.retry(now.Mono)
	if h.Up <= s.lastUp {
		t.replayed++
		return // an older heartbeat does not describe the current keys
	}
	s.lastUp = h.Up
	if tag := NormalETag(h.JWKS); tag != "" && t.tokenETag != "" && tag != t.tokenETag {
		at := now.Mono + t.jitter(etagJitter)
		if slices.Contains(t.soughtETags[:], tag) {
			// A fetch for it did not help, or is due already, or brokers announce different sets for a while.
			at = max(at, t.token.started+etagSpacing)
		} else {
			copy(t.soughtETags[1:], t.soughtETags[:])
			t.soughtETags[0] = tag
		}
		t.token.scheduleBy(at)
	}
}

// follow expects the batches up to the heads of a heartbeat. An origin that was not followed is from here
// on, from its first batch, unless an answer has ended it.
func (t *Tracker) follow(heads map[string]uint64) {
	for name, head := range heads {
		o := t.origins[name]
		if o == nil {
			if _, gone := t.gone[name]; gone || len(t.origins) >= maxFollowed {
				continue
			}
			o = &origin{since: t.lastID}
			t.origins[strings.Clone(name)] = o // it is a part of the message
			t.named = true
		}
		o.head = max(o.head, head)
	}
}

// enqueue holds a message of an origin that the next answer may list. Before and during a
// catch-up it is bounded; at other times such a message is ignored. What does not fit is
// lost: the heads make that visible.
func (t *Tracker) enqueue(arrival time.Duration, m Message) {
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

// replayBuffer processes the kept messages again after an answer listed its origins. Those
// of another store were sent before that answer was known, so they create no expectation.
func (t *Tracker) replayBuffer(now Instant) {
	kept := t.buffer
	t.clearBuffer()
	for _, b := range kept {
		if b.msg.Store() == t.store {
			t.receive(now, b.arrival, b.msg)
		} else {
			t.ignored++
		}
	}
}

// replayNamed processes the kept messages of origins that a heartbeat has named.
func (t *Tracker) replayNamed(now Instant) {
	for t.named {
		t.named = false
		kept := t.buffer
		t.clearBuffer()
		for _, b := range kept {
			t.receive(now, b.arrival, b.msg)
		}
	}
}

// clearBuffer drops the kept messages, because the keys that verified them are no longer trusted.
func (t *Tracker) clearBuffer() { t.buffer, t.buffering = nil, 0 }

// NormalETag returns an entity tag (RFC 9110 §8.8.3) without its weakness indicator and quotes, for
// comparison.
func NormalETag(tag string) string {
	return strings.Trim(strings.TrimPrefix(strings.TrimSpace(tag), "W/"), `"`)
}
