package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
	"tokenbroker/store/storetest"
)

// wallAhead is a wall clock that a test can step. The monotonic clock is not affected.
type wallAhead struct{ by atomic.Int64 }

func (w *wallAhead) step(d time.Duration) { w.by.Add(int64(d)) }

func (w *wallAhead) use(c *ledger.Config) {
	c.Wall = func() time.Time { return time.Now().Add(time.Duration(w.by.Load())) }
}

func (p *process) collect() int {
	p.t.Helper()
	n, err := p.Collect(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

func TestAnEventIsCollectedWhenItsLifeIsOverByBothClocks(t *testing.T) {
	revoked := revocation.Subject{SID: "s"}
	for _, restart := range []bool{false, true} {
		for _, tt := range []struct {
			name      string
			step      time.Duration // of the wall clock
			run       time.Duration // of both
			collected bool
		}{
			{"before its end", 0, 60 * time.Second, false},
			{"after its end", 0, 61 * time.Second, true},
			{"the wall clock leapt forward", 24 * time.Hour, 59 * time.Second, false},
			{"the wall clock leapt forward and the length has run", 24 * time.Hour, 61 * time.Second, true},
			{"the wall clock leapt back", -time.Hour, 61 * time.Second, false},
			{"the wall clock leapt back and has caught up", -time.Hour, time.Hour + 61*time.Second, true},
		} {
			t.Run(fmt.Sprintf("%s, restart %v", tt.name, restart), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var wall wallAhead
					s := memstore.New(nil)
					p := start(t, s, wall.use)
					p.revoke(sid("s"))
					end := time.Now().Unix() + 60
					if restart {
						p = start(t, s, wall.use)
					}
					wall.step(tt.step)
					time.Sleep(tt.run)
					n := p.collect()
					if !tt.collected {
						if n != 0 || p.TimeFloor() != 0 || len(p.keys("ledger.event.")) != 1 || !p.denylist.Revoked(revoked) {
							t.Fatalf("collected %d, floor %d, left %v", n, p.TimeFloor(), p.keys("ledger."))
						}
						if a := p.answer(""); len(a.Events) != 1 {
							t.Errorf("answer %+v", a)
						}
						return
					}
					if n != 2 || p.TimeFloor() != end { // the event and its batch
						t.Fatalf("collected %d, floor %d (want %d), left %v", n, p.TimeFloor(), end, p.keys("ledger."))
					}
					if p.denylist.Revoked(revoked) {
						t.Error("the denylist still has it")
					}
					if got := strings.Join(p.keys("ledger."), " "); got != "ledger.store ledger.time_floor" {
						t.Errorf("left: %s", got)
					}
					// The clock never runs back to where the tokens were alive, also after a restart.
					wall.step(-48 * time.Hour)
					for _, p := range []*process{p, start(t, s, wall.use)} {
						if now := p.Now().Unix(); now != end {
							t.Errorf("now is %d, want %d", now, end)
						}
						if a := p.answer(""); a.AtMS != end*1000 || a.TimeFloor != end || len(a.Events) != 0 {
							t.Errorf("answer %+v", a)
						}
					}
				})
			})
		}
	}
}

func TestACollectedPositionGetsAFullAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, memstore.New(nil))
		p.revoke(sid("s1"))
		p.revoke(sid("s2"))
		time.Sleep(40 * time.Second)
		p.revoke(sid("s3"))
		time.Sleep(30 * time.Second)
		if n := p.collect(); n != 4 {
			t.Fatalf("collected %d", n)
		}
		for after, want := range map[string]bool{".0": true, ".1": true, ".2": false, ".3": false} {
			if a := p.answer(p.Origin() + after); a.Full != want || a.Origins[0].Head != 3 {
				t.Errorf("%s: %+v", after, a)
			}
		}
		time.Sleep(time.Hour)
		p.collect()
		if a := p.answer(p.Origin() + ".3"); a.Full || p.revoke(sid("s4")) != 4 {
			t.Errorf("with nothing kept: %+v", a)
		}
		if a := p.answer(p.Origin() + ".3"); a.Full || values(a.Events) != "s4" {
			t.Errorf("after that: %+v", a)
		}
	})
}

func TestAProlongedEventOutlivesItsFirstEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, memstore.New(nil))
		p.revoke(sub("u", 1))
		time.Sleep(50 * time.Second)
		p.revoke(sub("u", 2)) // ends at 110 s
		time.Sleep(30 * time.Second)
		if n := p.collect(); n != 1 { // only the first batch
			t.Errorf("collected %d", n)
		}
		if !p.denylist.Revoked(revocation.Subject{Sub: "u", SEP: 1}) || len(p.answer("").Events) != 1 {
			t.Error("the event is gone before its end")
		}
		// It is recorded as it began, at 0 s, so its length runs from when it was written.
		time.Sleep(130 * time.Second)
		if n := p.collect(); n != 2 {
			t.Errorf("collected %d, left %v", n, p.keys("ledger."))
		}
	})
}

func TestAConflictLeavesTheRecordForTheNextCollection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(nil)
		start(t, s).revoke(sid("s"))
		again := start(t, storetest.Conflicting(s, storetest.Times(1)))
		time.Sleep(2 * time.Minute)
		if n := again.collect(); n != 1 || len(again.keys("ledger.event.")) != 1 {
			t.Errorf("collected %d, left %v", n, again.keys("ledger."))
		}
		if n := again.collect(); n != 1 || len(again.keys("ledger.event.")) != 0 {
			t.Errorf("collected %d, left %v", n, again.keys("ledger."))
		}
	})
}

func TestCollectingManyTakesSeveralCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, memstore.New(nil))
		for batch := range 3 {
			events := make([]revocation.Event, 700)
			for i := range events {
				events[i] = sid(fmt.Sprintf("s%d-%d", batch, i))
			}
			p.revoke(events...)
		}
		time.Sleep(time.Hour)
		if n := p.collect(); n != 2103 {
			t.Errorf("collected %d", n)
		}
		if left := p.keys("ledger."); len(left) != 2 {
			t.Errorf("left %d: %v", len(left), left)
		}
	})
}

func TestRunCollectsAndStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, memstore.New(nil))
		p.revoke(sid("s"))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.Run(ctx) }()
		time.Sleep(3 * time.Minute)
		if left := p.keys("ledger.event."); len(left) != 0 {
			t.Errorf("left: %v", left)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// uncertain fails every commit of more than one change with an unknown outcome.
type uncertain struct{ store.Store }

func (u uncertain) Commit(ctx context.Context, changes []store.Change, seal store.Seal) []error {
	if len(changes) < 2 {
		return u.Store.Commit(ctx, changes, seal)
	}
	errs := make([]error, len(changes))
	for i := range errs {
		errs[i] = fmt.Errorf("%w: no sync", store.ErrUncertain)
	}
	return errs
}

func TestRunEndsWhenACommitsOutcomeIsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, uncertain{memstore.New(nil)})
		p.revoke(sid("s"))
		if err := p.Run(t.Context()); !errors.Is(err, store.ErrUncertain) {
			t.Errorf("got %v", err)
		}
	})
}

func TestSuspiciousClockIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		var wall wallAhead
		p := start(t, memstore.New(nil), wall.use, func(c *ledger.Config) {
			c.Logger = slog.New(slog.NewTextHandler(&log, nil))
		})
		p.revoke(sid("s"))
		time.Sleep(2 * time.Minute)
		p.collect()
		wall.step(-10 * time.Minute)
		if p.ClockSuspect() {
			t.Error("nine minutes behind are suspicious")
		}
		wall.step(-2 * time.Minute)
		if !p.ClockSuspect() {
			t.Error("eleven minutes behind are not suspicious")
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.Run(ctx) }()
		time.Sleep(150 * time.Second)
		cancel()
		<-ended
		if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
			t.Errorf("%d error lines:\n%s", n, &log)
		}
	})
}
