package revocation

import (
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
	if t.copies.Beat(now.Mono, m.Heartbeat, t.startedMS) && !t.copied[name] {
		t.copied[name] = true
		t.note("another broker, origin %s, runs on a copy of store %s: what it revokes does not reach this service; stop it", name, t.store)
	}
}

func (t *Tracker) heartbeat(now Instant, arrival time.Duration, o *origin, m Message) {
	h := m.Heartbeat
	if m.Incomplete {
		o.head = max(o.head, h.Head)
		o.incomplete = true
		return
	}
	o.heartbeat(beat{
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
		return // an older heartbeat does not describe the current keys
	}
	o.lastUp = h.Up
	if tag := NormalETag(h.JWKS); tag != "" && t.tokenETag != "" && tag != t.tokenETag {
		at := now.Mono + t.jitter(etagJitter)
		if tag == t.soughtETag { // a fetch for it did not help, or is due already
			at = max(at, t.token.started+etagSpacing)
		}
		t.soughtETag = tag
		t.token.scheduleBy(at)
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

// clearBuffer drops the kept messages, because the keys that verified them are no longer trusted.
func (t *Tracker) clearBuffer() { t.buffer, t.buffering = nil, 0 }

// NormalETag returns an entity tag (RFC 9110 §8.8.3) without its weakness indicator and quotes, for
// comparison.
func NormalETag(tag string) string {
	return strings.Trim(strings.TrimPrefix(strings.TrimSpace(tag), "W/"), `"`)
}

// copyWindow is the time within which the heartbeats that prove a copy have to arrive.
const copyWindow = 10 * time.Second

// Copies detects that a second broker runs on a copy of a store, by verified heartbeats of an
// origin that should not be alive. Replayed heartbeats prove nothing. It is a pure core, not
// safe for concurrent use; the zero value is ready.
type Copies struct {
	seen map[string]*copyBeats
}

// copyBeats are the heartbeats of one such origin.
type copyBeats struct {
	up, atMS int64            // the newest
	at       [2]time.Duration // arrival of the two before the next one
	n        int
}

// Beat records a heartbeat at the monotonic time now and reports whether its origin is alive:
// whether it is the third or a later heartbeat within 10 s whose `up` and `at_ms` both grew. Heartbeats
// from before startedMS, the broker's clock (Unix ms) when the known process started, are
// from earlier processes and do not count.
func (c *Copies) Beat(now time.Duration, h *Heartbeat, startedMS int64) bool {
	b := c.seen[h.Origin]
	if b == nil {
		if len(c.seen) >= maxHeard {
			return false
		}
		if c.seen == nil {
			c.seen = make(map[string]*copyBeats)
		}
		b = &copyBeats{}
		c.seen[h.Origin] = b
	}
	if h.Up <= b.up || h.AtMS <= max(b.atMS, startedMS) {
		return false
	}
	b.up, b.atMS = h.Up, h.AtMS
	alive := b.n >= len(b.at) && now-b.at[0] <= copyWindow
	b.at[0], b.at[1] = b.at[1], now
	b.n++
	return alive
}

// Forget drops the heartbeats of an origin, which may be alive.
func (c *Copies) Forget(origin string) { delete(c.seen, origin) }
