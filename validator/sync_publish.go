package validator

import (
	"errors"
	"fmt"
	"time"
)

// publish makes what is known visible to the readers, and tells of a change of state.
func (s *syncer) publish() {
	now := s.instant()
	state := s.tracker.State(now)
	s.counts.track(state)
	v := view{
		version:      s.deny.Version(),
		asOf:         state.AsOf,
		atMS:         state.AtMS,
		unproved:     !state.Proved,
		wallOffsetMS: state.WallOffsetMS,
		maxLifetime:  s.tokens.maxLifetime(),
	}
	old := s.now.Load()
	if state.AtMS == 0 { // no proof of any origin is left: time goes on all the same
		v.asOf, v.atMS = old.asOf, old.atMS
	}
	if *old != v {
		s.now.Store(&v)
	}
	s.tellEvictions(v.brokerMS(now.Mono))
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
		s.cfg.Logger.Info("revocations are current", "issuer", s.cfg.Issuer, "entries", s.deny.Len())
	} else {
		s.cfg.Logger.Warn("revocations are not known to be current", "issuer", s.cfg.Issuer, "error", s.staleBecause(&v, now.Mono))
	}
}

// staleBecause returns why v is not fresh: what fails, or else what is known of the proof.
func (s *syncer) staleBecause(v *view, now time.Duration) error {
	if err := s.troubles(); err != nil {
		return err
	}
	if v.unproved {
		return errors.New("nothing is proved until the next catch-up")
	}
	return fmt.Errorf("the latest proof is %s old, more than %s", (now - v.asOf).Round(time.Millisecond), s.cfg.MaxStaleness)
}

// tellEvictions logs when the denylist begins to lack live entries, and when no more.
func (s *syncer) tellEvictions(brokerMS int64) {
	until := s.deny.IncompleteUntil()
	partial := until > 0 && brokerMS/1000 <= until
	if partial == s.wasPartial {
		return
	}
	s.wasPartial = partial
	if partial {
		s.cfg.Logger.Warn("more is revoked than DenylistSize holds: the broker is asked about each token until that has expired",
			"size", s.cfg.DenylistSize, "until", time.Unix(until, 0).UTC())
	} else {
		s.cfg.Logger.Info("all that is revoked is in memory again", "evictions", s.deny.Evictions())
	}
}

// collect drops entries whose tokens are dead, by the broker's clock and while fresh.
func (s *syncer) collect() {
	now := s.instant()
	state := s.tracker.State(now)
	if now.Mono-s.collectedAt < collectEvery || !state.Fresh(now.Mono, s.cfg.MaxStaleness) {
		return
	}
	s.collectedAt = now.Mono
	s.deny.Collect(state.TimeFloor)
}
