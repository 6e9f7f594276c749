package commit_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/session"
	"tokenbroker/store"
	"tokenbroker/store/storetest"
)

// TestALogOffAtAnotherBrokerIsNotUndoneByAConcurrentRefresh uses two brokers on one store. One ends the session
// after the other has read it; the refresh must not revive it.
func TestALogOffAtAnotherBrokerIsNotUndoneByAConcurrentRefresh(t *testing.T) {
	one := brokertest.Start(t)
	grant := one.MustSignIn(t)
	race := &brokertest.Between{Store: one.Store}
	other := brokertest.Start(t, func(c *brokertest.Config) { c.Store = race })
	race.Do = func() {
		if _, err := one.LogOff(t.Context(), grant.RefreshToken, grant.CSRFToken, brokertest.Request); err != nil {
			t.Error(err)
		}
	}
	_, err := other.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeSessionEnded)
	_, err = one.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeSessionEnded)
}

// TestATokenSignedDuringARevocationAtAnotherBrokerEndsBeforeItsEvent: a broker whose clock is far ahead refreshes a session
// that it read before another broker revoked the user's tokens. The exp is not covered by the event, so the refresh is
// decided again.
func TestATokenSignedDuringARevocationAtAnotherBrokerEndsBeforeItsEvent(t *testing.T) {
	one := brokertest.Start(t)
	grant := one.MustSignIn(t)
	race := &brokertest.Between{Store: one.Store, Prefix: "floor"}
	ahead := brokertest.Start(t, func(c *brokertest.Config) { c.Store = race })
	ahead.Clock.Advance(session.EventMargin + time.Minute)
	race.Do = func() {
		if _, err := one.RevokeUser(t.Context(), "ada", "", brokertest.Operator); err != nil {
			t.Error(err)
		}
	}
	_, err := ahead.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeSessionRevoked)
}

// TestRefusedByTheFenceIsUnavailable: what waits is refused, and the broker has a new run afterwards.
func TestRefusedByTheFenceIsUnavailable(t *testing.T) {
	fenced := false
	h := brokertest.Start(t, func(c *brokertest.Config) {
		c.Store = storetest.Refusing(c.Store, func(store.Change) error {
			if fenced {
				return store.ErrFenced
			}
			return nil
		})
	})
	grant := h.MustSignIn(t)
	fenced = true
	_, err := h.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, brokertest.Request)
	if app := brokertest.WantCode(t, err, broker.CodeUnavailable); app.RetryAfter <= 0 {
		t.Error("without a Retry-After")
	}
	if h.Ledger.Joined != 0 {
		t.Error("joined again in the commit that was refused")
	}
	fenced = false
	h.Rotate(t, grant, brokertest.Request)
	if h.Ledger.Joined != 1 || h.Fatal.Load() != nil {
		t.Errorf("joined %d times, fatal %v", h.Ledger.Joined, h.Fatal.Load())
	}
	if err := h.Path.Rejoin(t.Context()); err != nil || h.Ledger.Joined != 2 {
		t.Errorf("on request: %v, joined %d times", err, h.Ledger.Joined)
	}
}

func TestAStoreThatIsNotAvailableIsNotAnInternalError(t *testing.T) {
	down := false
	h := brokertest.Start(t, func(c *brokertest.Config) {
		c.Store = storetest.Refusing(c.Store, func(store.Change) error {
			if down {
				return fmt.Errorf("no quorum: %w", store.ErrUnavailable)
			}
			return nil
		})
	})
	grant := h.MustSignIn(t)
	down = true
	_, err := h.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeUnavailable)
	_, err = h.RevokeUser(t.Context(), "ada", "", brokertest.Operator)
	brokertest.WantCode(t, err, broker.CodeUnavailable)
}

// Another broker may have recorded what is already done.
func TestAlreadyDoneWaitsForTheOtherBrokers(t *testing.T) {
	h := brokertest.Start(t)
	grant := h.MustSignIn(t)
	for _, tt := range []struct {
		foreign   error
		barred    int
		broadcast bool
	}{{nil, 0, true}, {nil, 1, true}, {errors.New("the heads cannot be read"), 2, false}} {
		h.Ledger.Foreign = tt.foreign
		off, err := h.LogOff(t.Context(), grant.RefreshToken, grant.CSRFToken, brokertest.Request)
		if err != nil || off.Broadcast != tt.broadcast || h.Ledger.Barred != tt.barred {
			t.Errorf("%+v, %v; %d barriers, want %d", off, err, h.Ledger.Barred, tt.barred)
		}
	}
}
