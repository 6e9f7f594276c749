package commit_test

import (
	"testing"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
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
