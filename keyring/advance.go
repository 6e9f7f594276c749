package keyring

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	firstRetry = time.Second
	// shortestWait bounds how often Run looks, whatever a plan says.
	shortestWait = 50 * time.Millisecond
	// overdueAfter is how late a rotation may be before somebody is told.
	overdueAfter = time.Minute
)

// Advance does what is due by the clock: rotations that are ripe or planned, keys and master
// secrets that are needed no longer, the configured algorithm. It reads the record first, so
// that what other brokers of the store did is in use from then on. It returns what it did
// and when there is something to do again, zero for never; other brokers' changes want it
// called more often, as [Keyring.Run] does.
//
// On an error (the store's; [ErrClockBehind]) the keyring goes on with what it has, and
// [Keyring.Status] says so until it succeeds.
func (k *Keyring) Advance(ctx context.Context) (changes []Change, next time.Time, err error) {
	p, err := k.change(ctx, func(p *plan) error {
		if !k.configured {
			if err := p.configure(); err != nil && !errors.Is(err, ErrClockBehind) {
				return err
			}
		}
		return p.advance()
	})
	if err == nil {
		k.mu.Lock()
		k.configured = true
		k.mu.Unlock()
	}
	if ctx.Err() == nil {
		k.remember(err)
	}
	if p == nil {
		return nil, time.Time{}, fmt.Errorf("advancing the keys: %w", err)
	}
	return p.changes, p.next(), err
}

// Run calls Advance when something is due, and often enough to follow other brokers of the
// store, until ctx ends. It returns ctx's error. Failures are logged once, seen in
// [Keyring.Status], and tried again with back-off: never later than other brokers' changes
// must be known.
func (k *Keyring) Run(ctx context.Context) error {
	poll := k.cfg.margin() / 3
	retry := min(firstRetry, poll)
	for {
		_, next, err := k.Advance(ctx)
		wait := poll
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
		}
	}
}

// remember keeps the outcome of an attempt for Status, and tells the log when it changes.
func (k *Keyring) remember(err error) {
	k.statusMu.Lock()
	defer k.statusMu.Unlock()
	switch {
	case err != nil && k.failure == nil:
		k.since = k.cfg.Now()
		k.cfg.Logger.Error("keys cannot be rotated; the present ones sign on", "err", err)
	case err == nil && k.failure != nil:
		k.since = time.Time{}
		k.cfg.Logger.Info("keys can be rotated again")
	}
	k.failure = err
}

// Status is how rotation goes. Signing goes on whatever it says.
type Status struct {
	// Err is why the last attempt failed, nil if it did not, and Since when that began.
	Err   error
	Since time.Time
	// Overdue are the purposes whose rotation should have been made a minute ago.
	Overdue []Purpose
	// OldKeyUntil is, while something is overdue, how long the old key may sign before it
	// has signed twice as long as planned. It is a deadline for people: the key signs on
	// after it. Zero without RotateEvery.
	OldKeyUntil time.Time
}

// Status tells how rotation goes.
func (k *Keyring) Status() Status {
	p := k.plan(k.Snapshot(), stock{})
	k.statusMu.Lock()
	s := Status{Err: k.failure, Since: k.since}
	k.statusMu.Unlock()
	for _, purpose := range []Purpose{PurposeAccess, PurposeFeed, PurposeMaster} {
		at := p.promised(purpose)
		if at.IsZero() || p.now.Before(at.Add(overdueAfter)) {
			continue
		}
		s.Overdue = append(s.Overdue, purpose)
		until := p.twice(purpose)
		if s.OldKeyUntil.IsZero() || !until.IsZero() && until.Before(s.OldKeyUntil) {
			s.OldKeyUntil = until
		}
	}
	return s
}
