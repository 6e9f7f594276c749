package revocation

import (
	"math"
	"time"
)

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
	// Proved says that AsOf proves something: an answer came after the last reset, one store speaks for
	// the issuer, and it was not rewound.
	Proved bool
	// Reason says why nothing is proved although answers arrive, for a log. It is empty if Proved is true
	// or the next answer may prove something.
	Reason string
	// AsOf is the latest monotonic time of which it is known that everything that any origin
	// acknowledged before it is applied.
	AsOf time.Duration
	// Speaker is the origin of a broker that this service hears: its heartbeats or answers proved something
	// within the last 3 s before AsOf. Of several brokers it is the one that was heard first, until 3 s after
	// its last proof. It is empty before the first proof.
	Speaker string
	// AtMS is the brokers' clock (Unix ms) at AsOf, for the expiry of tokens: the brokers' time now is AtMS
	// plus the time since AsOf. With several brokers, whose clocks may differ by up to 2 s, it is the
	// latest clock of those that proved something within the last MaxStaleness. It is never less than the
	// last TimeFloor, so a token whose revocation may have been forgotten has expired. It is 0 if no
	// answer or heartbeat has proved anything since the last reset.
	AtMS int64
	// TimeFloor (Unix s) is the lowest time that the brokers' clocks will ever show again.
	TimeFloor int64
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
		Store: t.store,
		Proved: t.store != "" && t.proved && len(t.origins) > 0 && !t.conflict && t.rewound == "" &&
			now.offsetNear(t.wallOffset),
		Reason:       t.rewound,
		WallOffsetMS: t.wallOffset,
		Dropped:      t.dropped,
		Replayed:     t.replayed,
		Ignored:      t.ignored,
		Copies:       uint64(len(t.copied)),
	}
	if t.conflict {
		s.Reason = "two stores speak for this issuer"
	}
	if t.proved {
		s.AsOf, s.TimeFloor, s.Speaker = t.asOf, t.floor.unix, t.current
		s.AtMS = t.clockAhead() + t.asOf.Milliseconds()
	}
	return s
}

// Applied returns, for each origin that is followed, the batch up to which everything is applied, once
// the [Effects] are carried out. Followed are the origins that the last answer listed, and those that
// heartbeats named since. The map is the caller's.
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
