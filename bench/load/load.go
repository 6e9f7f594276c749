// Package load sends requests and measures how long they take.
//
// In a [Closed] loop each worker asks again as soon as it was answered: it finds how much
// a server can do, but a server that stalls gets fewer requests in that time, so that its latencies
// look better than a user's would be. In an [Open] loop requests arrive at a constant rate,
// independently of the answers, and a latency counts from the moment a request was meant to be
// sent: a stall shows in every request that arrived during it (the correction for
// coordinated omission).
//
//	result := load.Open{Rate: 2000, Workers: 256, Warmup: time.Second, Duration: 10 * time.Second}.Run(ctx, work)
//	fmt.Println(result.Rate(), result.Latency.Quantile(0.99))
//
// Both are bounded: at most as many requests are under way as there are workers, and what an
// open loop has no room for is counted as dropped. Run waits for all that it started.
package load

import (
	"context"
	"math"
	"sync"
	"time"
)

// Work is one request. A worker makes one request at a time, so data that belongs to its number
// does not need a lock. Work must return soon after ctx has ended.
type Work func(ctx context.Context, worker int) error

// Closed is a closed loop: each worker sends the next request as soon as it has a response.
type Closed struct {
	Workers int
	// Load during Warmup is not measured, load during Duration is.
	Warmup, Duration time.Duration
}

// Run works until the time is over or ctx ends, and returns the results until then. If the requests
// of the warm-up take all of the time, each worker measures one more request. Run starts a
// goroutine for each worker and waits for them.
func (c Closed) Run(ctx context.Context, work Work) *Result {
	recorded := newRecorder()
	from := time.Now().Add(c.Warmup)
	until := from.Add(c.Duration)
	var workers sync.WaitGroup
	for worker := range c.Workers {
		workers.Go(func() {
			for measured := false; ; {
				began := time.Now()
				if measured && !began.Before(until) || ctx.Err() != nil {
					return
				}
				measured = !began.Before(from)
				err := work(ctx, worker)
				if ctx.Err() != nil {
					return // the request was cancelled
				}
				recorded.record(worker, sent{meant: began, began: began, ended: time.Now(), err: err}, from, until)
				if err != nil {
					pause(ctx)
				}
			}
		})
	}
	workers.Wait()
	result := recorded.sum()
	result.finish(ctx, from, until)
	return result
}

// errorPause is the pause of a worker after an error, so that it does not send requests in a tight
// loop.
const errorPause = 10 * time.Millisecond

func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(errorPause):
	}
}

// finish sets the measured time.
func (r *Result) finish(ctx context.Context, from, until time.Time) {
	r.Took = until.Sub(from)
	if now := time.Now(); ctx.Err() != nil && now.Before(until) {
		r.Interrupted = true
		r.Took = max(now.Sub(from), 0)
	}
}

// Open is an open loop: requests arrive at a constant rate. If all workers are busy, a request
// waits for one, and its latency counts from its arrival.
type Open struct {
	// Rate is the number of arrivals per second.
	Rate float64
	// Workers is the maximum number of concurrent requests.
	Workers int
	// Backlog is the maximum number of arrivals that wait for a worker. Further arrivals are
	// dropped and counted. If 0, Backlog is the number that arrives in 5 s.
	Backlog int
	// Arrivals during Warmup are not measured, those during Duration are.
	Warmup, Duration time.Duration
	// Drain is the time after the end in which waiting requests are still sent; the others are
	// abandoned. If zero, it is 1 s.
	Drain time.Duration
	// Ended, if not nil, returns when the worker's last successful request ended, for work that
	// returns later than that.
	Ended func(worker int) time.Time
	// Sleep waits for a duration. If nil, the most precise timer of the machine is used.
	Sleep func(time.Duration)
}

// longestSleep is the longest time after which an open loop notices that its context ended.
const longestSleep = 50 * time.Millisecond

// Run works until the time is over or ctx ends, and returns the results until then. It starts a
// goroutine for each worker and waits for them.
func (o Open) Run(ctx context.Context, work Work) *Result {
	if o.Sleep == nil {
		alarm := newAlarm()
		defer alarm.close()
		o.Sleep = alarm.sleep
	}
	if o.Backlog == 0 {
		o.Backlog = int(math.Ceil(5 * o.Rate))
	}
	if o.Drain == 0 {
		o.Drain = time.Second
	}
	begin := time.Now()
	from := begin.Add(o.Warmup)
	until := from.Add(o.Duration)
	arrivals := make(chan time.Time, o.Backlog)
	recorded := newRecorder()
	var workers sync.WaitGroup
	for worker := range o.Workers {
		workers.Go(func() {
			for meant := range arrivals {
				o.serve(ctx, recorded, work, worker, meant, from, until)
			}
		})
	}
	dropped := o.arrive(ctx, arrivals, begin, from, until)
	close(arrivals)
	workers.Wait()
	result := recorded.sum()
	result.Offered, result.Dropped = o.Rate, dropped
	result.finish(ctx, from, until)
	return result
}

// serve sends one arrival, or abandons it.
func (o Open) serve(ctx context.Context, to *recorder, work Work, worker int, meant, from, until time.Time) {
	began := time.Now()
	switch {
	case ctx.Err() != nil:
		return
	case began.After(until.Add(o.Drain)):
		if meant.Before(from) {
			return
		}
		to.abandon(worker, began.Sub(meant))
		return
	}
	err := work(ctx, worker)
	if ctx.Err() != nil {
		return // the request was cancelled
	}
	over := time.Now()
	if o.Ended != nil && err == nil {
		over = o.Ended(worker)
	}
	to.record(worker, sent{meant: meant, began: began, ended: over, err: err}, from, until)
}

// arrive adds each arrival to the queue at its time, and returns the number of measured arrivals
// that were dropped because the queue was full.
func (o Open) arrive(ctx context.Context, arrivals chan<- time.Time, begin, from, until time.Time) (dropped uint64) {
	for i := 0; ; i++ {
		meant := begin.Add(arrival(o.Rate, i))
		if !meant.Before(until) {
			return dropped
		}
		for {
			left := time.Until(meant)
			if ctx.Err() != nil {
				return dropped
			}
			if left <= 0 {
				break
			}
			o.Sleep(min(left, longestSleep))
		}
		select {
		case arrivals <- meant:
		default:
			if !meant.Before(from) {
				dropped++
			}
		}
	}
}

// arrival returns the time from the start to the i-th request. It is computed from i each time, so
// that rounding errors do not accumulate.
func arrival(rate float64, i int) time.Duration {
	return time.Duration(float64(i) / rate * float64(time.Second))
}
