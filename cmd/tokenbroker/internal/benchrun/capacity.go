package benchrun

import (
	"context"
	"fmt"

	"tokenbroker/bench/curve"
	"tokenbroker/bench/load"
	"tokenbroker/bench/report"
)

// CapacityConfig says how the knee is searched.
type CapacityConfig struct {
	Operation Operation
	// Clients bounds the requests under way.
	Clients int
	Ramp    curve.Ramp
	Limits  curve.Limits
}

// floorClients is how many clients the floor of a ramp has, in a closed loop.
const floorClients = 64

// Capacity raises the rate of arrivals until the server does not keep the limits, and says at
// which rate it still did.
func (b *Bench) Capacity(ctx context.Context, cfg CapacityConfig) error {
	work, floor, stop, err := b.operation(ctx, cfg.Operation, cfg.Clients)
	defer stop()
	if err != nil {
		return err
	}
	var floorRate float64
	if floor != nil {
		b.during("floor", b.Warmup+b.Duration/2, func() {
			floorRate = closed(floorClients)(ctx, b.Warmup, b.Duration/2, floor).Rate()
		})
	}
	var levels []curve.Level
	for rate, more := cfg.Ramp.Next(0, false); more; {
		kept := false
		for try := 0; try < levelTries && !kept; try++ {
			var got *load.Result
			b.during(fmt.Sprintf("%s, %.0f a second", cfg.Operation, rate), b.Warmup+b.Duration, func() {
				got = open(rate, cfg.Clients)(ctx, b.Warmup, b.Duration, work)
			})
			if err := ended(ctx); err != nil {
				return err // a level cut short has no say
			}
			level := levelOf(rate, got)
			levels = append(levels, level)
			var broken string
			broken, kept = cfg.Limits.Kept(level)
			b.add(report.Run{Name: string(cfg.Operation), Loop: "open", Concurrency: cfg.Clients, Kept: new(kept), Broken: broken}, got, nil)
			b.Report.Knee = kneeOf(levels, cfg.Limits, floorRate)
		}
		rate, more = cfg.Ramp.Next(rate, kept)
	}
	return nil
}

// levelTries is how often a level is measured before it counts as broken: a busy neighbour
// may have broken it.
const levelTries = 2

// levelOf is what a ramp has to know of a load.
func levelOf(rate float64, r *load.Result) curve.Level {
	return curve.Level{
		Offered: rate, Achieved: r.Rate(), P99: r.Latency.Quantile(0.99), Failed: r.Failed, Dropped: r.Dropped + r.Abandoned,
	}
}

func kneeOf(levels []curve.Level, limits curve.Limits, floorRate float64) *report.Knee {
	knee := &report.Knee{SLOUS: report.US(limits.P99), AchievedShare: limits.Achieved, Highest: true}
	best, found := curve.Knee(levels, limits)
	if !found {
		knee.Highest = false
		return knee
	}
	for _, level := range levels {
		knee.Highest = knee.Highest && level.Offered <= best.Offered
	}
	knee.Found, knee.PerS, knee.P99US = true, best.Offered, report.US(best.P99)
	if floorRate > 0 {
		knee.OfFloor = best.Offered / floorRate
	}
	return knee
}

// GrowthConfig says at which numbers of sessions the cost of a refresh is measured.
type GrowthConfig struct {
	// Sizes are in rising order.
	Sizes   []int
	Clients int
}

// Growth measures refreshes, in a closed loop, with more and more sessions in an own server's
// store, and fits how the cost grows.
func (b *Bench) Growth(ctx context.Context, cfg GrowthConfig) error {
	if !b.Server.Own() {
		return usage("--sizes fills the store with sessions: that is for the bench's own server, not for --url")
	}
	b.Report.SizeOf = "sessions"
	floor, stop, err := b.refreshFloor()
	if err != nil {
		return err
	}
	defer stop()
	var sessions []*browser
	for _, n := range cfg.Sizes {
		more, err := b.signIn(ctx, max(n-len(sessions), 0))
		if err != nil {
			return err
		}
		sessions = append(sessions, more...)
		clients := min(cfg.Clients, n)
		own, peer := b.beside(ctx, fmt.Sprintf("refresh, %d sessions", n), closed(clients), b.refreshing(sessions, clients), floor)
		b.add(report.Run{Name: string(OperationRefresh), Loop: "closed", Concurrency: clients, Size: n}, own, peer)
		b.Report.FitGrowth(string(OperationRefresh))
		if err := ended(ctx); err != nil {
			return err
		}
	}
	return nil
}
