package revocation

import (
	"math"
	"time"
)

const (
	maxAhead = 4096 // maximum number of sequence numbers remembered after a hole
	maxBeats = 16   // heartbeats that wait for the batches up to their head
)

// origin is the state of a [Tracker] for one listed origin.
type origin struct {
	applied    uint64              // everything up to here is applied
	ahead      map[uint64]struct{} // batches applied after a hole
	head       uint64              // the highest sequence number known
	incomplete bool                // a message was not understood in full
	ack        uint64              // when all up to here is applied, a receipt is sent at once; zero means none

	hole      bool
	holeSince time.Duration

	hasBase bool
	base    time.Duration // not later than the start of the origin, on this process's clock
	proved  bool
	proof   proof
	beats   []beat
	lastUp  int64 // of the newest heartbeat
}

// proof: everything acknowledged before asOf is applied, and the broker's clock was atMS then.
type proof struct {
	asOf        time.Duration
	atMS, floor int64
}

type beat struct {
	head        uint64
	up          time.Duration
	arrival     time.Duration
	atMS, floor int64
}

func newOrigin() *origin { return &origin{ahead: make(map[uint64]struct{})} }

// add records an applied batch. Beyond maxAhead it records nothing: the hole stays, and a catch-up fills
// it.
func (o *origin) add(seq uint64) {
	o.head = max(o.head, seq)
	switch {
	case seq <= o.applied:
	case seq == o.applied+1:
		o.coverTo(seq)
	case len(o.ahead) < maxAhead:
		o.ahead[seq] = struct{}{}
	}
}

// has reports whether the batch was applied.
func (o *origin) has(seq uint64) bool {
	_, ahead := o.ahead[seq]
	return ahead || seq <= o.applied
}

// coverTo records that everything up to seq is applied.
func (o *origin) coverTo(seq uint64) {
	o.head = max(o.head, seq)
	if seq <= o.applied {
		return
	}
	if seq-o.applied > 1 {
		for s := range o.ahead {
			if s <= seq {
				delete(o.ahead, s)
			}
		}
	}
	for o.applied = seq; ; o.applied++ {
		if _, ok := o.ahead[o.applied+1]; !ok {
			return
		}
		delete(o.ahead, o.applied+1)
	}
}

// receiptDue reports whether a requested receipt is due.
func (o *origin) receiptDue() bool {
	if o.ack == 0 || o.ack > o.applied {
		return false
	}
	o.ack = 0
	return true
}

// overdue opens or closes the hole and reports whether it was open for too long.
func (o *origin) overdue(now time.Duration) bool {
	open := o.incomplete || o.head > o.applied
	if open && !o.hole {
		o.holeSince = now
	}
	o.hole = open
	return open && now-o.holeSince >= holePatience
}

// heartbeat records a heartbeat: its proof counts once everything up to its head is applied.
func (o *origin) heartbeat(b beat) {
	o.head = max(o.head, b.head)
	if !o.hasBase {
		return
	}
	o.base = min(o.base, b.arrival-b.up)
	if len(o.beats) == maxBeats {
		o.beats = o.beats[1:]
	}
	o.beats = append(o.beats, b)
	o.advance()
}

// advance applies the proofs of the heartbeats whose head has been reached.
func (o *origin) advance() {
	kept := o.beats[:0]
	for _, b := range o.beats {
		if b.head > o.applied {
			kept = append(kept, b)
			continue
		}
		o.prove(proof{asOf: min(o.base+b.up, b.arrival), atMS: b.atMS, floor: b.floor})
	}
	o.beats = kept
}

func (o *origin) prove(p proof) {
	if !o.proved || p.asOf > o.proof.asOf {
		o.proved, o.proof = true, p
	}
}

func (o *origin) unprove() {
	o.hasBase, o.proved, o.beats = false, false, nil
}

func (o *origin) asOf() time.Duration {
	if !o.proved {
		return math.MinInt64
	}
	return o.proof.asOf
}

