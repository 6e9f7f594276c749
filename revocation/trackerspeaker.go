package revocation

import "time"

const maxBeats = 16 // heartbeats that wait for the batches up to their heads

// proofs is what a [Tracker] knows of the speakers and what they have proved. If proved, everything that
// any origin acknowledged before asOf is applied, and the brokers' clock was then ahead of the monotonic
// one (ms).
type proofs struct {
	proved   bool
	asOf     time.Duration
	ahead    int64
	speakers map[string]*speaker
	current  string // the origin of the speaker that State names
	beats    []beat // heartbeats that wait for batches, the oldest first
	floor    timeFloor
}

// speaker is what a [Tracker] knows of a broker that it hears, named by its origin. A heartbeat or an
// answer of any speaker speaks for all origins of the store.
type speaker struct {
	hasBase bool
	base    time.Duration // not later than the start of its origin, on this process's clock
	lastUp  int64         // of the newest heartbeat

	proved bool
	asOf   time.Duration // of its newest proof
	ahead  int64         // its clock minus the monotonic one then, ms
}

// proof says that everything that any origin acknowledged before asOf is applied. The speaker's clock and
// the time floor were read between asOf and arrival.
type proof struct {
	asOf, arrival time.Duration
	atMS, floor   int64
}

// beat is a heartbeat that proves something once everything up to its heads is applied.
type beat struct {
	speaker     string
	heads       map[string]uint64
	older       bool // its sender knows only its own origin
	up, arrival time.Duration
	atMS, floor int64
	waitsFor    string // an origin of heads that was not applied so far
}

// timeFloor is the lowest time that the brokers' clocks will ever show.
type timeFloor struct {
	unix int64
	at   time.Duration // when it was stated
}

func (t *Tracker) speaker(origin string) *speaker {
	s := t.speakers[origin]
	if s == nil {
		s = &speaker{}
		t.speakers[origin] = s
	}
	return s
}

// hold keeps a heartbeat until everything up to its heads is applied. If too many wait, it replaces the
// newest: the oldest are the next to be due.
func (t *Tracker) hold(b beat) {
	if len(t.beats) == maxBeats {
		t.beats = t.beats[:maxBeats-1]
	}
	t.beats = append(t.beats, b)
	t.advance()
}

// advance applies the proofs of the heartbeats whose heads have been reached.
func (t *Tracker) advance() {
	kept := t.beats[:0]
	for _, b := range t.beats {
		s := t.speakers[b.speaker]
		waits, ok := t.waits(&b)
		switch {
		case s == nil || !ok:
		case waits:
			kept = append(kept, b)
		default:
			t.prove(b.speaker, proof{asOf: min(s.base+b.up, b.arrival), arrival: b.arrival, atMS: b.atMS, floor: b.floor})
		}
	}
	clear(t.beats[len(kept):])
	t.beats = kept
}

// waits reports whether batches up to the heads of b are missing. ok is false if b cannot prove anything:
// it names an origin that is not followed, or does not know of one that is.
func (t *Tracker) waits(b *beat) (waits, ok bool) {
	if b.older && len(t.origins) > 1 {
		return false, false
	}
	if o := t.origins[b.waitsFor]; o != nil && o.applied < b.heads[b.waitsFor] {
		return true, true
	}
	for name, head := range b.heads {
		o := t.origins[name]
		if o == nil {
			return false, false
		}
		if o.applied < head {
			b.waitsFor, waits = name, true
		}
	}
	return waits, true
}

// prove records a proof by the speaker of an origin. An older one than its last, such as that of a replayed
// heartbeat, has no effect.
func (t *Tracker) prove(origin string, p proof) {
	s := t.speaker(origin)
	if s.proved && p.asOf <= s.asOf {
		return
	}
	s.proved, s.asOf, s.ahead = true, p.asOf, p.atMS-p.asOf.Milliseconds()
	// Speakers may read the floor in another order than they are heard. It is lowered only by a reading that
	// began after the current one was stated.
	if p.floor >= t.floor.unix || p.asOf >= t.floor.at {
		t.floor = timeFloor{unix: p.floor, at: p.arrival}
	}
	if !t.proved || p.asOf > t.asOf {
		t.proved, t.asOf, t.ahead = true, p.asOf, s.ahead
	}
	if c := t.speakers[t.current]; c == nil || !c.proved || t.asOf-c.asOf > lagPatience {
		t.current = origin
	}
}

// unprove withdraws every proof and base, because no time measured before now can be compared with one
// after.
func (t *Tracker) unprove() {
	for _, s := range t.speakers {
		s.hasBase, s.proved = false, false
	}
	t.proved, t.beats = false, nil
}

// forgetProofs drops everything that was learned from speakers except the floor, which only a later reading
// lowers.
func (t *Tracker) forgetProofs() {
	clear(t.speakers)
	t.proved, t.beats = false, nil
}

// clockAhead returns the brokers' clock minus the monotonic one, in ms: the latest of the speakers
// that proved something within the last maxStaleness of proofs, and never less than the time floor.
func (t *Tracker) clockAhead() int64 {
	ahead := t.ahead
	if t.floor.unix > 0 { // and 1 ms, because a reader rounds down twice
		ahead = max(ahead, t.floor.unix*1000-t.floor.at.Milliseconds()+1)
	}
	for _, s := range t.speakers {
		if s.proved && t.asOf-s.asOf <= t.cfg.MaxStaleness {
			ahead = max(ahead, s.ahead)
		}
	}
	return ahead
}
