package keyring_test

import (
	"testing"
	"time"

	"tokenbroker/keyring"
)

// A rotation by a clock that is ahead would stop the other broker's rotations: its clock would be behind the keys.
func TestAClockThatIsNotTrustedRotatesNothing(t *testing.T) {
	store, good, ahead := &memStore{}, newClock(), newClock()
	trusted := true
	shared := func(clock *clock) keyring.Config {
		cfg := rotating(t, store, clock, nil)
		cfg.Shared = true
		return cfg
	}
	a := open(t, shared(good))
	cfg := shared(ahead)
	cfg.ClockTrusted = func() bool { return trusted }
	b := open(t, cfg)
	ripen := func() {
		for range 60 {
			good.pass(10 * time.Second)
			ahead.pass(10 * time.Second)
			applyDue(t, b)
			applyDue(t, a)
		}
	}
	ripen()
	before := find(t, a, "access", "active").KID
	trusted = false
	ahead.step(2 * month)
	if next := applyDue(t, b); !next.IsZero() {
		t.Errorf("something is due at %v", next)
	}
	applyDue(t, a) // its clock is not behind the keys
	if now := find(t, a, "access", "active").KID; now != before {
		t.Errorf("%s was replaced by %s", before, now)
	}
	ahead.step(-2 * month)
	trusted = true
	good.pass(2 * month)
	ahead.pass(2 * month)
	ripen()
	if now := find(t, b, "access", "active").KID; now == before {
		t.Error("a trusted clock rotates nothing")
	}
}
