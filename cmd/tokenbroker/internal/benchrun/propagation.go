package benchrun

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"tokenbroker/bench/load"
	"tokenbroker/bench/report"
	"tokenbroker/cmd/tokenbroker/internal/adminclient"
	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/revocation"
	"tokenbroker/validator"
)

// PropagationConfig configures [Bench.Propagation].
type PropagationConfig struct {
	// Subscribers are the numbers of validators in this process, measured one after the other. Each
	// validator has its own connection.
	Subscribers []int
	// Rate is the number of sessions that end per second.
	Rate float64
	// By is ByLogOff or, with an own server, ByRevoke.
	By string
}

// The ways to end a session: its browser's POST /auth/logoff/, and an operator's POST
// /admin/v1/revocations.
const (
	ByLogOff = "log-off"
	ByRevoke = "revoke"
)

const (
	// propagationWorkers is the maximum number of concurrent log-offs.
	propagationWorkers = 64
	// subscriberTokens is the number of tokens that each subscriber remembers. It is small, because tokens
	// are bound and not validated again.
	subscriberTokens = 1000
)

// Propagation measures how long the end of a session takes from the request until the last of
// the subscribers refuses the session's token.
func (b *Bench) Propagation(ctx context.Context, cfg PropagationConfig) error {
	if err := b.Server.hasService(); err != nil {
		return err
	}
	end, stop, err := b.Server.sessionEnder(cfg.By)
	if err != nil {
		return err
	}
	defer stop()
	b.Report.SizeOf = "subscribers"
	for _, n := range cfg.Subscribers {
		if err := b.propagateTo(ctx, n, cfg, end); err != nil {
			return err
		}
	}
	return nil
}

// propagateTo measures that number of subscribers with new sessions, each of which ends once.
func (b *Bench) propagateTo(ctx context.Context, subscribers int, cfg PropagationConfig, end sessionEnder) error {
	turns := max(b.Turns, 1)
	perTurn := (b.Warmup + b.Duration/time.Duration(turns)).Seconds() * cfg.Rate
	sessions, err := b.signIn(ctx, turns*(int(math.Ceil(perTurn))+1))
	defer func() { b.signOut(ctx, sessions) }()
	if err != nil {
		return err
	}
	services, err := b.subscribe(ctx, sessions[0].token, subscribers)
	defer closeAll(services)
	if err != nil {
		return err
	}
	heard := make([]time.Time, propagationWorkers)
	p := &propagation{end: end, services: services, sessions: sessions, ended: heard}
	if err := p.bind(ctx, b.Progress); err != nil {
		return err
	}
	floor, stop, err := b.propagationFloor(subscribers, heard)
	if err != nil {
		return err
	}
	defer stop()
	in := func(ctx context.Context, warmup, duration time.Duration, work load.Work) *load.Result {
		return load.Open{
			Rate: cfg.Rate, Workers: propagationWorkers, Warmup: warmup, Duration: duration,
			Ended: func(worker int) time.Time { return heard[worker] },
		}.Run(ctx, work)
	}
	run := report.Run{Name: cfg.By + " to refused", Loop: "open", Concurrency: propagationWorkers, Size: subscribers}
	return b.measure(ctx, fmt.Sprintf("%s, %d subscribers", cfg.By, subscribers), in, run, p.endNext, floor)
}

// subscribe starts n validators, a few at a time. With an error it also returns those that run.
func (b *Bench) subscribe(ctx context.Context, token string, n int) ([]*validator.Validator, error) {
	b.Progress.Begin("subscribe", n)
	defer b.Progress.End()
	const atOnce = 8
	var mu sync.Mutex // guards services
	var services []*validator.Validator
	err := each(ctx, n, atOnce, func(ctx context.Context, i int) error {
		v, err := b.newValidator(ctx, token, fmt.Sprintf("bench-%03d", i), subscriberTokens)
		if err != nil {
			return err
		}
		b.Progress.Add(1)
		mu.Lock()
		defer mu.Unlock()
		services = append(services, v)
		return nil
	})
	return services, err
}

