package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
	"tokenbroker/store/memstore"
)

// TestSuspiciousClockSignsOutAllUsers checks that the floor starts again at the wall clock once, and only
// after all users were signed out, and that the next process reads the new floor.
func TestSuspiciousClockSignsOutAllUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wall wallAhead
		s := memstore.New(nil)
		signedOut := 0
		var clockThen time.Time
		var p *process
		p = start(t, s, wall.use, func(c *ledger.Config) {
			c.SignOutEverybody = func(context.Context) error {
				signedOut++
				clockThen = p.Now()
				return nil
			}
		})
		p.revoke(sid("s"))
		time.Sleep(2 * time.Minute)
		p.collect()
		old := p.TimeFloor()
		wall.step(-time.Hour)
		if !p.ClockSuspect() {
			t.Fatal("an hour behind is not suspicious")
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.Run(ctx) }()
		time.Sleep(150 * time.Second)
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if signedOut != 1 || clockThen.Unix() != old {
			t.Errorf("signed out %d times, at %d by a clock whose floor was %d", signedOut, clockThen.Unix(), old)
		}
		if p.ClockSuspect() || p.TimeFloor() >= old {
			t.Errorf("the floor is %d, was %d", p.TimeFloor(), old)
		}
		if next := start(t, s, wall.use); next.TimeFloor() != p.TimeFloor() {
			t.Errorf("the next process reads %d, want %d", next.TimeFloor(), p.TimeFloor())
		}
	})
}

// TestClockSetBackResetsTheFloorAtOnce checks that the first reading of the broker's clock after a step
// below the time floor signs out all users, without waiting for the collector. A failed attempt is
// repeated at the next tick, not at each reading.
func TestClockSetBackResetsTheFloorAtOnce(t *testing.T) {
	for _, failures := range []int{0, 1} {
		t.Run(fmt.Sprintf("after %d failures", failures), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var wall wallAhead
				var attempts atomic.Int64
				p := start(t, memstore.New(nil), wall.use, func(c *ledger.Config) {
					c.SignOutEverybody = func(context.Context) error {
						if attempts.Add(1) <= int64(failures) {
							return errors.New("no")
						}
						return nil
					}
				})
				p.revoke(sid("s"))
				time.Sleep(2 * time.Minute)
				p.collect()
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- p.Run(ctx) }()
				synctest.Wait()
				wall.step(-365 * 24 * time.Hour)
				for range 3 {
					p.Now()
					synctest.Wait()
				}
				if attempts.Load() != 1 || p.ClockSuspect() != (failures > 0) {
					t.Errorf("%d attempts at once, suspect %v", attempts.Load(), p.ClockSuspect())
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if attempts.Load() != int64(1+failures) || p.ClockSuspect() {
					t.Errorf("%d attempts after a minute, suspect %v", attempts.Load(), p.ClockSuspect())
				}
				cancel()
				if err := <-ended; err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// minute returns the revocation of a session whose tokens expire one minute from now by the broker's
// clock.
func (p *process) minute(value string) revocation.Event {
	now := p.Now().Unix()
	return revocation.Event{Kind: revocation.KindSID, Value: value, At: now, ExpiresAt: now + 60, Reason: revocation.ReasonLogoff}
}

// signedOut makes a suspicious clock lead to an event for all that is kept for an hour and a minute, when
// every earlier token has expired.
func signedOut(p **process) func(*ledger.Config) {
	return func(c *ledger.Config) {
		c.SignOutEverybody = func(context.Context) error {
			now := (*p).Now().Unix()
			(*p).revoke(revocation.Event{Kind: revocation.KindAll, Epoch: 1, At: now, ExpiresAt: now + 60, Reason: revocation.ReasonRevoked})
			return nil
		}
	}
}

// mustHold fails unless every session is revoked by the denylist and by a full answer.
func (p *process) mustHold(sids ...string) {
	p.t.Helper()
	d := revocation.NewDenylist()
	d.Apply(p.answer("").Events...)
	for _, s := range sids {
		token := revocation.Subject{SID: s, SEP: 1}
		if !p.denylist.Revoked(token) || !d.Revoked(token) {
			p.t.Errorf("%s lives: by the denylist %v, by the answer %v", s, !p.denylist.Revoked(token), !d.Revoked(token))
		}
	}
}

// TestAStepBackAfterAProperCollection checks that collected tokens never become valid again, that live
// events are kept, and that the clock never stops.
func TestAStepBackAfterAProperCollection(t *testing.T) {
	for _, restart := range []bool{false, true} {
		for _, step := range []time.Duration{time.Minute, 9 * time.Minute, time.Hour, 365 * 24 * time.Hour} {
			t.Run(fmt.Sprintf("%s, restart %v", step, restart), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var wall wallAhead
					var p *process
					s := memstore.New(nil)
					open := func() { p = start(t, s, wall.use, signedOut(&p)) }
					open()
					old := p.minute("old")
					p.revoke(old)
					time.Sleep(30 * time.Second)
					p.revoke(p.minute("live"))
					time.Sleep(31 * time.Second)
					if n := p.collect(); n != 2 || p.TimeFloor() != old.ExpiresAt {
						t.Fatalf("collected %d, floor %d", n, p.TimeFloor())
					}
					wall.step(-step)
					if restart {
						open()
					}
					p.mustHold("live")
					if now := p.Now().Unix(); now != old.ExpiresAt {
						t.Fatalf("the clock is at %d, the last of what was collected ended at %d", now, old.ExpiresAt)
					}
					if err := p.ResetTimeFloor(t.Context()); err != nil {
						t.Fatal(err)
					}
					p.mustHold("live")
					if long := step > 10*time.Minute; long {
						if !p.denylist.Revoked(revocation.Subject{SID: "old"}) {
							t.Error("the clock went back, and a token of before is good again")
						}
					} else { // the clock goes on at half speed, until the wall clock has caught up
						time.Sleep(step)
						if at := old.ExpiresAt + int64(step/(2*time.Second)); p.Now().Unix() != at {
							t.Errorf("after %s the clock is at %d, want %d", step, p.Now().Unix(), at)
						}
						time.Sleep(step)
					}
					if at := time.Now().Add(time.Duration(wall.by.Load())).Unix(); p.Now().Unix() != at {
						t.Errorf("the clock is at %d, the wall clock at %d", p.Now().Unix(), at)
					}
				})
			})
		}
	}
}

