package simtest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// quiet is how long after the last fault, in addition to the staleness, every service must be fresh again.
const quiet = 20 * time.Second

// world is one run. Everything happens in one goroutine, in the order of the queue.
type world struct {
	ctx context.Context
	rng *rand.Rand
	bug bug
	log func(format string, args ...any) // nil unless a seed is replayed

	now    time.Duration // the true time
	slept  time.Duration // how far the bubble's clock, by which denylists measure, has come
	began  time.Time     // the bubble's clock at the start
	mu     sync.Mutex    // guards queue and the clocks of machines, which goroutines of processes use
	queue  queue
	steps  int
	calm   bool
	failed error

	maxStale time.Duration
	mail     mail
	twin     twin
	broker   *broker
	old      *broker  // one that should have ended when its backup was restored elsewhere
	cluster  *cluster // instead of a broker
	services []*service
}

// simulate runs one seed and returns the broken promise, if any.
func simulate(t *testing.T, seed uint64, b bug, verbose bool) (failed error) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{ctx: t.Context(), rng: rand.New(rand.NewPCG(seed, 13)), bug: b, began: time.Now()}
		if verbose {
			w.log = t.Logf
		}
		failed = w.run()
	})
	return failed
}

func (w *world) run() error {
	w.maxStale = w.pick(4, 6, 10) * time.Second
	faults := w.pick(20, 20, 30, 30, 30, 80) * time.Second
	w.mail.signed = w.chance(1. / 32)
	w.broker = newBroker(w)
	for i := range 1 + w.rng.IntN(3) {
		w.services = append(w.services, newService(w, i))
	}
	w.broker.start()
	for _, s := range w.services {
		s.start()
	}
	w.after(w.between(0, 3*time.Second), w.fault)
	w.until(faults)
	w.heal()
	w.until(faults + w.maxStale + quiet)
	if w.failed != nil {
		return w.failed
	}
	if w.broker.ledger == nil {
		return errors.New("the broker is not up after the quiet")
	}
	w.broker.checkRecord()
	for _, s := range w.services {
		s.checkExact()
	}
	return w.failed
}

// issuer returns the keys and the store that services must have after the quiet.
func (w *world) issuer() (*keyring, string) {
	if w.cluster != nil {
		return w.cluster.keys, w.cluster.store
	}
	return w.broker.keys, w.broker.ledger.StoreID()
}

// until runs everything that is due before end.
func (w *world) until(end time.Duration) {
	for w.failed == nil && len(w.queue.events) > 0 && w.queue.events[0].at <= end {
		e := w.queue.pop()
		w.now = e.at
		w.steps++
		e.run()
	}
	w.now = max(w.now, end)
}

// sync sets the clock of the denylists to the true time.
func (w *world) sync() {
	if w.cluster == nil && w.now > w.slept {
		time.Sleep(w.now - w.slept) // in a bubble: at once
		w.slept = w.now
	}
}

func (w *world) at(t time.Duration, run func()) { w.ranked(t, 0, run) }

// ranked schedules an event for one of several goroutines that the same event may have woken.
func (w *world) ranked(t time.Duration, rank uint64, run func()) {
	now := w.clock()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue.push(max(t, now), rank, run)
	if w.cluster != nil {
		w.cluster.kick()
	}
}

func (w *world) after(d time.Duration, run func()) { w.at(w.clock()+d, run) }

// clock returns the true time. In a cluster it is the bubble's, so that it can be read by any goroutine.
func (w *world) clock() time.Duration {
	if w.cluster != nil {
		return time.Since(w.began)
	}
	return w.now
}

func (w *world) between(from, to time.Duration) time.Duration {
	return from + time.Duration(w.rng.Int64N(int64(to-from)))
}

func (w *world) pick(of ...time.Duration) time.Duration { return of[w.rng.IntN(len(of))] }

func (w *world) chance(p float64) bool { return w.rng.Float64() < p }

func (w *world) say(format string, args ...any) {
	if w.log != nil {
		w.log("%9.3f "+format, append([]any{w.now.Seconds()}, args...)...)
	}
}

func (w *world) fail(format string, args ...any) {
	if w.failed == nil {
		w.failed = fmt.Errorf("after %d steps, at %s: "+format, append([]any{w.steps, w.now}, args...)...)
	}
}
