package benchrun

import (
	"context"
	"fmt"
	"slices"

	"tokenbroker/bench/load"
	"tokenbroker/bench/report"
)

// RefreshConfig says how sessions are refreshed.
type RefreshConfig struct {
	// Clients are the numbers of clients at once, one after the other. In an open loop each is
	// the bound on requests under way.
	Clients []int
	// Rate makes it an open loop of so many arrivals a second; 0: closed.
	Rate float64
	// Sessions is how many there are; 0: one for each client.
	Sessions int
}

// Refresh measures POST /auth/refresh/, each client with sessions of its own.
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
		what := fmt.Sprintf("refresh, %d at once", clients)
		own, peer := b.beside(ctx, what, in, b.refreshing(sessions, clients), floor)
		b.add(report.Run{Name: "refresh", Loop: kind, Concurrency: clients, Size: len(sessions)}, own, peer)
		if err := ended(ctx); err != nil {
			return err
		}
	}
	return nil
}

// refreshing is the work of refreshing each client's own sessions in turn.
func (b *Bench) refreshing(sessions []*browser, clients int) load.Work {
	of := newRing(sessions, clients)
	return func(ctx context.Context, worker int) error { return b.Server.refresh(ctx, of.take(worker)) }
}
