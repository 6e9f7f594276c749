package load

import (
	"context"
	"sync"
	"time"
)

// Work is one request. A worker has one under way at a time, so that what belongs to its
// number needs no lock. It returns soon after ctx has ended.
type Work func(ctx context.Context, worker int) error

// Closed is a closed loop: each worker asks again as soon as it was answered.
type Closed struct {
	Workers int
	// Warmup is not measured, Duration is.
	Warmup, Duration time.Duration
}

// Run works until the time is over or ctx ends, and returns what was measured until then. Where the
// requests of the warm-up take all of the time, each worker measures one more. Run owns a goroutine for
// each worker, and waits for them.
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
					return // whatever it says was cut off
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

// errorPause keeps a worker that is refused from asking in a tight loop.
const errorPause = 10 * time.Millisecond

func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(errorPause):
	}
}

// finish says how long was measured.
func (r *Result) finish(ctx context.Context, from, until time.Time) {
	r.Took = until.Sub(from)
	if now := time.Now(); ctx.Err() != nil && now.Before(until) {
		r.Interrupted = true
		r.Took = max(now.Sub(from), 0)
	}
}