func closeAll(services []*validator.Validator) {
	var all sync.WaitGroup
	for _, v := range services {
		all.Go(v.Close)
	}
	all.Wait()
}

// propagation ends sessions and waits for the subscribers.
type propagation struct {
	end        sessionEnder
	services   []*validator.Validator
	sessions   []*browser
	deliveries []*delivery // one for each session
	next       atomic.Int64
	ended      []time.Time // by worker, when its last log-off had reached every subscriber
}

// bind binds every session's token in every subscriber, as for a stream that was opened with it: the
// context ends at the moment from which the token is refused.
func (p *propagation) bind(ctx context.Context, progress Progress) error {
	progress.Begin("bind tokens", len(p.sessions))
	defer progress.End()
	p.deliveries = make([]*delivery, len(p.sessions))
	return each(ctx, len(p.sessions), 2, func(ctx context.Context, i int) error {
		claims, err := p.services[0].Validate(ctx, p.sessions[i].token)
		if err != nil {
			return fmt.Errorf("validating a token: %w", err)
		}
		h := newDelivery(len(p.services))
		for _, v := range p.services {
			bound, _ := v.Bind(context.Background(), claims) // freed when the validator is closed
			context.AfterFunc(bound, func() {
				if errors.Is(context.Cause(bound), validator.ErrRevoked) {
					h.received()
				}
			})
		}
		p.deliveries[i] = h
		progress.Add(1)
		return nil
	})
}

var (
	errNoSessions = errors.New("no session is left to end")
	errAccepted   = errors.New("a subscriber that received the revocation accepts the token")
)

// endNext ends the next session, waits until all subscribers refuse its token, and records when the last
// one did, which may be before the response arrives. It then validates the token at one of them as a
// check.
func (p *propagation) endNext(ctx context.Context, worker int) error {
	i := int(p.next.Add(1)) - 1
	if i >= len(p.sessions) {
		return errNoSessions
	}
	if err := p.end(ctx, p.sessions[i]); err != nil {
		return err
	}
	ended, err := p.deliveries[i].wait(ctx)
	if err != nil {
		return err
	}
	p.ended[worker] = ended
	if _, err := p.services[i%len(p.services)].Validate(ctx, p.sessions[i].token); !errors.Is(err, validator.ErrRevoked) {
		return errAccepted
	}
	return nil
}

// propagationFloor returns the floor of a log-off and the function that stops it.
func (b *Bench) propagationFloor(subscribers int, heard []time.Time) (load.Work, func(), error) {
	if !b.Server.Own() {
		live := b.liveFloor()
		return func(ctx context.Context, worker int) error {
			err := live(ctx, worker)
			heard[worker] = time.Now()
			return err
		}, func() {}, nil
	}
	b.Report.Floor = floorBroadcast
	raw, err := newRawBroadcast(b.Server.options.NATS.URL, b.Server.dataDir, subscribers, heard)
	if err != nil {
		return nil, nil, err
	}
	return raw.publish, raw.stop, nil
}

// sessionEnder ends a session and its tokens everywhere.
type sessionEnder func(ctx context.Context, b *browser) error

// sessionEnder returns the function that ends sessions; the caller calls stop.
func (s *Server) sessionEnder(by string) (end sessionEnder, stop func(), err error) {
	if by == ByLogOff {
		return s.logOff, func() {}, nil
	}
	if !s.Own() {
		return nil, nil, usage("--by revoke uses the admin API, which is available only at the benchmark's own server, not at --url")
	}
	client, err := adminclient.Locate(adminclient.Options{
		Admin: s.own.AdminURL(), TokenFile: filepath.Join(s.dataDir, node.AdminTokenFile),
	})
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context, b *browser) error {
		_, err := client.Revoke(ctx, adminclient.Revocation{Kind: revocation.KindSID, Value: b.sid})
		return err
	}, client.Close, nil
}
