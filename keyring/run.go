package keyring

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"tokenbroker/keyring/lifecycle"
)

const (
	firstRetry = time.Second
	// shortestWait is the shortest time between two reads of the store by Run.
	shortestWait = 50 * time.Millisecond
	// overdueAfter is how late a rotation may be before it is reported as overdue.
	overdueAfter = time.Minute
)

// ApplyDue makes the changes that are due by the clock: rotations that are scheduled or whose next
// key is ready, removal of keys and master secrets that are no longer needed, the configured
// algorithm. It reads the record first, so that changes by other brokers of the store are in use
// afterwards. It returns its changes and when there is something to do again, zero if never.
// To follow other brokers' changes it has to be called more often, as [Keyring.Run] does. While the
// clock is not trusted ([Config.ClockTrusted]), it only reads the record.
//
// After an error (the store's; [lifecycle.ErrClockBehind]) the keyring continues with what it has,
// and [Keyring.Status] reports the error until ApplyDue succeeds.
func (k *Keyring) ApplyDue(ctx context.Context) (changes []lifecycle.Change, next time.Time, err error) {
	trusted := k.cfg.ClockTrusted == nil || k.cfg.ClockTrusted()
	p, changes, err := k.change(ctx, func(p *lifecycle.Plan) error {
		if !trusted {
			return nil
		}
		if !k.configured {
			if err := p.ConfigureAlgorithm(); err != nil && !errors.Is(err, lifecycle.ErrClockBehind) {
				return err
			}
		}
		return p.ApplyDue()
	})
	if err == nil && trusted {
		k.mu.Lock()
		k.configured = true
		k.mu.Unlock()
	}
	if !errors.Is(ctx.Err(), context.Canceled) {
		k.setFailure(err)
	}
	if p == nil {
		return nil, time.Time{}, fmt.Errorf("applying due changes of the keys: %w", err)
	}
	if !trusted {
		return nil, time.Time{}, nil
	}
	return changes, p.NextDue(), err
}

// Run calls ApplyDue when something is due, and often enough to follow other brokers of the
// store, until ctx ends. It returns ctx's error. Failures are logged once, reported by
// [Keyring.Status], and retried with back-off, at least as often as other brokers' changes have
// to be read. [Keyring.Refresh] makes it read at once.
func (k *Keyring) Run(ctx context.Context) error {
	poll := k.cfg.pollEvery()
	retry := min(firstRetry, poll)
	for {
		began := k.cfg.Mono()
		next, err := k.applyInTime(ctx)
		wait := max(poll-(k.cfg.Mono()-began), shortestWait) // from the beginning of one read to that of the next
		if err != nil && ctx.Err() == nil {
			wait = retry/2 + rand.N(retry/2) //nolint:gosec // spreads retries, no secret
			retry = min(2*retry, poll)
		} else {
			retry = min(firstRetry, poll)
			if due := next.Sub(k.cfg.Now()); !next.IsZero() && due < wait {
				wait = max(due, shortestWait)
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		case <-k.refresh:
			timer.Stop()
		}
	}
}

// applyInTime calls ApplyDue. On a shared store it stops when a read that began with it would be
// outdated, so that a read that hangs does not delay the next one.
func (k *Keyring) applyInTime(ctx context.Context) (next time.Time, err error) {
	if k.cfg.Shared {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, k.cfg.maxAge())
		defer cancel()
	}
	_, next, err = k.ApplyDue(ctx)
	return next, err
}

// Refresh makes [Keyring.Run] read the record soon, for example because another broker may have
// changed it. It never blocks: calls before the read are merged.
func (k *Keyring) Refresh() {
	select {
	case k.refresh <- struct{}{}:
	default:
	}
}

// setFailure keeps the outcome of an attempt for Status, and logs it when it changes.
func (k *Keyring) setFailure(err error) {
	k.statusMu.Lock()
	defer k.statusMu.Unlock()
	switch {
	case err != nil && k.failure == nil:
		k.since = k.cfg.Now()
		consequence := "the present ones sign on"
		if k.cfg.Shared {
			consequence = "the present ones sign until the keyring could not be read for " + k.cfg.maxAge().String()
		}
		k.cfg.Logger.Error("keys cannot be rotated; "+consequence, "err", err)
	case err == nil && k.failure != nil:
		k.since = time.Time{}
		k.cfg.Logger.Info("keys can be rotated again")
	}
	k.failure = err
}

// Status is the state of rotation. It does not decide whether the active keys sign: see [Keyring.Outdated].
type Status struct {
	// Err is why the last attempt failed, nil if it did not, and Since is when the failures began.
	Err   error
	Since time.Time
	// Overdue are the purposes whose rotation should have been made a minute ago.
	Overdue []lifecycle.Purpose
	// OldKeyUntil is, while something is overdue, when the old key will have signed twice as long
	// as scheduled. It is a deadline for operators: the key continues to sign after it. It is zero
	// without [Config.RotateEvery].
	OldKeyUntil time.Time
}

// Status returns the state of rotation.
func (k *Keyring) Status() Status {
	k.statusMu.Lock()
	s := Status{Err: k.failure, Since: k.since}
	k.statusMu.Unlock()
	p := k.plan(k.current.Load(), nil)
	s.Overdue, s.OldKeyUntil = p.Overdue(p.Now.Add(-overdueAfter))
	return s
}
