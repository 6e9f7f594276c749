package faults_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"tokenbroker/store/pgstore"
	"tokenbroker/store/pgstore/pgtest"
	"tokenbroker/store/storetest"
)

// TestPgBouncer uses a store through PgBouncer in transaction mode, where each statement may run on another connection of the
// server, and notifications do not arrive.
func TestPgBouncer(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	bouncer := c.Bouncer(t, c.database)
	var schemas atomic.Int64
	behind := func(config *pgstore.Config) { config.URL, config.PollOnly = bouncer, true }
	t.Run("contract", func(t *testing.T) {
		storetest.RunEngine(t, func(t *testing.T) storetest.Harness {
			config := config(c.database)
			config.Schema = fmt.Sprint("s", schemas.Add(1))
			if err := pgstore.Init(t.Context(), config, ""); err != nil {
				t.Fatal(err)
			}
			behind(&config)
			return storetest.Harness{Engine: open(t, config), Other: open(t, config), ExpiryIndex: true, Without: "PgBouncer does not lose answers"}
		})
	})
	t.Run("the primary is killed", func(t *testing.T) {
		c := newCluster(t, pgtest.Single())
		bouncer = c.Bouncer(t, c.database)
		l := c.load(t, behind, local)
		l.more(t, "before the fault")
		restartPrimary(t, c, l)
		now := config(c.database)
		local(&now)
		l.finish(t, open(t, now))
	})
}
