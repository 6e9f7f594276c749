package broker_test

import (
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/session"
)

// TestASessionThatMayLiveLongerIsStillFoundByItsSID: the operator raises the absolute
// lifetime while the session lives.
func TestASessionThatMayLiveLongerIsStillFoundByItsSID(t *testing.T) {
	const day = 24 * time.Hour
	policy := func(absolute time.Duration) func(*broker.Config) {
		return func(c *broker.Config) {
			c.Policy = session.Policy{AccessLife: 5 * time.Minute, Idle: 100 * day, Absolute: absolute, Grace: 10 * time.Second}
		}
	}
	one := start(t, policy(10*day))
	grant := one.signIn(t)
	longer := start(t, policy(40*day), func(c *broker.Config) { c.Store, c.Clock = one.store, one.clock })
	refresh := func(after time.Duration, h *harness) {
		t.Helper()
		one.clock.advance(after)
		next, err := h.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, request)
		if err != nil {
			t.Fatal(err)
		}
		grant = next
	}
	refresh(5*day, longer)
	refresh(time.Minute, one) // set back and forth
	refresh(time.Minute, longer)
	refresh(20*day, longer)
	done, err := longer.RevokeSession(t.Context(), grant.SID, "", operator)
	if err != nil || !done.Changed {
		t.Fatalf("%+v, %v", done, err)
	}
	one.clock.advance(15 * day) // beyond the longer end, within a tombstone's day
	if _, err := one.store.Get(t.Context(), "sid."+grant.SID); err != nil {
		t.Errorf("the sid of a session that is on record: %v", err)
	}
	one.clock.advance(2 * day)
	for _, key := range []string{"sid." + grant.SID, "session." + grant.UID + "." + grant.SID} {
		if _, err := one.store.Get(t.Context(), key); err == nil {
			t.Errorf("%s is kept for ever", key)
		}
	}
}