// Instant is one reading of both of the machine's clocks.
type Instant struct {
	// Mono is the monotonic time since some fixed point in this process.
	Mono time.Duration
	// WallMS is the wall clock (Unix ms). It is only compared with Mono, to notice a
	// suspended machine or a stepped clock.
	WallMS int64
}

const (
	// clockReadGap is how far apart the readings before and after the wall clock's may be.
	clockReadGap = 5 * time.Millisecond
	clockReads   = 10
)

// ReadInstant reads the wall clock between two readings of the monotonic clock. It repeats this if they
// are far apart, because a busy machine may have stopped the thread in between for longer than a step of
// the clock that matters. It returns the best of at most ten readings.
func ReadInstant(mono func() time.Duration, wall func() time.Time) Instant {
	var best Instant
	gap := time.Duration(math.MaxInt64)
	for reads := 0; gap > clockReadGap && reads < clockReads; reads++ {
		before, at, after := mono(), wall().UnixMilli(), mono()
		if after-before < gap {
			gap, best = after-before, Instant{Mono: after, WallMS: at}
		}
	}
	return best
}

func (i Instant) offset() int64 { return i.WallMS - i.Mono.Milliseconds() }

// State is a snapshot of what a [Tracker] knows.
type State struct {
	// Store is the id of the issuer's store, empty before the first answer.
	Store string
	// Proved says that AsOf proves something: an answer came after the last reset, and one
	// store speaks for the issuer.
	Proved bool
	// AsOf is the latest monotonic time of which it is known that everything acknowledged
	// before it is applied, the least over the listed origins.
	AsOf time.Duration
	// AtMS is the broker's clock (Unix ms) at AsOf, TimeFloor (Unix s) its lowest reading.
	AtMS, TimeFloor int64
	// WallOffsetMS is wall clock minus monotonic clock (ms) at the last reset.
	WallOffsetMS int64
	// Dropped counts messages signed by unknown keys that were dropped.
	Dropped uint64
	// Replayed counts verified messages without news: a batch that was applied
	// before, a heartbeat that came after a later one.
	Replayed uint64
	// Ignored counts verified messages of an origin or a store that no answer lists, such
	// as an earlier process of the broker.
	Ignored uint64
	// Copies counts the brokers that were found running on copies of the issuer's store.
	Copies uint64
}

// Fresh reports whether everything acknowledged more than maxStaleness before now is applied.
func (s State) Fresh(now, maxStaleness time.Duration) bool {
	return s.Proved && now-s.AsOf <= maxStaleness
}

// State returns the current state.
func (t *Tracker) State(now Instant) State {
	s := State{
		Store:        t.store,
		Proved:       t.store != "" && len(t.origins) > 0 && !t.conflict && now.offsetNear(t.wallOffset),
		WallOffsetMS: t.wallOffset,
		Dropped:      t.dropped,
		Replayed:     t.replayed,
		Ignored:      t.ignored,
		Copies:       uint64(len(t.copied)),
	}
	first := true
	var ahead int64 // the broker's clock minus the monotonic one, ms
	for _, o := range t.origins {
		if !o.proved {
			s.Proved = false
			continue
		}
		if a := o.proof.atMS - o.proof.asOf.Milliseconds(); first || a > ahead {
			ahead = a
		}
		if first || o.proof.asOf < s.AsOf {
			s.AsOf = o.proof.asOf
		}
		if first || o.proof.floor < s.TimeFloor {
			s.TimeFloor = o.proof.floor
		}
		first = false
	}
	if !first {
		s.AtMS = ahead + s.AsOf.Milliseconds()
	}
	return s
}

// Applied returns, for each listed origin, the batch up to which everything is applied, once
// the [Effects] are carried out. The map is the caller's.
func (t *Tracker) Applied() map[string]uint64 {
	applied := make(map[string]uint64, len(t.origins))
	for name, o := range t.origins {
		applied[name] = o.applied
	}
	return applied
}

func (i Instant) offsetNear(offset int64) bool {
	d := i.offset() - offset
	return -clockTolerance < d && d < clockTolerance
}
