package receipts

import (
	"context"
	"slices"
	"sync"
	"time"

	"tokenbroker/broker"
)

const (
	// maxLaggards bounds the laggards of a summary.
	maxLaggards = 100
	// maxWaits bounds the concurrent waits, and maxPending the services that they wait for in all.
	maxWaits   = 1000
	maxPending = 100_000
)

// Wait is one wait for batches. [Wait.End] has to be called once.
type Wait struct {
	collector *Collector
	heads     map[string]uint64
	since     time.Duration
	over      chan struct{} // closed when the wait is refused or no service is pending

	// The collector's mutex guards the fields below.
	of      int
	pending map[name]struct{}
	slowest time.Duration
}

// applied records that a service has applied the batches now.
func (w *Wait) applied(who name, s *service, now time.Duration) {
	delete(w.pending, who)
	delete(s.waits, w)
	w.collector.pending--
	w.slowest = max(w.slowest, now-w.since)
	if len(w.pending) == 0 {
		close(w.over)
	}
}

// Expect announces a wait: batches ask for immediate receipts until done is
// called. done may be called several times.
func (c *Collector) Expect() (done func()) {
	c.expected.Add(1)
	return sync.OnceFunc(func() { c.expected.Add(-1) })
}

// Wanted reports whether a batch that is signed now has to ask for receipts.
func (c *Collector) Wanted() bool { return c.expected.Load() > 0 }

// Applied is [Collector.AppliedSince] with times measured from now.
func (c *Collector) Applied(ctx context.Context, heads map[string]uint64) broker.ReceiptSummary {
	return c.AppliedSince(ctx, c.config.Mono(), heads)
}

// AppliedSince is [Collector.Begin] and [Wait.End].
func (c *Collector) AppliedSince(ctx context.Context, since time.Duration, heads map[string]uint64) broker.ReceiptSummary {
	return c.Begin(since, heads).End(ctx)
}

// Begin starts a wait until all services that sent a receipt within the last 3 s have applied the batches of each
// origin of heads up to that sequence number. A service that falls silent in the meantime is a laggard. A new
// service starts with a catch-up, which contains the batches, and is not waited for. Times are measured from
// since, a reading of the collector's clock. If there are more than a thousand concurrent waits, or the
// collector is closed, the wait ends immediately with the current state. heads must not be changed afterwards.
func (c *Collector) Begin(since time.Duration, heads map[string]uint64) *Wait {
	w := &Wait{collector: c, heads: heads, since: since, pending: map[name]struct{}{}, over: make(chan struct{})}
	now := c.config.Mono()
	c.mu.Lock()
	defer c.mu.Unlock()
	for who, s := range c.services {
		if !s.known || now-s.heard > heardWithin {
			continue
		}
		w.of++
		if !s.has(heads) {
			w.pending[who] = struct{}{}
			continue
		}
		for origin := range heads {
			w.slowest = max(w.slowest, s.applied[origin].at-since)
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

// forget removes w from the collector's waits. The caller holds the collector's mutex.
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

// End waits until all services of the wait have applied the batches, or ctx ends, or the collector is
// closed, and returns the state at that time.
func (w *Wait) End(ctx context.Context) broker.ReceiptSummary {
	select {
	case <-w.over:
	case <-ctx.Done():
	}
	w.collector.mu.Lock()
	w.forget()
	w.collector.mu.Unlock() // w is now used only by this caller
	summary := broker.ReceiptSummary{Applied: w.of - len(w.pending), Of: w.of, SlowestMS: w.slowest.Milliseconds()}
	for who := range w.pending {
		summary.Laggards = append(summary.Laggards, who.service)
	}
	slices.Sort(summary.Laggards)
	summary.Laggards = summary.Laggards[:min(len(summary.Laggards), maxLaggards)]
	return summary
}

// Close ends every wait with the current state. Later waits end immediately.
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
