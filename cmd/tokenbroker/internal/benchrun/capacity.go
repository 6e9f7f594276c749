package benchrun

import (
	"context"
	"fmt"
	"runtime"
	"strings"

	"tokenbroker/bench/curve"
	"tokenbroker/bench/load"
	"tokenbroker/bench/report"
	"tokenbroker/broker/password"
)

// CapacityConfig configures [Bench.Capacity].
type CapacityConfig struct {
	Operation Operation
	// Clients is the maximum number of concurrent requests.
	Clients int
	Ramp    curve.Ramp
	Limits  curve.Limits
}

// floorClients is the number of clients of a ramp's floor, which is measured in a closed loop.
const floorClients = 64

// Capacity raises the rate of arrivals until the server does not keep the limits, and reports the
// highest rate at which it did.
func (b *Bench) Capacity(ctx context.Context, cfg CapacityConfig) error {
	work, floor, stop, err := b.operation(ctx, cfg.Operation, cfg.Clients)
	defer stop()
	if err != nil {
		return err
	}
	var floorRate float64
	if floor != nil {
		b.withProgress("floor", b.Warmup+b.Duration/2, func() {
			floorRate = closed(floorClients)(ctx, b.Warmup, b.Duration/2, floor).Rate()
		})
	}
	var levels []curve.Level
	for rate, more := cfg.Ramp.Next(0, false); more; {
		kept := false
		for try := 0; try < levelTries && !kept; try++ {
			var got *load.Result
			b.withProgress(fmt.Sprintf("%s, %.0f a second", cfg.Operation, rate), b.Warmup+b.Duration, func() {
				got = open(rate, cfg.Clients)(ctx, b.Warmup, b.Duration, work)
			})
			if err := stopped(ctx); err != nil {
				return err // an incomplete level does not count
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

// levelTries is how often a level is measured before it counts as failed, because another load on the
// machine may be the cause.
const levelTries = 2

// levelOf returns the level of a load for a ramp.
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

// Operation is the request that a capacity benchmark makes.
type Operation string

// The operations.
const (
	OperationRefresh Operation = "refresh"
	OperationVerify  Operation = "verify"
	OperationSignIn  Operation = "sign-in"
)

// Operations are all operations.
var Operations = []Operation{OperationRefresh, OperationVerify, OperationSignIn}

// operation returns the work of the clients and its floor. stop is never nil.
func (b *Bench) operation(ctx context.Context, op Operation, clients int) (work, floor load.Work, stop func(), err error) {
	if op == OperationSignIn {
		work, floor, err = b.signInWork(ctx, clients)
		return work, floor, func() {}, err
	}
	sessions, err := b.signIn(ctx, clients)
	stop = func() { b.signOut(ctx, sessions) }
	if err != nil {
		return nil, nil, stop, err
	}
	floor, stopFloor, err := b.refreshFloor()
	if err != nil {
		return nil, nil, stop, err
	}
	work = b.refreshing(sessions, clients)
	if op == OperationVerify {
		work = b.verifying(sessions)
		if b.Server.Own() {
			stopFloor()
			if floor, stopFloor, err = b.echoFloor(`{"token":"` + sessions[0].token + `"}`); err != nil {
				return nil, nil, stop, err
			}
		}
	}
	return work, floor, func() { stopFloor(); b.signOut(ctx, sessions) }, nil
}

// verifying returns the work of having each client's token verified over HTTP.
func (b *Bench) verifying(sessions []*browser) load.Work {
	return func(ctx context.Context, worker int) error {
		return b.Server.verify(ctx, sessions[worker].token)
	}
}

// echoFloor is a handler that receives that body and does nothing.
func (b *Bench) echoFloor(body string) (load.Work, func(), error) {
	h, err := startHandler()
	if err != nil {
		return nil, nil, err
	}
	b.Report.Floor = floorBytes
	return h.work(echoPath, body), h.stop, nil
}

// signInWork signs in each client's own user over HTTP, at an own server. A server at a URL has only one
// user, whose throttle allows only a few sign-ins at once and who would keep all the sessions.
func (b *Bench) signInWork(ctx context.Context, clients int) (work, floor load.Work, err error) {
	s := b.Server
	if !s.Own() {
		return nil, nil, usage("--operation sign-in is only for the benchmark's own server: at --url it would open ever more sessions of one user")
	}
	if clients > ownUsers {
		return nil, nil, usage("--operation sign-in: want at most %d --clients, a user for each", ownUsers)
	}
	b.Progress.Begin("add users", 1)
	err = s.addUsers(ctx, clients)
	b.Progress.End()
	if err != nil {
		return nil, nil, err
	}
	b.Report.Floor = floorPassword
	b.Report.Notes = append(b.Report.Notes, fmt.Sprintf("passwords cost what they do in service: argon2id with %d MiB and %d passes", s.params.Memory/1024, s.params.Time))
	hasher := password.New(s.params, runtime.GOMAXPROCS(0), floorClients, 0)
	return func(ctx context.Context, worker int) error {
			_, err := s.post(ctx, "/auth/sign-in/", signInBody(Account{ownUser(worker), ownPassword}), "")
			return err
		}, func(ctx context.Context, _ int) error {
			_, err := hasher.Hash(ctx, strings.Repeat("p", len(ownPassword)))
			return err
		}, nil
}