// TestACollectionDoesNotSetTheClockBack checks that the clock, while it continues from the time floor,
// stays past the ends of collected events.
func TestACollectionDoesNotSetTheClockBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wall wallAhead
		p := start(t, memstore.New(nil), wall.use)
		p.revoke(p.minute("first"))
		time.Sleep(40 * time.Second)
		p.revoke(p.minute("second"))
		time.Sleep(30 * time.Second)
		p.collect()
		floor := p.TimeFloor()
		wall.step(-9 * time.Minute)
		time.Sleep(4 * time.Minute)
		before := p.Now()
		p.collect()
		if p.TimeFloor() != floor+40 {
			t.Fatalf("the floor is %d after %d", p.TimeFloor(), floor)
		}
		if now := p.Now(); !now.Equal(before) {
			t.Errorf("the clock is at %s, was at %s", now, before)
		}
		time.Sleep(time.Minute)
		if now := p.Now(); now.Sub(before) != 30*time.Second {
			t.Errorf("a minute later the clock is at %s, was at %s", now, before)
		}
	})
}

// TestAYearAheadAndBack checks that events recorded before, and while the clock was ahead, are kept until
// their tokens have expired by the current clock, and that none is kept for a year.
func TestAYearAheadAndBack(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for _, restart := range []bool{false, true} {
		for _, tt := range []struct {
			name  string
			ahead time.Duration // for how long
			left  []string      // of "before" and "ahead"
			floor time.Duration // what the clock that was ahead collected, by the true clock
		}{
			{"for less than a token's life", 40 * time.Second, []string{"before", "ahead"}, 0},
			{"until an entry of before is over", 70 * time.Second, []string{"ahead"}, 60 * time.Second},
			{"until all is over", 2 * time.Minute, nil, year + 80*time.Second},
		} {
			t.Run(fmt.Sprintf("%s, restart %v", tt.name, restart), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var wall wallAhead
					var p *process
					s := memstore.New(nil)
					open := func() { p = start(t, s, wall.use, signedOut(&p)) }
					open()
					began := time.Now()
					p.revoke(p.minute("before"))
					wall.step(year)
					time.Sleep(20 * time.Second)
					p.revoke(p.minute("ahead"))
					time.Sleep(tt.ahead - 20*time.Second)
					p.collect()
					floor := int64(0)
					if tt.floor > 0 {
						floor = began.Add(tt.floor).Unix()
					}
					if p.TimeFloor() != floor {
						t.Errorf("the floor is %d, want %d", p.TimeFloor(), floor)
					}
					p.mustHold(tt.left...)
					wall.step(-year)
					if restart {
						open()
					}
					if err := p.ResetTimeFloor(t.Context()); err != nil {
						t.Fatal(err)
					}
					p.mustHold(tt.left...)
					if p.Now().Unix() != time.Now().Unix() {
						t.Errorf("the clock is at %s, want %s", p.Now(), time.Now())
					}
					// Whatever was collected by the clock that was ahead is dead by this one as well.
					for name, exp := range map[string]int64{"before": began.Unix() + 60, "ahead": began.Add(year).Unix() + 80} {
						if p.Now().Unix() < exp && !p.denylist.Revoked(revocation.Subject{SID: name}) {
							t.Errorf("a token of %s is good again", name)
						}
					}
				})
			})
		}
	}
}
