package receipts

import (
	"context"
	"slices"
	"sync"
	"time"
)

// maxLaggards is how many of those that lag behind a [Summary] names.
const maxLaggards = 100

// Summary says how many of how many services have applied a batch.
type Summary struct {
	Applied int `json:"applied"`
	Of      int `json:"of"`
	// SlowestMS is when the last of those that have applied it said so, in milliseconds.
	SlowestMS int64 `json:"slowest_ms"`
	// Laggards are the others by name, a hundred at most.
	Laggards []string `json:"laggards,omitempty"`
}

// wait is somebody who waits for a batch. The collector's mutex guards it.
type wait struct {
	seq     uint64
	since   time.Duration
	of      int
	pending map[name]struct{}
	slowest time.Duration
	over    chan struct{} // closed when nobody is pending, or the collector was closed
}

// applied takes note that a service is at s.applied now.
func (w *wait) applied(who name, s *service) {
	if _, waiting := w.pending[who]; !waiting || s.applied < w.seq {
		return
	}
	delete(w.pending, who)
	w.slowest = max(w.slowest, s.appliedAt-w.since)
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

// AppliedSince waits until all services that were heard within the last 3 s have applied the
// own batches up to seq, or ctx ends, or the collector is closed. Who falls silent meanwhile
// is a laggard; who comes anew begins with a catch-up, which has the batch, and is not waited
// for. The slowest is counted from since, a reading of the collector's clock.
func (c *Collector) AppliedSince(ctx context.Context, since time.Duration, seq uint64) Summary {
	w := c.begin(since, seq)
	select {
	case <-w.over:
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waits, w)
	summary := Summary{Applied: w.of - len(w.pending), Of: w.of, SlowestMS: w.slowest.Milliseconds()}
	for who := range w.pending {
		summary.Laggards = append(summary.Laggards, who.service)
	}
	slices.Sort(summary.Laggards)
	summary.Laggards = summary.Laggards[:min(len(summary.Laggards), maxLaggards)]
	return summary
}

// begin decides who is waited for.
func (c *Collector) begin(since time.Duration, seq uint64) *wait {
	w := &wait{seq: seq, since: since, pending: map[name]struct{}{}, over: make(chan struct{})}
	now := c.config.Mono()
	c.mu.Lock()
	defer c.mu.Unlock()
	for who, s := range c.services {
		if now-s.heard > heardWithin {
			continue
		}
		w.of++
		if s.applied < seq {
			w.pending[who] = struct{}{}
		} else {
			w.slowest = max(w.slowest, s.appliedAt-since)
		}
	}
	if len(w.pending) == 0 || c.closed {
		close(w.over)
		return w
	}
	c.waits[w] = struct{}{}
	return w
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
		delete(c.waits, w)
	}
}
