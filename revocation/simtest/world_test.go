package simtest_test

import (
	"container/heap"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// simulated is how long the faults last; after them it is quiet.
const simulated = 30 * time.Second

// world is one run. Everything happens in one goroutine, in the order of the queue.
type world struct {
	ctx context.Context
	rng *rand.Rand
	bug bug
	log func(format string, args ...any) // nil unless a seed is replayed

	now    time.Duration // the true time
	slept  time.Duration // how far the bubble's clock, by which denylists measure, has come
	queue  queue
	order  int
	steps  int
	calm   bool
	failed error

	maxStale time.Duration
	twin     twin
	broker   *broker
	services []*service
}

// simulate runs one seed and returns the broken promise, if any.
func simulate(t *testing.T, seed uint64, b bug, verbose bool) (failed error) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{ctx: t.Context(), rng: rand.New(rand.NewPCG(seed, 13)), bug: b}
		if verbose {
			w.log = t.Logf
		}
		failed = w.run()
	})
	return failed
}

func (w *world) run() error {
	w.maxStale = w.pick(4, 6, 10) * time.Second
	w.broker = newBroker(w)
	for i := range 1 + w.rng.IntN(3) {
		w.services = append(w.services, newService(w, i))
	}
	w.broker.start()
	for _, s := range w.services {
		s.start()
	}
	w.after(w.between(0, 3*time.Second), w.fault)
	w.until(simulated)
	w.heal()
	w.until(simulated + w.maxStale + 20*time.Second)
	w.broker.checkRecord()
	for _, s := range w.services {
		s.checkExact()
	}
	return w.failed
}

// until lets happen what is due before end.
func (w *world) until(end time.Duration) {
	for w.failed == nil && len(w.queue) > 0 && w.queue[0].at <= end {
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		w.steps++
		e.run()
	}
	w.now = max(w.now, end)
}

// sync brings the clock of the denylists to the true time.
func (w *world) sync() {
	if w.now > w.slept {
		time.Sleep(w.now - w.slept) // in a bubble: at once
		w.slept = w.now
	}
}

func (w *world) at(t time.Duration, run func()) {
	w.order++
	heap.Push(&w.queue, event{at: max(t, w.now), order: w.order, run: run})
}

func (w *world) after(d time.Duration, run func()) { w.at(w.now+d, run) }

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

type event struct {
	at    time.Duration
	order int // first come, first served
	run   func()
}

type queue []event

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].order < q[j].order
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *queue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	*q = (*q)[:last]
	return e
}
