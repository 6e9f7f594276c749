// Package benchrun measures a token broker: one that it starts itself ([StartOwn]), in this
// process with a temporary store and an embedded NATS server, or one at a URL ([At]).
//
// A [Bench] adds runs to its report one by one, so that the report of a stopped benchmark has the runs
// until then. Each run alternates with its floor.
package benchrun

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tokenbroker/bench/load"
	"tokenbroker/bench/report"
)

// ErrUsage is returned for settings that a benchmark cannot use with this server.
var ErrUsage = errors.New("bench")

// Progress shows the progress of a benchmark. Add may be called by several goroutines.
type Progress interface {
	// Begin starts a phase with the given number of steps, which ends with End.
	Begin(what string, steps int)
	Add(steps int)
	End()
}

// Bench measures a server.
type Bench struct {
	Server   *Server
	Report   *report.Report
	Progress Progress
	// Warmup is the time before each measurement of Duration.
	Warmup, Duration time.Duration
	// Turns is how often a measurement and its floor alternate within Duration.
	Turns int
}

// tick is how often a phase that takes a known time reports its progress.
const tick = 100 * time.Millisecond

// withProgress runs f, which takes about the given time, and reports progress from a goroutine that ends
// with f.
func (b *Bench) withProgress(what string, takes time.Duration, f func()) {
	b.Progress.Begin(what, int(takes/tick))
	defer b.Progress.End()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(tick)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				b.Progress.Add(1)
			case <-stop:
				return
			}
		}
	}()
	f()
	close(stop)
	<-stopped
}

// loop is a load that can be run for a while: [load.Closed] or [load.Open].
type loop func(ctx context.Context, warmup, duration time.Duration, work load.Work) *load.Result

// closed returns a loop of workers that send requests without a pause.
func closed(workers int) loop {
	return func(ctx context.Context, warmup, duration time.Duration, work load.Work) *load.Result {
		return load.Closed{Workers: workers, Warmup: warmup, Duration: duration}.Run(ctx, work)
	}
}

// open returns a loop of arrivals at a constant rate, with a maximum number of concurrent requests.
func open(rate float64, workers int) loop {
	return func(ctx context.Context, warmup, duration time.Duration, work load.Work) *load.Result {
		return load.Open{Rate: rate, Workers: workers, Warmup: warmup, Duration: duration}.Run(ctx, work)
	}
}

// floorShare is the additional time for the floor, as a share of a benchmark's time.
const floorShare = 0.5

// laterWarmup is the warm-up of the turns after the first one.
const laterWarmup = 200 * time.Millisecond

// withFloor measures work and, if there is one, its floor in turns, so that another load on the machine
// slows both.
func (b *Bench) withFloor(ctx context.Context, what string, in loop, work load.Work, floorIn loop, floor load.Work) (own, peer *load.Result) {
	turns := max(b.Turns, 1)
	part, warmup := b.Duration/time.Duration(turns), b.Warmup
	takes := b.Warmup + b.Duration + time.Duration(turns-1)*min(b.Warmup, laterWarmup)
	if floor != nil {
		takes += time.Duration(float64(takes) * floorShare)
	}
	own, peer = load.NewResult(), load.NewResult()
	b.withProgress(what, takes, func() {
		for range turns {
			if ctx.Err() != nil {
				own.Interrupted = true
				return
			}
			own.Merge(in(ctx, warmup, part, work))
			if floor != nil && ctx.Err() == nil {
				peer.Merge(floorIn(ctx, time.Duration(float64(warmup)*floorShare), time.Duration(float64(part)*floorShare), floor))
			}
			warmup = min(b.Warmup, laterWarmup)
		}
	})
	return own, peer
}

// measure measures work and, if it is not nil, its floor in turns, and adds the run to the
// report. It returns an error when ctx has ended.
func (b *Bench) measure(ctx context.Context, what string, in loop, run report.Run, work, floor load.Work) error {
	own, peer := b.withFloor(ctx, what, in, work, in, floor)
	b.add(run, own, peer)
	return stopped(ctx)
}

// add adds a run to the report, unless nothing was measured.
func (b *Bench) add(run report.Run, own, floor *load.Result) {
	if own.Took <= 0 || own.Latency.Count()+int64(own.Failed)+int64(own.Dropped) == 0 {
		return
	}
	run.Measured = report.From(own)
	if floor != nil && floor.Service.Count() > 0 {
		run.Against(report.From(floor))
	}
	b.Report.Runs = append(b.Report.Runs, run)
}

// usage returns an error about the settings, which wraps [ErrUsage].
func usage(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUsage, fmt.Sprintf(format, args...))
}

// stopped returns an error if ctx ended, which stops a benchmark between two runs.
func stopped(ctx context.Context) error {
	if ctx.Err() != nil {
		return fmt.Errorf("the bench was stopped: %w", context.Cause(ctx))
	}
	return nil
}
