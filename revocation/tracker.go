package revocation

import (
	"fmt"
	"math"
	"time"
)

// Timing and bounds of the [Tracker].
const (
	holePatience   = 100 * time.Millisecond // a hole this long open is not just disorder
	lagPatience    = 3 * time.Second        // as_of this far behind asks for a catch-up
	catchUpSpacing = 250 * time.Millisecond // between two catch-ups, plus jitter
	catchUpBackoff = 10 * time.Second       // the longest wait after failures
	clockTolerance = 250                    // ms between wall and monotonic clock
	defaultStale   = 30 * time.Second
	maxBuffered    = 1024 // messages of origins not (yet) listed
	maxHeard       = 1024 // origins heard that no answer listed
	maxReplaced    = 64   // stores that were replaced
	bufferedEvents = 64 << 10
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

// ReadInstant reads the wall clock between two readings of the monotonic clock, again when
// those are far apart: a busy machine may have stopped the thread in between for longer than
// any step of the clock that counts. Of ten such readings it returns the best.
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

// TrackerConfig configures a [Tracker].
type TrackerConfig struct {
	// MaxStaleness bounds now - as_of of a fresh service; 0 means 30 s.
	MaxStaleness time.Duration
	// Jitter gives numbers in [0, 1) that spread a fleet's requests; nil means none.
	Jitter func() float64
}

// Effects is what the owner of a [Tracker] has to do, in this order: drop, kids, apply;
// then publish the new [State] and send the receipt; then start the fetches and hand the
// messages of Retry in again.
type Effects struct {
	// DropStore: the issuer's store is another. Drop the denylist's entries of the old
	// store (see [Denylist.DropStore]) and all token and feed keys.
	DropStore bool
	// Kids are compromised keys; drop them from the key sets, for ever.
	Kids []string
	// Apply are the events to insert into the denylist.
	Apply []Event
	// CatchUp is to be requested now; an earlier one that still runs is given up.
	CatchUp *CatchUp
	// FetchTokenKeys and FetchFeedKeys ask for the two key sets.
	FetchTokenKeys, FetchFeedKeys bool
	// Receipt: what asked for a receipt at once is applied.
	Receipt bool
	// Retry are messages whose key may be known by now: parse them again.
	Retry []Held
	// Notes are lines for the log.
	Notes []string
}

// CatchUp is one request to GET /revocations. Report its end with [Tracker.CatchUpDone].
type CatchUp struct {
	ID uint64
	// After is the position from which everything is known; empty asks for everything.
	After string
}

// State is what a [Tracker] knows at one instant.
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
	// Dropped counts messages under unknown keys that were given up.
	Dropped uint64
	// Replayed counts verified messages that told nothing new: a batch that was applied
	// before, a heartbeat that came after a later one.
	Replayed uint64
	// Ignored counts verified messages of an origin or a store that no answer lists, such
	// as a life of the broker that is over.
	Ignored uint64
	// Copies counts the brokers that were found running on copies of the issuer's store.
	Copies uint64
}

// Fresh reports whether everything acknowledged more than maxStaleness before now is applied.
func (s State) Fresh(now, maxStaleness time.Duration) bool {
	return s.Proved && now-s.AsOf <= maxStaleness
}

// Tracker decides what a service has applied, what is missing, how fresh that is and what
// to fetch next. It is a pure core: no clock, no I/O, no goroutine, and not safe for
// concurrent use. One owner feeds it what happened and carries out the [Effects].
type Tracker struct {
	cfg TrackerConfig
	eff Effects

	wallOffset int64
	store      string
	replaced   map[string]bool
	origins    map[string]*origin
	heard      map[string]time.Duration // when first, of origins that no answer lists
	startedMS  int64                    // the broker's clock when the process that answered last started
	copies     Copies
	copied     map[string]bool // origins that were reported
	buffer     []buffered
	buffering  int // events in buffer

	// The catch-up in flight (0: none), when it was sent and what for.
	inFlight, lastID uint64
	sentAt           time.Duration
	sentAfter        string
	sentDistrust     bool
	answeredAt       time.Duration // sentAt of the last answer
	wanted, distrust bool
	notBefore        time.Duration
	failures         int

	rival         string // store of a heartbeat that is not ours
	rivalAt       time.Duration
	conflictUntil time.Duration
	conflict      bool

	token, feed           fetcher
	tokenStore, feedStore string
	tokenETag, soughtETag string
	feedSpacing           time.Duration
	held                  []Held
	heldBytes             int
	dropped               uint64
	replayed, ignored     uint64
}

