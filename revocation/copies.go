package revocation

import "time"

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
