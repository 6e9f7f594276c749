package faults_test

import (
	"bytes"
	"encoding/json"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"tokenbroker/internal/longtest"
)

// restartLoop restarts a broker again and again while clients use it.
func (c *cluster) restartLoop(t *testing.T, l *load) {
	for round := range longtest.Pick(4, 110) {
		c.restartOnce(t, round)
		l.through(t, "after a restart")
	}
}

// restartIdle restarts a broker that records no revocation. Records of its runs do not pile up.
func (c *cluster) restartIdle(t *testing.T) {
	client := c.etcd(t)
	for round := range longtest.Pick(2, 20) {
		c.restartOnce(t, round)
		eventually(t, "only runs that recorded revocations are on record", func() bool {
			live, empty := 0, 0
			for _, o := range origins(t, client) {
				if !o.Ended {
					live++
				} else if o.Head == 0 {
					empty++
				}
			}
			return live == size && empty == 0
		})
	}
}

// restartOnce restarts a broker by kill -9 in even rounds, and properly in the others.
func (c *cluster) restartOnce(t *testing.T, round int) {
	t.Helper()
	const at = 1
	if round%2 == 0 {
		c.brokers[at].kill(t)
		c.startBroker(t, at)
		c.brokers[at].ready(t, brokerReady)
	} else {
		c.restart(t, at)
	}
	c.allReady(t)
}

// origin is what a broker's record says of a run.
type origin struct {
	Head  uint64 `json:"head"`
	Ended bool   `json:"ended"`
}

// origins returns the runs that are on record.
func origins(t *testing.T, client *clientv3.Client) (all []origin) {
	t.Helper()
	found, err := client.Get(t.Context(), "tokenbroker/origin.", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range found.Kvs {
		var o origin
		if err := json.Unmarshal(kv.Value[bytes.IndexByte(kv.Value, '{'):], &o); err != nil {
			t.Fatal(err)
		}
		all = append(all, o)
	}
	return all
}
