package keyring_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"tokenbroker/keyring/lifecycle"
)

func TestAClockBehindTheKeysRotatesNothing(t *testing.T) {
	clock := newClock()
	ring := open(t, rotating(t, &memStore{}, clock, nil))
	active := find(t, ring, "access", "active")
	clock.pass(readyAfter)
	clock.step(-time.Hour)
	for _, purpose := range []lifecycle.Purpose{"access", "feed", "master"} {
		if _, err := ring.Rotate(t.Context(), purpose, ""); !errors.Is(err, lifecycle.ErrClockBehind) {
			t.Errorf("Rotate of %s = %v, want ErrClockBehind", purpose, err)
		}
	}
	if _, _, err := ring.ApplyDue(t.Context()); !errors.Is(err, lifecycle.ErrClockBehind) {
		t.Errorf("ApplyDue = %v, want ErrClockBehind", err)
	}
	if s := ring.Status(); !errors.Is(s.Err, lifecycle.ErrClockBehind) || !s.Since.Equal(clock.now()) {
		t.Errorf("status = %+v", s)
	}
	if got := find(t, ring, "access", "active"); got.KID != active.KID {
		t.Error("another key signs")
	}
	if _, err := ring.SignAccessToken(t.Context(), []byte(`{}`)); err != nil {
		t.Error(err)
	}
	// A leaked key can be revoked nevertheless.
	if c, err := ring.Compromise(t.Context(), active.KID); err != nil || c.Successor.KID == active.KID {
		t.Errorf("Compromise = %+v, %v", c, err)
	}
	clock.step(time.Hour)
	applyDue(t, ring)
	if s := ring.Status(); s.Err != nil || !s.Since.IsZero() {
		t.Errorf("status = %+v after the clock was corrected", s)
	}
}

// docs/keys.md: the clock was a year ahead, the keys of that year are revoked.
func TestKeysMadeByAFastClockCanBeRevoked(t *testing.T) {
	const year = 365 * 24 * time.Hour
	clock := newClock()
	ring := open(t, rotating(t, &memStore{}, clock, nil))
	run := func() {
		for range 10 {
			clock.pass(time.Minute)
			applyDue(t, ring)
		}
	}
	run()
	clock.step(year)
	run()
	clock.step(-year)
	if _, _, err := ring.ApplyDue(t.Context()); !errors.Is(err, lifecycle.ErrClockBehind) {
		t.Fatalf("ApplyDue = %v, want ErrClockBehind", err)
	}
	for _, purpose := range []lifecycle.Purpose{"access", "feed"} {
		for _, state := range []lifecycle.State{"next", "active"} {
			if _, err := ring.Compromise(t.Context(), find(t, ring, purpose, state).KID); err != nil {
				t.Fatal(err)
			}
		}
	}
	run()
	rotate(t, ring, "access", "")
	rotate(t, ring, "feed", "")
	rotate(t, ring, "master", "")
	if s := ring.Status(); s.Err != nil || len(s.Overdue) != 0 {
		t.Errorf("status = %+v", s)
	}
}

// The clock was a year ahead for a moment: the largest recorded exp is from that time, and any key that
// retires may have signed such a token.
func TestRetiringKeysAreBoundedAfterAFastClock(t *testing.T) {
	clock := newClock()
	cfg := rotating(t, &memStore{}, clock, nil)
	cfg.RotateEvery = time.Hour
	cfg.LastExpiry = func(context.Context) (time.Time, error) { return testTime.Add(365 * 24 * time.Hour), nil }
	ring := open(t, cfg)
	most := 0
	for range 150 * 6 {
		clock.pass(10 * time.Minute)
		applyDue(t, ring)
		published := map[lifecycle.Purpose]int{}
		for _, k := range ring.List() {
			if k.State == lifecycle.StateRetiring && k.Purpose != lifecycle.PurposeMaster {
				published[k.Purpose]++
				most = max(most, published[k.Purpose])
			}
		}
	}
	if most < 30 || most > 40 {
		t.Errorf("up to %d retiring keys of a purpose are published", most)
	}
}
