package revocation

import (
	"fmt"
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
	maxBuffered    = 1024           // messages of origins not (yet) listed
	maxHeard       = 1024           // origins heard that no answer listed
	maxReplaced    = 64             // stores that were replaced
	maxFollowed    = 2 * MaxOrigins // origins; those that heartbeats name may not be those of an answer
	maxGone        = 4 * MaxOrigins // origins that were ended by answers
	bufferedEvents = 64 << 10
)

// TrackerConfig configures a [Tracker].
type TrackerConfig struct {
	// MaxStaleness is the maximum of now - as_of for a fresh service. If 0, it is 30 s.
	MaxStaleness time.Duration
	// Jitter returns numbers in [0, 1) that spread a fleet's requests. If nil, they are not spread.
	Jitter func() float64
}

// Effects is what the owner of a [Tracker] has to do, in this order: drop, kids, apply;
// then publish the new [State] and send the receipt; then start the fetches and hand the
// messages of Retry in again.
type Effects struct {
	// DropStore says that the issuer has another store. Drop the denylist's entries of the old
	// store (see [Denylist.DropStore]) and all token and feed keys.
	DropStore bool
	// Kids are compromised keys; drop them from the key sets permanently.
	Kids []string
	// Apply are the events to insert into the denylist.
	Apply []Event
	// CatchUp is the catch-up to request now, or nil. Cancel an earlier one that is still running.
	CatchUp *CatchUp
	// FetchTokenKeys and FetchFeedKeys say which key sets to fetch.
	FetchTokenKeys, FetchFeedKeys bool
	// Receipt says that a batch that requested a receipt is applied, so a receipt is due now.
	Receipt bool
	// Retry are messages whose key may be known now: parse them again.
	Retry []Held
	// Notes are lines for the log.
	Notes []string
}

// CatchUp is one request to GET /revocations. Report its end with [Tracker.CatchUpDone].
type CatchUp struct {
	ID uint64
	// After is the position up to which everything is known. If empty, everything is requested.
	After string
}

// Tracker decides what a service has applied, what is missing, how fresh that is and what
// to fetch next. It is a pure core: no clock, no I/O, no goroutine, and not safe for
// concurrent use. One owner passes in what happened and carries out the [Effects].
type Tracker struct {
	cfg TrackerConfig
	eff Effects

	wallOffset int64
	store      string
	replaced   map[string]bool
	origins    map[string]*origin
	named      bool                     // a heartbeat named an origin that was not followed
	gone       map[string]int64         // origins that an answer ended, with the broker's clock (ms) in it
	heard      map[string]time.Duration // when first, of senders that are not followed
	startedMS  int64                    // the broker's clock when the process that answered last started
	copies     Copies
	copied     map[string]bool // origins that were reported
	buffer     []buffered
	buffering  int // events in buffer

	proofs
	rewound string // how the last answer showed that the store was rewound, empty if it did not

	// The id of the catch-up in flight (0 if there is none), when it was sent and why.
	inFlight, lastID uint64
	sentAt           time.Duration
	sentAfter        string
	sentDistrust     bool
	answeredAt       time.Duration // sentAt of the last answer
	answeredMS       int64         // the broker's clock in it
	wanted, distrust bool
	notBefore        time.Duration
	failures         int

	rival         string // store of a heartbeat that is not ours
	rivalAt       time.Duration
	conflictUntil time.Duration
	conflict      bool

	token, feed           fetcher
	tokenStore, feedStore string
	tokenETag             string
	soughtETags           [4]string // for which the token keys were fetched, the newest first
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

// NewTracker returns a tracker without any knowledge. Its first [Tracker.Tick] asks for the
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
		proofs:      proofs{speakers: make(map[string]*speaker)},
		gone:        make(map[string]int64),
		heard:       make(map[string]time.Duration),
		copied:      make(map[string]bool),
		wanted:      true,
		notBefore:   now.Mono,
		answeredAt:  now.Mono,
		feedSpacing: feedSpacing,
	}
	t.token.scheduleBy(now.Mono)
	t.feed.scheduleBy(now.Mono)
	return t
}

