package revocation

import (
	"math"
	"time"
)

const (
	maxAhead = 4096 // sequence numbers remembered beyond a hole
	maxBeats = 16   // heartbeats that wait for the batches up to their head
)

// origin is what a [Tracker] knows of one listed origin.
type origin struct {
	applied uint64              // everything up to here is applied
	ahead   map[uint64]struct{} // and these, beyond a hole
	head    uint64              // the highest heard of
	torn    bool                // a message was not understood in full
	ack     uint64              // a receipt is wanted at once when all up to here is applied; 0: none

	hole      bool
	holeSince time.Duration

	hasBase bool
	base    time.Duration // not later than when the origin began, on our clock
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

// add notes an applied batch. Beyond maxAhead it is forgotten: the hole stays and a
// catch-up heals it.
func (o *origin) add(seq uint64) {
	o.head = max(o.head, seq)
	switch {
	case seq <= o.applied:
	case seq == o.applied+1:
		o.cover(seq)
	case len(o.ahead) < maxAhead:
		o.ahead[seq] = struct{}{}
	}
}

// has reports whether the batch was applied.
func (o *origin) has(seq uint64) bool {
	_, ahead := o.ahead[seq]
	return ahead || seq <= o.applied
}

// cover notes that everything up to seq is applied.
func (o *origin) cover(seq uint64) {
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

// settled reports whether a receipt that was asked for is due.
func (o *origin) settled() bool {
	if o.ack == 0 || o.ack > o.applied {
		return false
	}
	o.ack = 0
	return true
}

// overdue opens or closes the hole and reports whether it was open for too long.
func (o *origin) overdue(now time.Duration) bool {
	open := o.torn || o.head > o.applied
	if open && !o.hole {
		o.holeSince = now
	}
	o.hole = open
	return open && now-o.holeSince >= holePatience
}

// pulse notes a heartbeat: what it proves counts once everything up to its head is applied.
func (o *origin) pulse(b beat) {
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

// advance takes the proofs of the heartbeats whose head is reached.
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