type buffered struct {
	arrival time.Duration
	msg     Message
}

// NewTracker gives a tracker that knows nothing yet. Its first [Tracker.Tick] asks for the
// keys and a full catch-up; subscribe to the feed before.
func NewTracker(now Instant, cfg TrackerConfig) *Tracker {
	if cfg.MaxStaleness <= 0 {
		cfg.MaxStaleness = defaultStale
	}
	if cfg.Jitter == nil {
		cfg.Jitter = func() float64 { return 0 }
	}
	t := &Tracker{
		cfg:         cfg,
		wallOffset:  now.offset(),
		replaced:    make(map[string]bool),
		origins:     make(map[string]*origin),
		heard:       make(map[string]time.Duration),
		copied:      make(map[string]bool),
		wanted:      true,
		notBefore:   now.Mono,
		answeredAt:  now.Mono,
		feedSpacing: feedSpacing,
	}
	t.token.by(now.Mono)
	t.feed.by(now.Mono)
	return t
}

// Tick is due every 100 ms; it notices holes, lags and clocks that went apart.
func (t *Tracker) Tick(now Instant) Effects {
	t.observe(now)
	return t.settle(now)
}

// Gap says that messages may have been lost: a reconnect or a slow consumer.
func (t *Tracker) Gap(now Instant) Effects {
	t.observe(now)
	t.wanted = true
	return t.settle(now)
}

// State gives what is known now.
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

// Applied gives, for each listed origin, the batch up to which everything is applied, once
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

// observe withdraws every proof when the machine's two clocks went apart: it was suspended
// or its clock was stepped, so no time measured before can be compared with one after.
func (t *Tracker) observe(now Instant) {
	if t.conflict && now.Mono >= t.conflictUntil {
		t.conflict = false
		t.note("one store speaks for this issuer again, %s", t.store)
	}
	if now.offsetNear(t.wallOffset) {
		return
	}
	t.note("the machine's clocks went %d ms apart: nothing is proved until the next catch-up", now.offset()-t.wallOffset)
	t.wallOffset = now.offset()
	for _, o := range t.origins {
		o.unprove()
	}
	if t.inFlight != 0 { // sent before: it could prove nothing
		t.inFlight = 0
		t.distrust = t.distrust || t.sentDistrust
	}
	t.wanted = true
	t.notBefore = now.Mono
	t.failures = 0
}

// settle looks at what is due and hands out the effects.
func (t *Tracker) settle(now Instant) Effects {
	t.expireHeld(now.Mono)
	if t.inFlight == 0 {
		for _, o := range t.origins {
			if o.overdue(now.Mono) || now.Mono-max(o.asOf(), t.answeredAt) >= lagPatience {
				t.wanted = true
			}
		}
	} else {
		for _, o := range t.origins {
			o.overdue(now.Mono) // opens and closes holes
		}
	}
	if t.wanted && t.inFlight == 0 && now.Mono >= t.notBefore {
		t.send(now)
	}
	t.eff.FetchTokenKeys = t.token.start(now.Mono)
	t.eff.FetchFeedKeys = t.feed.start(now.Mono)
	eff := t.eff
	t.eff = Effects{}
	return eff
}

func (t *Tracker) note(format string, args ...any) {
	t.eff.Notes = append(t.eff.Notes, fmt.Sprintf(format, args...))
}