// Tick has to be called every 100 ms. It detects holes, lags and clocks that diverged.
func (t *Tracker) Tick(now Instant) Effects {
	t.observe(now)
	return t.settle(now)
}

// Gap reports that messages may have been lost by a reconnect or a slow consumer.
func (t *Tracker) Gap(now Instant) Effects {
	t.observe(now)
	t.wanted = true
	return t.settle(now)
}

// observe withdraws every proof if the machine's two clocks diverged: the machine was suspended
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
	t.unprove()
	if t.inFlight != 0 { // sent before: it could prove nothing
		t.inFlight = 0
		t.distrust = t.distrust || t.sentDistrust
	}
	t.wanted = true
	t.notBefore = now.Mono
	t.failures = 0
}

// settle determines what is due and returns the effects.
func (t *Tracker) settle(now Instant) Effects {
	t.expireHeld(now.Mono)
	due := t.lags(now.Mono)
	for _, o := range t.origins {
		due = o.overdue(now.Mono) || due // opens and closes holes
	}
	if due && t.inFlight == 0 {
		t.wanted = true
	}
	if t.wanted && t.inFlight == 0 && now.Mono >= t.notBefore {
		t.startCatchUp(now)
	}
	t.eff.FetchTokenKeys = t.token.startIfDue(now.Mono)
	t.eff.FetchFeedKeys = t.feed.startIfDue(now.Mono)
	eff := t.eff
	t.eff = Effects{}
	return eff
}

// lags reports whether as_of or, as long as the store is rewound, the last answer is too old to wait for
// heartbeats.
func (t *Tracker) lags(now time.Duration) bool {
	last := t.answeredAt
	if t.proved && t.rewound == "" {
		last = max(last, t.asOf)
	}
	return len(t.origins) > 0 && now-last >= lagPatience
}

func (t *Tracker) note(format string, args ...any) {
	t.eff.Notes = append(t.eff.Notes, fmt.Sprintf(format, args...))
}

// Message processes a verified message that arrived at the monotonic time arrival. It keeps the message,
// which must not change.
func (t *Tracker) Message(now Instant, arrival time.Duration, m Message) Effects {
	t.observe(now)
	t.receive(now, arrival, m)
	t.replayNamed(now)
	return t.settle(now)
}

func (t *Tracker) receive(now Instant, arrival time.Duration, m Message) {
	if t.store == "" {
		t.enqueue(arrival, m)
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
		t.enqueue(arrival, m)
		return
	}
	o := t.origins[m.Origin()]
	if o == nil {
		t.unlisted(now, m)
		t.enqueue(arrival, m)
		return
	}
	if m.Batch != nil {
		t.batch(o, m)
	} else {
		t.heartbeat(now, arrival, o, m)
	}
}

func (t *Tracker) batch(o *origin, m Message) {
	if m.Incomplete {
		o.head = max(o.head, m.Batch.Seq)
		o.incomplete = o.incomplete || m.Batch.Seq > o.applied
		return
	}
	if o.has(m.Batch.Seq) {
		t.replayed++ // applying it again changes nothing
	}
	t.eff.Apply = append(t.eff.Apply, m.Batch.Events...)
	for _, e := range m.Batch.Events {
		o.until = max(o.until, e.ExpiresAt)
	}
	if m.Batch.Ack && m.Batch.Seq > o.applied { // a replay asks for nothing
		o.ack = max(o.ack, m.Batch.Seq)
	}
	o.add(m.Batch.Seq)
	t.eff.Receipt = o.receiptDue() || t.eff.Receipt
	t.advance()
}

func (f *fetcher) startIfDue(now time.Duration) bool {
	if f.running || !f.scheduled || now < f.due {
		return false
	}
	f.running, f.scheduled, f.begun, f.started = true, false, true, now
	return true
}

func (t *Tracker) expireHeld(now time.Duration) {
	kept := t.held[:0]
	for _, h := range t.held {
		if now-h.Arrival > heldFor {
			t.heldBytes -= len(h.Raw)
			t.dropped++
			continue
		}
		kept = append(kept, h)
	}
	clear(t.held[len(kept):])
	t.held = kept
}
