package validator

import (
	"errors"
	"fmt"
	"time"

	"tokenbroker/revocation"
)

// view is an immutable snapshot of what is known, published through one atomic pointer.
type view struct {
	// version is the denylist's; it changes whenever an entry or the keys change.
	version uint64
	// asOf is the latest monotonic time (see monotonic) before which every acknowledged
	// revocation is known to be applied.
	asOf time.Duration
	// atMS is the broker's clock (Unix ms) at asOf: the broker's time now is
	// atMS + (monotonic() - asOf) in milliseconds.
	atMS int64
	// unproved says that asOf proves nothing now (no catch-up yet, a suspended machine or a
	// stepped clock, two stores for one issuer), so the view is stale regardless of asOf.
	unproved bool
	// reason says why nothing is proved although answers arrive, see [revocation.State].
	reason string
	// wallOffsetMS is the wall clock (Unix ms) minus monotonic() (ms) at the last reset. A
	// route with its own bound compares it with the clocks at each request: 250 ms
	// apart is stale.
	wallOffsetMS int64
	// maxLifetime is the issuer's access_token_max_lifetime.
	maxLifetime time.Duration
	// speaker is the origin of the broker that is heard, for receipts.
	speaker string
}

// fresh reports whether everything acknowledged more than bound before now is applied.
func (v *view) fresh(now, bound time.Duration) bool {
	return !v.unproved && now-v.asOf <= bound
}

// brokerMS returns the broker's clock (Unix ms) at the monotonic time now.
func (v *view) brokerMS(now time.Duration) int64 {
	return v.atMS + (now - v.asOf).Milliseconds()
}

var processBase = time.Now()

// monotonic returns the time since the process started, by the monotonic clock.
func monotonic() time.Duration { return time.Since(processBase) }

// clocksApartMS is the difference between the wall and the monotonic clock from which on the
// machine is considered to have been suspended, or its clock to have been stepped.
const clocksApartMS = 250

// read implements [backend].
func (s *syncer) read(own time.Duration) reading {
	return s.now.Load().read(s.denied, s.cfg.MaxStaleness, own, s.wall)
}

// age implements [backend].
func (s *syncer) age() time.Duration { return monotonic() - s.now.Load().asOf }

// read checks freshness at the moment of the call by the monotonic clock, so a process that was stopped
// for a while detects that it is stale. It takes the version from the denylist itself: an event is in
// force when Apply returns, before the next view is made.
func (v *view) read(deny *revocation.Denylist, maxStaleness, own time.Duration, wall func() time.Time) reading {
	now := monotonic()
	return reading{
		version:     deny.Version(),
		nowMS:       v.brokerMS(now),
		maxLifetime: v.maxLifetime,
		fresh:       v.fresh(now, maxStaleness) && (own == 0 || v.meets(own, now, wall)),
	}
}

// meets is the part of the check that only a call with its own bound makes: it also compares the machine's
// clocks.
func (v *view) meets(own, now time.Duration, wall func() time.Time) bool {
	together := func(i revocation.Instant) bool {
		apart := i.WallMS - i.Mono.Milliseconds() - v.wallOffsetMS
		return -clocksApartMS < apart && apart < clocksApartMS
	}
	// The first reading is cheap. On a busy machine the thread may have been stopped in it.
	return v.fresh(now, own) &&
		(together(revocation.Instant{Mono: now, WallMS: wall().UnixMilli()}) || together(revocation.ReadInstant(monotonic, wall)))
}

// publish stores the present knowledge for readers, and logs a change of state.
func (s *syncer) publish() {
	now := s.readClocks()
	state := s.tracker.State(now)
	s.counts.track(state)
	v := view{
		version:      s.denied.Version(),
		asOf:         state.AsOf,
		atMS:         state.AtMS,
		unproved:     !state.Proved,
		reason:       state.Reason,
		wallOffsetMS: state.WallOffsetMS,
		maxLifetime:  s.tokens.maxLifetime(),
		speaker:      state.Speaker,
	}
	old := s.now.Load()
	if state.AtMS == 0 { // no origin has a proof any more: the clock continues from the last one
		v.asOf, v.atMS = old.asOf, old.atMS
	}
	if *old != v {
		s.now.Store(&v)
	}
	s.logEvictions(v.brokerMS(now.Mono))
	fresh := v.fresh(now.Mono, s.cfg.MaxStaleness)
	if !s.isReady && fresh && s.tokens.loaded() && len(s.feedKeys.set) > 0 {
		s.isReady = true
		close(s.ready)
	}
	if fresh == s.wasFresh {
		return
	}
	s.wasFresh = fresh
	if fresh {
		s.cfg.Logger.Info("revocations are current", "issuer", s.cfg.Issuer, "entries", s.denied.Len())
	} else {
		s.cfg.Logger.Warn("revocations are not known to be current", "issuer", s.cfg.Issuer, "error", s.staleBecause(&v, now.Mono))
	}
}

// staleBecause returns why v is not fresh: the failing jobs, or else the state of the proof.
func (s *syncer) staleBecause(v *view, now time.Duration) error {
	if err := s.jobErrors(); err != nil {
		return err
	}
	if v.reason != "" {
		return errors.New(v.reason)
	}
	if v.unproved {
		return errors.New("nothing is proved until the next catch-up")
	}
	return fmt.Errorf("the latest proof is %s old, more than %s", (now - v.asOf).Round(time.Millisecond), s.cfg.MaxStaleness)
}

// logEvictions logs when the denylist starts to lack live entries, and when it is complete again.
func (s *syncer) logEvictions(brokerMS int64) {
	until := s.denied.IncompleteUntil()
	partial := until > 0 && brokerMS/1000 <= until
	if partial == s.wasPartial {
		return
	}
	s.wasPartial = partial
	if partial {
		s.cfg.Logger.Warn("more is revoked than DenylistSize holds: the broker is asked about each token until that has expired",
			"size", s.cfg.DenylistSize, "until", time.Unix(until, 0).UTC())
	} else {
		s.cfg.Logger.Info("all that is revoked is in memory again", "evictions", s.denied.Evictions())
	}
}

// collect drops entries whose tokens have expired by the broker's clock. It does so only while fresh.
func (s *syncer) collect() {
	now := s.readClocks()
	state := s.tracker.State(now)
	if now.Mono-s.collectedAt < collectEvery || !state.Fresh(now.Mono, s.cfg.MaxStaleness) {
		return
	}
	s.collectedAt = now.Mono
	s.denied.Collect(state.TimeFloor)
}
