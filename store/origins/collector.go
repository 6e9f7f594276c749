package origins

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"tokenbroker/store"
)

// CollectorKey is the key of the record of the broker that collects.
const CollectorKey = "collector"

// collectorSilence is how long the record has to be unchanged before another live broker takes over.
const collectorSilence = 3 * time.Minute

// claim is the record of the broker that collects.
type claim struct {
	V        int            `json:"v"`
	Origin   string         `json:"origin"`
	N        uint64         `json:"n"`
	revision store.Revision // zero without a record
}

func claimOf(stored store.Record) (c claim, err error) {
	err = decodeLedger(stored, &c)
	c.revision = stored.Revision
	return c, err
}

// collector measures how long the claim of another broker has been unchanged.
type collector struct {
	revision store.Revision
	since    time.Duration
}

// observe records when a claim was first read. Views are observed in the order in which they were read.
func (c *collector) observe(v *View) {
	if v.collector.revision != c.revision || c.since == 0 {
		*c = collector{v.collector.revision, v.done}
	}
}

// mayClaim reports whether the origin own may write the claim that v has.
func (c *collector) mayClaim(v *View, own string) bool {
	if v.collector.revision == 0 || v.collector.Origin == own {
		return true
	}
	o, ok := v.find(v.collector.Origin)
	return !ok || o.Ended || v.collector.revision == c.revision && v.done-c.since >= collectorSilence
}

// ClaimAge returns how long, at the last view, the record of the broker that collects had been unchanged since this run
// first read it. It is below two minutes while a broker collects: one that does renews the record each minute.
func (r *Run) ClaimAge() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.viewed {
		return 0
	}
	return r.last.done - r.collector.since
}

// SmallestClock returns the smallest clock of the live brokers when v was read (Unix ms). The clocks of the others are those
// of their last commits, so that it is never above the true one. v is a view of this run, which therefore has every broker
// that joined before the own clock was read.
func (r *Run) SmallestClock(v *View) int64 {
	smallest, own := v.clockMS, r.Origin()
	for _, o := range v.Live() {
		if o.ID != own {
			smallest = min(smallest, o.ClockMS)
		}
	}
	return smallest
}

// Collector reports whether this run may collect expired revocations now, and the smallest clock of the live brokers (Unix
// ms, see [Run.SmallestClock]): only what ended before it may be collected. The owner calls it before each
// collection and each minute of one. One broker collects at a time, until its claim is unchanged for three minutes or its
// origin ends; two that do so nevertheless delete by compare-and-set. A silent run (see [Run.Silent]) may not collect.
func (r *Run) Collector(ctx context.Context) (smallestClockMS int64, ok bool, err error) {
	v, err := r.View(ctx)
	if err != nil {
		return 0, false, err
	}
	if _, silent := r.Silent(); silent {
		return 0, false, nil
	}
	own := r.Origin()
	r.mu.Lock()
	may := r.collector.mayClaim(v, own)
	r.mu.Unlock()
	if !may {
		return 0, false, nil
	}
	next := claim{V: 1, Origin: own, N: v.collector.N + 1}
	value, err := json.Marshal(next)
	if err != nil {
		return 0, false, err
	}
	w := store.Write{Key: CollectorKey, Value: value, Expect: v.collector.revision}
	if err := r.Commit(ctx, []store.Change{{Writes: []store.Write{w}}}, nil)[0]; err != nil {
		if errors.Is(err, store.ErrConflict) {
			return 0, false, nil
		}
		return 0, false, err
	}
	return r.SmallestClock(v), true, nil
}
