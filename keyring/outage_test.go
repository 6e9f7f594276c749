package keyring_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/keyring/lifecycle"
)

func TestRotationWhileTheStoreIsDown(t *testing.T) {
	clock, store := newClock(), &outageStore{}
	ring := open(t, rotating(t, store, clock, nil))
	clock.pass(readyAfter)
	applyDue(t, ring)
	active := find(t, ring, "access", "active")
	clock.pass(active.NextStepAt.Sub(clock.now()))
	store.set(true)
	for range 2 {
		if _, _, err := ring.ApplyDue(t.Context()); !errors.Is(err, errDown) {
			t.Fatalf("ApplyDue = %v, want the store's error", err)
		}
		if _, err := ring.Rotate(t.Context(), "access", ""); !errors.Is(err, errDown) {
			t.Fatalf("Rotate = %v, want the store's error", err)
		}
		if token, err := ring.SignAccessToken(t.Context(), []byte(`{}`)); err != nil {
			t.Fatal(err)
		} else if verifyAccess(t, ring, token); find(t, ring, "access", "active").KID != active.KID {
			t.Fatal("another key signs")
		}
		clock.pass(2 * time.Minute)
	}
	s := ring.Status()
	if !errors.Is(s.Err, errDown) || !s.Since.Equal(clock.now().Add(-4*time.Minute)) {
		t.Errorf("status = %+v", s)
	}
	if len(s.Overdue) == 0 || s.Overdue[0] != lifecycle.PurposeAccess || !s.OldKeyUntil.Equal(testTime.Add(2*month)) {
		t.Errorf("overdue = %v, old key until %s", s.Overdue, s.OldKeyUntil)
	}
	store.set(false)
	applyDue(t, ring)
	if got := find(t, ring, "access", "active"); got.KID == active.KID {
		t.Error("the missed rotation was not made")
	}
	if s := ring.Status(); s.Err != nil || len(s.Overdue) != 0 || !s.OldKeyUntil.IsZero() {
		t.Errorf("status = %+v after the store is back", s)
	}
}

// TestAnOutageKeepsTheOldKeyPublished has one broker rotate just before the store fails. The second broker
// does not learn of the rotation and signs with the old key until the store is back. The tokens that it
// signed stay verifiable, even if the clock is set back and they therefore live longer.
func TestAnOutageKeepsTheOldKeyPublished(t *testing.T) {
	for name, jump := range map[string]time.Duration{"a steady clock": 0, "a clock that is set back": -10 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, false)
				w.pass(10 * time.Minute)
				old := find(t, w.brokers[0].ring, "access", "active")
				w.do(action{what: "rotate", broker: 0, purpose: "access"})
				w.do(action{what: "outage"})
				w.pass(20 * time.Minute)
				w.do(action{what: "jump", jump: jump})
				w.do(action{what: "repair"})
				w.pass(20*time.Minute - jump)
				for i := range w.brokers {
					if k := infoOf(w.brokers[i].ring, old.KID); k.State != lifecycle.StateRetired {
						t.Errorf("%s is never removed", k)
					}
					w.end(i)
				}
				if w.fault != "" {
					t.Error(w.fault)
				}
			})
		})
	}
}

func TestRunFollowsTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var made []lifecycle.Change
		cfg := config(t, &memStore{})
		cfg.Now, cfg.RotateEvery, cfg.TokenLife = time.Now, time.Hour, tokenLife
		cfg.OnChange = func(c lifecycle.Change) { made = append(made, c) }
		ring := open(t, cfg)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- ring.Run(ctx) }()
		planned := find(t, ring, "access", "active").NextStepAt
		time.Sleep(time.Until(planned) + time.Second)
		synctest.Wait()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v", err)
		}
		activated := find(t, ring, "access", "active").Activates
		if late := activated.Sub(planned.Truncate(time.Second)); late < 0 || late > time.Second {
			t.Errorf("activated %s, planned %s", activated, planned)
		}
		if s := ring.Status(); s.Err != nil {
			t.Errorf("the end of the context counts as a failure: %v", s.Err)
		}
		if len(made) < 3 {
			t.Errorf("changes = %v", made)
		}
	})
}
