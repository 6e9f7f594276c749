package receipts

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	// maxLaggards is how many of those that lag behind a [Summary] names.
	maxLaggards = 100
	// maxWaits may wait at a time, for maxPending services together.
	maxWaits   = 1000
	maxPending = 100_000
)

// Summary says how many of how many services have applied a batch.
type Summary struct {
	Applied int `json:"applied"`
	Of      int `json:"of"`
	// SlowestMS is when the last of those that have applied it said so, in milliseconds.
	SlowestMS int64 `json:"slowest_ms"`
	// Laggards are the others by name, a hundred at most.
	Laggards []string `json:"laggards,omitempty"`
}

// Wait is somebody who waits for a batch. [Wait.End] has to be called once.
type Wait struct {
	collector *Collector
	seq       uint64
	since     time.Duration
	over      chan struct{} // closed when nobody is pending, or it shall not wait

	// The collector's mutex guards what follows.
	of      int
	pending map[name]struct{}
	slowest time.Duration
}

// applied takes note that a service has applied the batch now.
func (w *Wait) applied(who name, s *service, now time.Duration) {
	delete(w.pending, who)
	delete(s.waits, w)
	w.collector.pending--
	w.slowest = max(w.slowest, now-w.since)
	if len(w.pending) == 0 {
		close(w.over)
	}
}

// Expect says that somebody is about to wait: batches ask for receipts at once until done is
// called. done may be called again.
func (c *Collector) Expect() (done func()) {
	c.expected.Add(1)
	return sync.OnceFunc(func() { c.expected.Add(-1) })
}

// Wanted says whether a batch that is signed now shall ask for receipts.
func (c *Collector) Wanted() bool { return c.expected.Load() > 0 }

// Applied is [Collector.AppliedSince] with the time counted from now.
func (c *Collector) Applied(ctx context.Context, seq uint64) Summary {
	return c.AppliedSince(ctx, c.config.Mono(), seq)
}

// AppliedSince is [Collector.Begin] and [Wait.End].
func (c *Collector) AppliedSince(ctx context.Context, since time.Duration, seq uint64) Summary {
	return c.Begin(since, seq).End(ctx)
}

// Begin begins to wait until all services that were heard within the last 3 s have applied
// the own batches up to seq. Who falls silent meanwhile is a laggard; who comes anew begins
// with a catch-up, which has the batch, and is not waited for. The slowest is counted from
// since, a reading of the collector's clock. Of more than a thousand waits at a time, and of a
// closed collector's, nobody is waited for: the summary has what is known by now.
func (c *Collector) Begin(since time.Duration, seq uint64) *Wait {
	w := &Wait{collector: c, seq: seq, since: since, pending: map[name]struct{}{}, over: make(chan struct{})}
	now := c.config.Mono()
	c.mu.Lock()
	defer c.mu.Unlock()
	for who, s := range c.services {
		if !s.known || now-s.heard > heardWithin {
			continue
		}
		w.of++
		if s.applied < seq {
			w.pending[who] = struct{}{}
		} else {
			w.slowest = max(w.slowest, s.appliedAt-since)
		}
	}
	if len(w.pending) == 0 || c.closed || len(c.waits) >= maxWaits || c.pending+len(w.pending) > maxPending {
		close(w.over)
		return w
	}
	c.waits[w] = struct{}{}
	c.pending += len(w.pending)
	for who := range w.pending {
		c.services[who].waits[w] = struct{}{}
	}
	return w
}

// forget has receipts no longer looked at for w. The collector's mutex is held.
func (w *Wait) forget() {
	c := w.collector
	if _, waiting := c.waits[w]; !waiting {
		return
	}
	delete(c.waits, w)
	c.pending -= len(w.pending)
	for who := range w.pending {
		if s := c.services[who]; s != nil {
			delete(s.waits, w)
		}
	}
}

// End waits until those that are waited for have applied it, or ctx ends, or the collector is
// closed, and returns what is known then.
func (w *Wait) End(ctx context.Context) Summary {
	select {
	case <-w.over:
	case <-ctx.Done():
	}
	w.collector.mu.Lock()
	w.forget()
	w.collector.mu.Unlock() // what is left of w is this caller's
	summary := Summary{Applied: w.of - len(w.pending), Of: w.of, SlowestMS: w.slowest.Milliseconds()}
	for who := range w.pending {
		summary.Laggards = append(summary.Laggards, who.service)
	}
	slices.Sort(summary.Laggards)
	summary.Laggards = summary.Laggards[:min(len(summary.Laggards), maxLaggards)]
	return summary
}

// Close ends every wait, with what is known, and lets nobody wait any more.
func (c *Collector) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for w := range c.waits {
		if len(w.pending) > 0 {
			close(w.over)
		}
		w.forget()
	}
}
