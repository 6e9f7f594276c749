package ledger_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/broker/store/memstore"
	"tokenbroker/revocation/ledger"
)

// TestASuspiciousClockSignsEverybodyOut: the floor starts anew at the wall clock, once, and
// only after everybody was signed out; the next process reads the new one.
func TestASuspiciousClockSignsEverybodyOut(t *testing.T) {
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
