package ledger_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/revocation/ledger"
)

// counted signs everybody out into a counter.
func counted(n *int) func(*ledger.Config) {
	return func(c *ledger.Config) {
		c.SignOutEverybody = func(context.Context) error { *n++; return nil }
	}
}

// TestOneClockBehindTheOthersSignsNobodyOut: it is itself wrong. Only when the clocks of all live brokers are behind the
// time floor, the floor may be the wrong one.
func TestOneClockBehindTheOthersSignsNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		var outs [2]int
		a, b := c.join(counted(&outs[0])), c.join(counted(&outs[1]))
		a.revoke(sid("s1"))
		c.passes(70 * time.Second)
		a.collected(t, 1)
		if err := b.Barrier(t.Context()); err != nil {
			t.Fatal(err)
		}
		floor := a.TimeFloor()
		a.skew = -time.Hour
		c.passes(14 * time.Second)
		if err := a.ResetTimeFloor(t.Context()); err != nil || outs != [2]int{} || !a.ClockSuspect() {
			t.Errorf("one clock is behind: %v signed out, %v", outs, err)
		}
		if a.Now().Unix() < floor {
			t.Errorf("the clock is %v, below the floor", a.Now())
		}
		b.skew = -time.Hour
		c.passes(14 * time.Second)
		if err := a.ResetTimeFloor(t.Context()); err != nil || outs != [2]int{1, 0} {
			t.Errorf("all clocks are behind: %v signed out, %v", outs, err)
		}
		if err := b.Barrier(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := b.ResetTimeFloor(t.Context()); err != nil || outs != [2]int{1, 0} {
			t.Errorf("again: %v signed out, %v", outs, err)
		}
		now := time.Now().Add(-time.Hour).Unix()
		for _, m := range []*member{a, b} {
			if m.TimeFloor() != now || m.ClockSuspect() {
				t.Errorf("floor %d, want %d", m.TimeFloor(), now)
			}
		}
	})
}

// TestTheOnlyLiveBrokerResetsItsClock: like an embedded one.
func TestTheOnlyLiveBrokerResetsItsClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		outs := 0
		a, b := c.join(counted(&outs)), c.join()
		a.revoke(sid("s1"))
		c.passes(70 * time.Second)
		a.collected(t, 1)
		ends(t, c, b)
		c.tick()
		a.skew = -time.Hour
		c.tick()
		if err := a.ResetTimeFloor(t.Context()); err != nil || outs != 1 || a.ClockSuspect() {
			t.Errorf("%d signed out, %v", outs, err)
		}
	})
}

// TestEveryBrokerRaisesItsClockWithTheFloor: what was collected by another stays ended.
func TestEveryBrokerRaisesItsClockWithTheFloor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := c.join(), c.join()
		a.revoke(sid("s1"))
		c.passes(70 * time.Second)
		a.collected(t, 1)
		b.skew = -30 * time.Second
		h, err := a.Heartbeat(t.Context(), "")
		if err != nil || h.TimeFloor != a.TimeFloor() {
			t.Errorf("%+v, %v", h, err)
		}
		if err := b.Barrier(t.Context()); err != nil || b.TimeFloor() != a.TimeFloor() || b.Now().Unix() < a.TimeFloor() {
			t.Errorf("floor %d, want %d: %v", b.TimeFloor(), a.TimeFloor(), err)
		}
	})
}
