package benchrun

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"tokenbroker/bench/load"
	"tokenbroker/bench/report"
)

// RefreshConfig configures [Bench.Refresh].
type RefreshConfig struct {
	// Clients are the numbers of concurrent clients, measured one after the other. In an open loop each is
	// the maximum number of concurrent requests.
	Clients []int
	// Rate is the number of arrivals per second in an open loop. If 0, the loop is closed.
	Rate float64
	// Sessions is the number of sessions. If 0, there is one for each client.
	Sessions int
}

// Refresh measures POST /auth/refresh/, each client with its own sessions.
func (b *Bench) Refresh(ctx context.Context, cfg RefreshConfig) error {
	b.Report.SizeOf = "sessions"
	most := slices.Max(cfg.Clients)
	sessions, err := b.signIn(ctx, max(cfg.Sessions, most))
	defer func() { b.signOut(ctx, sessions) }()
	if err != nil {
		return err
	}
	floor, stop, err := b.refreshFloor()
	if err != nil {
		return err
	}
	defer stop()
	for _, clients := range cfg.Clients {
		in, kind := closed(clients), "closed"
		if cfg.Rate > 0 {
			in, kind = open(cfg.Rate, clients), "open"
		}
		run := report.Run{Name: "refresh", Loop: kind, Concurrency: clients, Size: len(sessions)}
		what := fmt.Sprintf("refresh, %d at once", clients)
		if err := b.measure(ctx, what, in, run, b.refreshing(sessions, clients), floor); err != nil {
			return err
		}
	}
	return nil
}

// refreshing returns the work of refreshing each client's own sessions in turn.
func (b *Bench) refreshing(sessions []*browser, clients int) load.Work {
	of := newRing(sessions, clients)
	return func(ctx context.Context, worker int) error { return b.Server.refresh(ctx, of.take(worker)) }
}

// GrowthConfig configures [Bench.Growth].
type GrowthConfig struct {
	// Sizes are in ascending order.
	Sizes   []int
	Clients int
}

// Growth measures refreshes in a closed loop with an increasing number of sessions in the store of an own
// server, and fits how the cost grows.
func (b *Bench) Growth(ctx context.Context, cfg GrowthConfig) error {
	if !b.Server.Own() {
		return usage("--sizes fills the store with sessions, which is possible only at the benchmark's own server, not at --url")
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
		run := report.Run{Name: string(OperationRefresh), Loop: "closed", Concurrency: clients, Size: n}
		err = b.measure(ctx, fmt.Sprintf("refresh, %d sessions", n), closed(clients), run, b.refreshing(sessions, clients), floor)
		b.Report.FitGrowth(string(OperationRefresh))
		if err != nil {
			return err
		}
	}
	return nil
}

// refreshFloor returns the floor of refreshes. The caller must call stop.
func (b *Bench) refreshFloor() (work load.Work, stop func(), err error) {
	if !b.Server.Own() {
		return b.liveFloor(), func() {}, nil
	}
	h, err := startHandler()
	if err != nil {
		return nil, nil, err
	}
	b.Report.Floor = floorSignature
	return h.work(signPath, `{"CSRF_token":"`+strings.Repeat("c", 43)+`"}`), h.stop, nil
}
