package benchrun

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tokenbroker/bench/load"
	"tokenbroker/bench/report"
	"tokenbroker/validator"
)

// ValidateConfig configures [Bench.Validate].
type ValidateConfig struct {
	// Tokens are the numbers of live tokens that a validator has seen before, measured one after the
	// other. Goroutines are the numbers of goroutines that validate at once.
	Tokens, Goroutines []int
}

// The names of the runs.
const (
	seenBefore = "seen before"
	firstSight = "first sight"
)

// A validator validates sightTokens tokens in turn and remembers sightRemembers of them, so that a token
// is no longer remembered when its turn comes again.
const (
	sightTokens    = 2000
	sightRemembers = 128
)

// Validate measures a service's validator in this process, to which the server sends keys and revocations:
// tokens that it has seen before, compared with time.Since, and tokens that it sees for the first time,
// compared with only the signature check.
func (b *Bench) Validate(ctx context.Context, cfg ValidateConfig) error {
	if err := b.Server.hasService(); err != nil {
		return err
	}
	b.Report.SizeOf = "tokens"
	b.Report.Floor = "time.Since, or the signature: one time.Since for a token seen before, the raw signature check for one seen for the first time"
	b.Report.Notes = append(b.Report.Notes, fmt.Sprintf("seen before: the percentiles are of means of %d calls, with the tokens in random order", batch))
	tokens, sessions, err := b.tokens(ctx, max(slices.Max(cfg.Tokens), sightTokens))
	defer func() { b.signOut(ctx, sessions) }()
	if err != nil {
		return err
	}
	for _, n := range cfg.Tokens {
		if err := b.seenBefore(ctx, tokens[:n], cfg.Goroutines); err != nil {
			return err
		}
	}
	b.Report.FitGrowth(seenBefore)
	return b.firstSights(ctx, tokens[:sightTokens], cfg.Goroutines)
}

