package revocation

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestTrackerAgainstAModel drives a tracker with up to three brokers on one store, over a network that delays,
// loses, repeats and replays messages, while brokers join, die and are ended, and the service is suspended. In a
// part of the runs the brokers are embedded ones of both versions, the store is rewound, restored or copied, a
// feed key is removed, or the service's clock is stepped.
//
// Whatever was acknowledged before as_of has to be applied. The brokers' time is not behind all of their clocks,
// nor below a time floor that was stated. The store is reported as rewound if and only if an answer shows it. When
// the network is calm again, though old messages are still replayed, the service has to be fresh with at most one
// catch-up for each origin that has ended.
func TestTrackerAgainstAModel(t *testing.T) {
	seeds := uint64(1000)
	if testing.Short() {
		seeds = 200
	}
	seen := make(map[string]int)
	for seed := range seeds {
		w := newModel(seed)
		if w.play(); w.err != nil {
			t.Fatalf("seed %d, %+v, at %d ms: %v", seed, w.kind, w.now, w.err)
		}
		for name, n := range w.seen {
			seen[name] += n
		}
	}
	for _, name := range []string{"rewound", "copy", "restored", "key removed"} {
		if seen[name] == 0 {
			t.Errorf("no run had: %s", name)
		}
	}
}

const modelEpoch = 1_700_000_000_000 // the true time at the start of a run, Unix ms

// modelKind is what may happen in a run besides what happens in each.
type modelKind struct {
	embedded, rewind, restore, copy, keys, steps, flood bool
	commits                                             int // steps of 10 ms between two commits of a broker
}

// model is the world around one tracker. now is the true time since the start in ms.
type model struct {
	kind modelKind
	rng  *rand.Rand
	now  int64
	err  error
	seen map[string]int
	calm bool

	modelStore
	brokers []*modelBroker // all that ever were
	sent    []Message      // of the present store
	queue   map[int64][]func()

	tracker   *Tracker
	suspended int64 // the service's monotonic clock does not count it
	stepped   int64 // of the service's wall clock
	wakes     int64
	applied   map[string]bool              // by commit
	pending   []modelCommit                // acknowledged and not yet applied
	asked     int                          // catch-ups
	told      map[string]uint64            // heads that the tracker knows at least
	ever      map[string]uint64            // and at most
	toldAt    map[uint64]map[string]uint64 // told when a catch-up was sent
	floor     int64                        // the highest that the tracker stated of its store
}

func newModel(seed uint64) *model {
	rng := rand.New(rand.NewPCG(seed, 77))
	one := func(n int) bool { return rng.IntN(n) == 0 }
	w := &model{
		rng: rng, seen: map[string]int{}, modelStore: newModelStore("S"), queue: map[int64][]func(){},
		applied: map[string]bool{}, told: map[string]uint64{}, ever: map[string]uint64{}, toldAt: map[uint64]map[string]uint64{},
		kind: modelKind{
			embedded: one(5), rewind: one(4), restore: one(5), copy: one(5), keys: one(4), steps: one(4), flood: one(6),
			commits: []int{5, 20, 80, 400}[rng.IntN(4)],
		},
	}
	if w.kind.embedded {
		w.kind.rewind, w.kind.copy = false, false
	}
	return w
}

func (w *model) mono() time.Duration { return time.Duration(w.now-w.suspended) * time.Millisecond }

func (w *model) instant() Instant {
	return Instant{Mono: w.mono(), WallMS: 5_000_000 + w.now + w.stepped}
}

func (w *model) failf(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
	}
}

// after runs something at least so many milliseconds later.
func (w *model) after(ms int64, run func()) {
	step := (w.now+ms)/10 + 1
	w.queue[step] = append(w.queue[step], run)
}

// service runs work of the service, when it is not suspended.
func (w *model) service(run func()) {
	if w.now < w.wakes {
		w.after(w.wakes-w.now, run)
		return
	}
	run()
}

// chance is true once in n times on average.
func (w *model) chance(n int) bool { return w.rng.IntN(n) == 0 }

