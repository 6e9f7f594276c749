package benchrun

import (
	"context"
	"sync"
	"time"

	"tokenbroker/validator"
)

// longestGap returns the longest time within [from, to] without one of the times, which are in ascending order.
func longestGap(times []time.Duration, from, to time.Duration) time.Duration {
	longest, last := time.Duration(0), from
	for _, at := range times {
		if at < from {
			continue
		}
		if at > to {
			break
		}
		longest, last = max(longest, at-last), at
	}
	return max(longest, to-last)
}

// lagWatch observes validators. It is safe for concurrent use.
type lagWatch struct {
	traffic  *traffic
	services []*validator.Validator

	mu      sync.Mutex // guards samples
	samples []sample
}

// sample is what the validators knew at a time: the greatest age of their knowledge, and how many were stale.
type sample struct {
	at, age time.Duration
	stale   int
}

// run observes the validators until ctx ends.
func (w *lagWatch) run(ctx context.Context) {
	for ; len(w.services) > 0 && ctx.Err() == nil; wait(ctx, samplePause) {
		s := sample{at: w.traffic.now()}
		for _, v := range w.services {
			stats := v.Stats()
			s.age = max(s.age, time.Duration(stats.AgeMS)*time.Millisecond)
			if !stats.Fresh {
				s.stale++
			}
		}
		w.mu.Lock()
		w.samples = append(w.samples, s)
		w.mu.Unlock()
	}
}

// worst returns the greatest age and the greatest number of stale validators of the samples within [from, to].
func (w *lagWatch) worst(from, to time.Duration) (age time.Duration, stale int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.samples {
		if s.at >= from && s.at <= to {
			age, stale = max(age, s.age), max(stale, s.stale)
		}
	}
	return age, stale
}
