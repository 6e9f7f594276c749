package node

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/revocation/ledger"
)

func TestBrokerIsReadyAgainOnceACopyIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &copies{node: &Node{began: time.Now()}}
		if !c.check().OK {
			t.Error("not ready without a copy")
		}
		c.origin, c.heard = "other", c.node.mono()
		time.Sleep(copiedFor)
		if c.check().OK {
			t.Error("ready while a copy runs")
		}
		time.Sleep(time.Nanosecond)
		if !c.check().OK {
			t.Error("not ready after the copy has stopped")
		}
	})
}

// TestABrokerOfTheSharedStoreIsNotACopy checks that an origin that is not on record is reported only if the records were
// read after it was heard.
func TestABrokerOfTheSharedStoreIsNotACopy(t *testing.T) {
	n := &Node{began: time.Now(), cfg: Config{Logger: slog.New(slog.DiscardHandler)}, ledger: &ledger.Ledger{}}
	unknown := func(string) bool { return false }
	joined := func(origin string) bool { return origin == "other" }
	const heard = time.Second
	for _, c := range []struct {
		name     string
		began    time.Duration
		onRecord func(string) bool
		ready    bool
	}{
		{"read before", heard, unknown, true},
		{"joined in the meantime", heard + 1, joined, true},
		{"not on record", heard + 1, unknown, false},
	} {
		seen := &copies{node: n, unknown: "other", unknownAt: heard}
		seen.settle(c.began, c.onRecord)
		if got := seen.origin == ""; got != c.ready {
			t.Errorf("%s: ready %v", c.name, got)
		}
		if waiting := seen.unknown != ""; waiting != (c.began == heard) {
			t.Errorf("%s: still to be settled: %v", c.name, waiting)
		}
	}
}
