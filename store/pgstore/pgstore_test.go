package pgstore_test

import (
	"testing"

	"tokenbroker/store/pgstore"
	"tokenbroker/store/storetest"
)

func TestEngine(t *testing.T) {
	storetest.RunEngine(t, func(t *testing.T) storetest.Harness {
		config := config(t)
		p := startProxy(t, shared.Cluster(t).Primary().Addr())
		through := pgstore.Unprepared(config) // what is sent again is on another connection
		through.URL = only(t, config.URL, p.address)
		return storetest.Harness{
			Engine: open(t, through), Other: open(t, config), LoseAnswer: p.loseAnswers, Delay: p.holdBack(t, config.URL), ExpiryIndex: true,
		}
	})
}

// TestConfirmer has no old primary: TestAReplacedPrimaryIsNotUsed has one, and so have the tests in internal/faults.
func TestConfirmer(t *testing.T) {
	storetest.RunConfirmer(t, func(t *testing.T) storetest.ConfirmerHarness {
		config := config(t)
		return storetest.ConfirmerHarness{Engine: open(t, config), Other: open(t, config)}
	})
}
