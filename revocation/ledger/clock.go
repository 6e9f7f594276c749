package ledger

import (
	"context"
	"fmt"
	"time"

	"tokenbroker/broker/store"
)

// suspicious is how far the wall clock may lie behind the time floor.
const suspicious = 10 * time.Minute

// Now returns the broker's clock: the wall clock, but never less than [Ledger.TimeFloor].
// An event that was collected was past its end by this clock, which therefore never runs
// back to where the event's tokens were alive.
func (l *Ledger) Now() time.Time {
	now := l.config.Wall()
	if floor := time.Unix(l.timeFloor.Load(), 0); now.Before(floor) {
		return floor
	}
	return now
}

// TimeFloor returns the newest end that was ever collected, in Unix seconds.
func (l *Ledger) TimeFloor() int64 { return l.timeFloor.Load() }

// raiseTimeFloor lifts the floor to at least floor.
func (l *Ledger) raiseTimeFloor(floor int64) {
	for {
		old := l.timeFloor.Load()
		if old >= floor || l.timeFloor.CompareAndSwap(old, floor) {
			return
		}
	}
}

// ClockSuspect reports whether the wall clock lies more than ten minutes behind the time
// floor: one of the two is wrong, or was when something was last collected. Until it is
// put right, by Config.SignOutEverybody, the broker's clock stands still at the floor.
func (l *Ledger) ClockSuspect() bool {
	return time.Unix(l.timeFloor.Load(), 0).Sub(l.config.Wall()) > suspicious
}

// checkClock writes a line whenever [Ledger.ClockSuspect] changed.
func (l *Ledger) checkClock() {
	now := l.ClockSuspect()
	switch was := l.suspect.Swap(now); {
	case now && !was:
		l.config.Logger.Error("the wall clock is more than 10 minutes behind the newest revocation that ended: check the machine's clock",
			"wall", l.config.Wall().UTC(), "time_floor", time.Unix(l.timeFloor.Load(), 0).UTC())
	case was && !now:
		l.config.Logger.Info("the wall clock has caught up with the ledger's")
	}
}

// MendClock ends a suspicion: it cannot be told which clock is wrong, so everybody is
// signed out, and the time floor starts anew at the wall clock. It does nothing while the
// clock is not suspect. [Ledger.Run] calls it before each collection.
func (l *Ledger) MendClock(ctx context.Context) error {
	if l.config.SignOutEverybody == nil || !l.ClockSuspect() {
		return nil
	}
	if err := l.config.SignOutEverybody(ctx); err != nil {
		return fmt.Errorf("mending the clock: %w", err)
	}
	l.collecting.Lock()
	defer l.collecting.Unlock()
	floor := l.config.Wall().Unix()
	errs := l.config.Store.Commit(ctx, []store.Change{{Writes: []store.Write{{
		Key: timeFloorKey, Blind: true, Value: encode(timeFloorRecord{V: version, TimeFloor: floor}),
	}}}}, nil)
	if errs[0] != nil {
		return fmt.Errorf("mending the clock: %w", errs[0])
	}
	l.timeFloor.Store(floor)
	l.config.Logger.Error("everybody was signed out, because the clock cannot be trusted", "time_floor", time.Unix(floor, 0).UTC())
	return nil
}
