package ledger

import (
	"context"
	"fmt"
	"time"

	"tokenbroker/store"
)

// suspicious is how far the wall clock may be behind the time floor.
const suspicious = 10 * time.Minute

// timeFloor is the latest end that was ever collected, and the time from which the broker's clock
// continues from it at half speed.
type timeFloor struct {
	unix  int64         // seconds
	since time.Duration // by Config.Mono
}

// lowest returns the minimum of the broker's clock at the monotonic time mono.
func (f *timeFloor) lowest(mono time.Duration) time.Time {
	return time.Unix(f.unix, 0).Add((mono - f.since) / 2)
}

// Now returns the broker's clock: the wall clock, but never less than [Ledger.TimeFloor]. A collected
// event was past its end by this clock, which therefore never returns to a time when the event's tokens
// were valid. While the wall clock is behind the floor, the broker's clock continues from the floor at
// half speed: lifetimes still end, and the wall clock catches up after twice the time by which it was set
// back.
func (l *Ledger) Now() time.Time {
	now, floor := l.config.Wall(), l.floor.Load()
	lowest := floor.lowest(l.config.Mono())
	if !now.Before(lowest) {
		return now
	}
	if floor.suspects(now) {
		select {
		case l.stepped <- struct{}{}: // Run signs out all users now, not at its next tick
		default:
		}
	}
	return lowest
}

// TimeFloor returns the latest end that was ever collected, in Unix seconds.
func (l *Ledger) TimeFloor() int64 { return l.floor.Load().unix }

// RecordedTimeFloor returns the [Ledger.TimeFloor] that is on disk: after a restart the time
// floor is not below it.
func (l *Ledger) RecordedTimeFloor() int64 { return l.recordedFloor.Load() }

// raiseTimeFloor raises the floor to at least unix. If the broker's clock has already continued past the
// new floor, it does not go back to it.
func (l *Ledger) raiseTimeFloor(unix int64) {
	mono := l.config.Mono()
	for {
		old := l.floor.Load()
		passed := max(old.lowest(mono).Sub(time.Unix(unix, 0)), 0)
		raised := &timeFloor{unix: unix, since: mono - 2*passed}
		if old.unix >= unix || l.floor.CompareAndSwap(old, raised) {
			return
		}
	}
}

func (f *timeFloor) suspects(wall time.Time) bool { return time.Unix(f.unix, 0).Sub(wall) > suspicious }

// ClockSuspect reports whether the wall clock is more than ten minutes behind the time floor: either the
// wall clock is wrong, or it was wrong when something was last collected. Until Config.SignOutEverybody
// has succeeded, the broker's clock continues from the floor (see [Ledger.Now]).
func (l *Ledger) ClockSuspect() bool { return l.floor.Load().suspects(l.config.Wall()) }

// checkClock logs each change of [Ledger.ClockSuspect].
func (l *Ledger) checkClock() {
	now := l.ClockSuspect()
	switch was := l.suspect.Swap(now); {
	case now && !was:
		l.config.Logger.Error("the wall clock is more than 10 minutes behind the newest revocation that ended: check the machine's clock",
			"wall", l.config.Wall().UTC(), "time_floor", time.Unix(l.TimeFloor(), 0).UTC())
	case was && !now:
		l.config.Logger.Info("the wall clock has caught up with the ledger's")
	}
}

// ResetTimeFloor ends a suspicion: it is not known which clock is wrong, so every user is
// signed out, and the time floor starts again at the wall clock. It does nothing while the
// clock is not suspect, and on a shared engine unless the clocks of all live brokers are. [Ledger.Run] calls it before each collection, and as soon as
// [Ledger.Now] finds the clock suspect.
func (l *Ledger) ResetTimeFloor(ctx context.Context) error {
	if l.config.SignOutEverybody == nil || !l.ClockSuspect() {
		return nil
	}
	if l.shared != nil {
		return l.shared.resetTimeFloor(ctx)
	}
	if err := l.config.SignOutEverybody(ctx); err != nil {
		return fmt.Errorf("resetting the time floor: %w", err)
	}
	l.collecting.Lock()
	defer l.collecting.Unlock()
	floor := l.config.Wall().Unix()
	errs := l.config.Store.Commit(ctx, []store.Change{{Writes: []store.Write{{
		Key: timeFloorKey, Blind: true, Value: encode(timeFloorRecord{V: version, TimeFloor: floor}),
	}}}}, nil)
	if errs[0] != nil {
		return fmt.Errorf("resetting the time floor: %w", errs[0])
	}
	l.recordedFloor.Store(floor) // stored first, so that Now is never before it
	l.floor.Store(&timeFloor{unix: floor, since: l.config.Mono()})
	l.config.Logger.Error("all users were signed out, because the clock cannot be trusted", "time_floor", time.Unix(floor, 0).UTC())
	return nil
}
