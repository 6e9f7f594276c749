package faults_test

import "testing"

// TestFaultsOfState breaks what brokers rely on other than processes and connections: answers, hints, clocks, and the space
// and the data of etcd.
func TestFaultsOfState(t *testing.T) {
	c := newCluster(t)
	services := map[string]watched{"nats": c.service(t, "nats", maxStaleness), "sse": c.service(t, "sse", maxStaleness)}
	t.Run("tabs refresh one session", c.refreshTabs)
	t.Run("log-off races refresh", c.raceLogOff)
	t.Run("a broker restarts without revocations", c.restartIdle)
	for _, tc := range []struct {
		name  string
		fault func(t *testing.T, l *load)
	}{
		{"answers of commits are lost", c.loseAnswers},
		{"hints are dropped, doubled and reordered", c.confuseHints},
		{"a clock is wrong", c.setClocks},
		{"a broker restarts again and again", c.restartLoop},
		{"etcd is full", c.fillEngine},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := c.startLoad(t, services)
			l.more(t, "before the fault")
			tc.fault(t, l)
			l.more(t, "after the fault")
			l.finish(t)
		})
		if t.Failed() {
			return
		}
	}
	t.Run("etcd is rewound", func(t *testing.T) { c.rewindEngine(t, services) })
}
