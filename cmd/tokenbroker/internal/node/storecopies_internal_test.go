package node

import (
	"testing"
	"testing/synctest"
	"time"
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