// delay is how long the network needs, or a broker to read the heads.
func (w *model) delay() int64 {
	if !w.calm && w.chance(10) {
		return w.rng.Int64N(3000)
	}
	return w.rng.Int64N(20)
}

func (w *model) play() {
	w.join()
	w.tracker = NewTracker(w.instant(), TrackerConfig{Jitter: w.rng.Float64})
	for w.now < 20_000 && w.err == nil {
		w.disturb()
		w.step()
	}
	for w.calm = true; w.now < w.wakes; {
		w.step()
	}
	if len(w.live()) == 0 {
		w.join()
	}
	quiet := w.now + 14_000
	if w.kind.restore { // two stores may have spoken for the issuer
		quiet += 31_000
	}
	for w.now < quiet && w.err == nil {
		if w.now == quiet-5000 {
			w.asked = 0
		}
		w.step()
	}
	w.checkCalm()
}

// disturb changes the store, brokers or the service's machine.
func (w *model) disturb() {
	live := w.live()
	limit := 3
	if w.kind.embedded {
		limit = 1
	}
	present := w.seen["restored"] == 0
	switch {
	case w.chance(150) && len(live) < limit && len(w.heads) < 5:
		w.join()
	case w.chance(250) && len(live) > 0:
		live[w.rng.IntN(len(live))].alive = false
	case w.kind.rewind && present && w.chance(150):
		w.rewind()
	case w.kind.copy && present && w.copied == nil && w.chance(350):
		w.copyStore()
	case w.kind.restore && present && w.chance(800):
		w.restore()
	case w.now < w.wakes:
	case !w.kind.steps && w.chance(400):
		w.wakes = w.now + 300 + w.rng.Int64N(5000)
		w.suspended += w.wakes - w.now
	case w.kind.steps && w.chance(250):
		w.stepped += w.rng.Int64N(20_000) - 10_000
	case w.chance(200):
		w.perform(w.tracker.Gap(w.instant()))
	case w.kind.keys && w.chance(250):
		w.seen["key removed"]++
		clear(w.told)
		clear(w.toldAt)
		w.perform(w.tracker.FeedKeysFetched(w.instant(), Fetched{Store: w.tracker.store, Changed: true, Removed: true}))
	}
}

func (w *model) step() {
	w.now += 10
	w.work()
	if len(w.sent) > 0 && w.chance(50) {
		w.deliver(w.sent[w.rng.IntN(len(w.sent))])
	}
	if len(w.sent) > 0 && w.kind.flood && w.chance(500) {
		for range 200 {
			w.deliver(w.sent[w.rng.IntN(len(w.sent))])
		}
	}
	for _, run := range w.queue[w.now/10] {
		run()
	}
	delete(w.queue, w.now/10)
	if w.now >= w.wakes && w.now%100 == 0 {
		w.perform(w.tracker.Tick(w.instant()))
	}
}

func (w *model) deliver(m Message) {
	w.after(w.delay(), func() {
		w.service(func() {
			arrival := w.mono()
			w.after(w.rng.Int64N(50), func() {
				w.service(func() {
					w.tell(m)
					w.perform(w.tracker.Message(w.instant(), arrival, m))
				})
			})
		})
	})
}

// tell records the heads that a message tells the tracker. It knows them at once only if it follows the sender.
func (w *model) tell(m Message) {
	heads := map[string]uint64{}
	if m.Batch != nil {
		heads[m.Batch.Origin] = m.Batch.Seq
	} else {
		maps.Copy(heads, m.Heartbeat.Heads)
		heads[m.Heartbeat.Origin] = m.Heartbeat.Head
	}
	known := m.Store() == w.tracker.store && w.tracker.origins[m.Origin()] != nil
	for origin, head := range heads {
		w.ever[origin] = max(w.ever[origin], head)
		if known && w.tracker.origins[origin] != nil {
			w.told[origin] = max(w.told[origin], head)
		}
	}
}