// newValidator starts a service's validator with a cache of remembers tokens; the caller closes it.
func (b *Bench) newValidator(ctx context.Context, token, service string, remembers int) (*validator.Validator, error) {
	aud, err := audience(token)
	if err != nil {
		return nil, err
	}
	v, err := validator.New(ctx, validator.Config{
		Issuer: b.Server.URL(), Audience: aud, Client: b.Server.options.Service, Service: service,
		Feed: b.Server.feed(), CacheSize: remembers, DenylistSize: 100_000, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		return nil, fmt.Errorf("starting a validator: %w", err)
	}
	return v, nil
}

// seenBefore measures tokens that the validator remembers.
func (b *Bench) seenBefore(ctx context.Context, tokens []string, goroutines []int) error {
	v, err := b.newValidator(ctx, tokens[0], "bench", 2*len(tokens)+1000)
	if err != nil {
		return err
	}
	defer v.Close()
	if err := each(ctx, len(tokens), slices.Max(goroutines), func(ctx context.Context, i int) error {
		_, err := v.Validate(ctx, tokens[i])
		return err
	}); err != nil {
		return fmt.Errorf("validating for the first time: %w", err)
	}
	for _, n := range goroutines {
		before := v.Stats().Verified
		what := fmt.Sprintf("%s, %d tokens, %d goroutines", seenBefore, len(tokens), n)
		own, floor := b.callsWithFloor(ctx, what, n,
			batches(batch, len(tokens), func(i int) error { _, err := v.Validate(ctx, tokens[i]); return err }),
			batches(batch, len(tokens), sinceBegin))
		b.add(report.Run{Name: seenBefore, Loop: "closed", Concurrency: n, Size: len(tokens)}, own, floor)
		if again := v.Stats().Verified - before; again > 0 {
			b.Report.Notes = append(b.Report.Notes, fmt.Sprintf("%s: %d signatures were checked again", what, again))
		}
		if err := stopped(ctx); err != nil {
			return err
		}
	}
	return nil
}

// firstSights measures tokens that the validator does not remember.
func (b *Bench) firstSights(ctx context.Context, tokens []string, goroutines []int) error {
	v, err := b.newValidator(ctx, tokens[0], "bench", sightRemembers)
	if err != nil {
		return err
	}
	defer v.Close()
	raw, err := b.Server.fetchRawSignature(ctx, tokens[0])
	if err != nil {
		return err
	}
	prepared := make([]signedToken, len(tokens))
	for i, token := range tokens {
		if prepared[i], err = raw.prepare(token); err != nil {
			return err
		}
	}
	for _, n := range goroutines {
		before := v.Stats().Verified
		what := fmt.Sprintf("%s, %d goroutines", firstSight, n)
		own, floor := b.callsWithFloor(ctx, what, n,
			batches(1, len(tokens), func(i int) error { _, err := v.Validate(ctx, tokens[i]); return err }),
			batches(1, len(tokens), func(i int) error { return raw.check(prepared[i]) }))
		b.add(report.Run{Name: firstSight, Loop: "closed", Concurrency: n}, own, floor)
		if calls := float64(own.Service.Count()); ctx.Err() == nil && float64(v.Stats().Verified-before) < 0.9*calls {
			b.Report.Notes = append(b.Report.Notes, what+": more than a tenth of the tokens were still remembered")
		}
		if err := stopped(ctx); err != nil {
			return err
		}
	}
	return nil
}

// batch is the number of calls that are timed together, because a single call takes less time than reading
// the clock.
const batch = 1000

// sinceBegin is the floor of a token seen before, whose expiry cannot be checked with less.
func sinceBegin(int) error {
	if time.Since(processBegan) < 0 {
		return errors.New("the monotonic clock went backwards")
	}
	return nil
}

var processBegan = time.Now()

// timedCalls makes at least some calls until the time is over, and adds their times to h.
type timedCalls func(ctx context.Context, h load.Histogram, until time.Time) error

// batches calls f with the numbers below n, in random order, and times size calls together. Several
// goroutines may use it at once. They start far from each other, so that none follows shortly after
// another and finds its tokens remembered.
func batches(size, n int, f func(i int) error) timedCalls {
	const golden = 0.6180339887 // multiples of it, modulo 1, are evenly spread
	var begun atomic.Int64
	order := rand.Perm(n) //nolint:gosec // an order, no secret
	for len(order) < batch {
		order = append(order, order...)
	}
	return func(ctx context.Context, h load.Histogram, until time.Time) error {
		at := int(golden*float64(begun.Add(1))*float64(len(order))) % len(order)
		for first := true; ctx.Err() == nil; first = false {
			began := time.Now()
			if !first && !began.Before(until) {
				return nil
			}
			for range size {
				if err := f(order[at]); err != nil {
					return err
				}
				if at++; at == len(order) {
					at = 0
				}
			}
			h.RecordMany(time.Since(began)/time.Duration(size), int64(size))
		}
		return nil
	}
}

// callsWithFloor is [Bench.withFloor] for calls that are too short to be measured one by one.
func (b *Bench) callsWithFloor(ctx context.Context, what string, goroutines int, own, floor timedCalls) (mine, peer *load.Result) {
	mine, peer = load.NewResult(), load.NewResult()
	turns := max(b.Turns, 1)
	part := b.Duration / time.Duration(turns)
	b.withProgress(what, b.Warmup+b.Duration+b.Duration/2, func() {
		calls(ctx, goroutines, b.Warmup, own)
		for range turns {
			mine.Merge(calls(ctx, goroutines, part, own))
			peer.Merge(calls(ctx, goroutines, part/2, floor))
		}
	})
	return mine, peer
}

// calls runs the goroutines for the time d and waits for them.
func calls(ctx context.Context, goroutines int, d time.Duration, run timedCalls) *load.Result {
	var group sync.WaitGroup
	var mu sync.Mutex // guards all
	all := load.NewResult()
	began := time.Now()
	for range goroutines {
		group.Go(func() {
			h := load.NewHistogram()
			err := run(ctx, h, began.Add(d))
			mu.Lock()
			defer mu.Unlock()
			all.Latency.Merge(h)
			if err != nil && ctx.Err() == nil {
				all.Failed++
				all.FirstError = errors.Join(all.FirstError, err)
			}
		})
	}
	group.Wait()
	all.Took = time.Since(began)
	all.Service, all.InTime = all.Latency, uint64(all.Latency.Count())
	all.Interrupted = ctx.Err() != nil
	return all
}
