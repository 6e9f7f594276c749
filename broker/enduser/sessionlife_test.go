package enduser_test

import (
	"testing"
	"time"

	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/session"
)

// TestASessionWhoseLifetimeGrewIsStillFoundByItsSID: an operator raises the absolute
// lifetime while the session is live.
func TestASessionWhoseLifetimeGrewIsStillFoundByItsSID(t *testing.T) {
	const day = 24 * time.Hour
	policy := func(absolute time.Duration) func(*brokertest.Config) {
		return func(c *brokertest.Config) {
			c.Policy = session.Policy{AccessLife: 5 * time.Minute, Idle: 100 * day, Absolute: absolute, Grace: 10 * time.Second}
		}
	}
	one := brokertest.Start(t, policy(10*day))
	grant := one.MustSignIn(t)
	longer := brokertest.Start(t, policy(40*day), func(c *brokertest.Config) { c.Store, c.Clock = one.Store, one.Clock })
	refresh := func(after time.Duration, h *brokertest.Harness) {
		t.Helper()
		one.Clock.Advance(after)
		next, err := h.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, brokertest.Request)
		if err != nil {
			t.Fatal(err)
		}
		grant = next
	}
	refresh(5*day, longer)
	refresh(time.Minute, one) // with the shorter lifetime again
	refresh(time.Minute, longer)
	refresh(20*day, longer)
	done, err := longer.RevokeSession(t.Context(), grant.SID, "", brokertest.Operator)
	if err != nil || !done.Changed {
		t.Fatalf("%+v, %v", done, err)
	}
	one.Clock.Advance(15 * day) // after the longer lifetime, within a tombstone's day
	if _, err := one.Store.Get(t.Context(), "sid."+grant.SID); err != nil {
		t.Errorf("the sid of a session that is on record: %v", err)
	}
	one.Clock.Advance(2 * day)
	for _, key := range []string{"sid." + grant.SID, "session." + grant.UID + "." + grant.SID} {
		if _, err := one.Store.Get(t.Context(), key); err == nil {
			t.Errorf("%s is kept permanently", key)
		}
	}
}