func (w *model) perform(eff Effects) {
	for _, e := range eff.Apply {
		w.applied[e.Value] = true
	}
	if eff.CatchUp != nil {
		w.asked++
		w.toldAt[eff.CatchUp.ID] = maps.Clone(w.told)
		w.ask(*eff.CatchUp)
	}
	if eff.FetchFeedKeys {
		w.perform(w.tracker.FeedKeysFetched(w.instant(), Fetched{Store: w.id}))
	}
	if eff.FetchTokenKeys {
		w.perform(w.tracker.TokenKeysFetched(w.instant(), Fetched{Store: w.id}))
	}
	w.check()
}

func (w *model) check() {
	s := w.tracker.State(w.instant())
	rewound := w.seen["rewound"] > 0
	if !rewound && strings.Contains(s.Reason, "rewound") {
		w.failf("without a rewind: %s", s.Reason)
	}
	if !s.Proved {
		return
	}
	if s.AsOf > w.mono() {
		w.failf("as_of is in the future")
	}
	w.floor = max(w.floor, s.TimeFloor)
	clock := s.AtMS + (w.mono() - s.AsOf).Milliseconds()
	if s.TimeFloor < w.floor || clock < w.floor*1000 {
		w.failf("the floor was %d, and is %d at %d ms", w.floor, s.TimeFloor, clock)
	}
	if behind := modelEpoch + w.now - maxSkew - clock; behind > 0 {
		w.failf("the time is %d ms behind every broker's clock", behind)
	}
	if rewound || s.Store != w.id {
		return
	}
	w.pending = slices.DeleteFunc(w.pending, func(c modelCommit) bool { return w.dead(c) || w.applied[c.name] })
	for _, c := range w.pending {
		if at := time.Duration(c.at-w.suspended) * time.Millisecond; at < s.AsOf {
			w.failf("as_of %v, but %s of %v is not applied; %v", s.AsOf, c.name, at, w.tracker.Applied())
		}
	}
}

var errModel = errors.New("no answer")

// answered hands the result of a catch-up in, and checks what the tracker says of a rewind.
func (w *model) answered(c CatchUp, a *Answer, err error) {
	t, now := w.tracker, w.instant()
	used := a != nil && t.inFlight == c.ID && now.offsetNear(t.wallOffset) && (a.Full || c.After != "" && a.Store == t.store)
	same := used && a.Store == t.store
	eff := t.CatchUpDone(now, c.ID, a, err)
	if used {
		must, may := false, false
		for _, o := range a.Origins {
			must = must || same && o.Head < w.toldAt[c.ID][o.Origin]
			may = may || o.Head < w.ever[o.Origin]
		}
		if t.rewound == "" && must || t.rewound != "" && !may {
			w.failf("rewound: %q, the answer has %v, told were %v", t.rewound, a.Origins, w.toldAt[c.ID])
		}
		if !same {
			clear(w.told)
			w.floor = 0
		}
		for _, o := range a.Origins {
			w.told[o.Origin] = max(w.told[o.Origin], o.Head)
			w.ever[o.Origin] = max(w.ever[o.Origin], o.Head)
		}
		maps.DeleteFunc(w.told, func(origin string, _ uint64) bool { return t.origins[origin] == nil })
	}
	w.perform(eff)
}

// checkCalm checks the tracker after a calm.
func (w *model) checkCalm() {
	t, s := w.tracker, w.tracker.State(w.instant())
	if copied := w.copied != nil && w.seen["restored"] == 0; copied != (s.Copies > 0) && (copied || w.copied == nil) {
		w.failf("%d copies", s.Copies)
	}
	most := len(w.brokers) + 1
	if w.kind.flood {
		most += 5
	}
	if w.seen["rewound"] > 0 && s.Reason != "" {
		return
	}
	if !s.Fresh(w.mono(), 4*time.Second) || s.Reason != "" || w.asked > most {
		w.failf("after a calm %+v, %d catch-ups", s, w.asked)
	}
	if len(t.speakers) > len(t.origins) || len(t.beats) > maxBeats || len(t.buffer) > maxBuffered {
		w.failf("%d speakers of %d origins, %d heartbeats wait, %d messages", len(t.speakers), len(t.origins), len(t.beats), len(t.buffer))
	}
}
