package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"tokenbroker/api/admin"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/internal/longtest"
)

// TestBrokersOnEtcd uses brokers on an etcd cluster of three members.
func TestBrokersOnEtcd(t *testing.T) {
	longtest.SkipShort(t, "starts three brokers and three etcd members")
	b := newEtcdBrokers(t)
	b.use(t, b)
}

// shown implements sharedEngine.
func (b *etcdBrokers) shown(status string) bool {
	return strings.Count(status, ", version 3.") == 3 && strings.Contains(status, ", on etcd") && strings.Count(status, ", leader") == 1
}

// failureShown implements sharedEngine.
func (b *etcdBrokers) failureShown(status string) bool { return strings.Contains(status, "FAILED") }

// elsewhere implements sharedEngine.
func (b *etcdBrokers) elsewhere() string { return "store.etcd.prefix" }

// fail implements sharedEngine.
func (b *etcdBrokers) fail(t *testing.T) {
	t.Helper()
	leader := b.leader(t)
	b.members[leader].Close()
	b.members[leader] = nil
}

// stop implements sharedEngine.
func (b *etcdBrokers) stop(*testing.T) {
	for i, m := range b.members {
		if m != nil {
			m.Close()
			b.members[i] = nil
		}
	}
}

// leader returns the number of the member that leads the cluster.
func (b *etcdBrokers) leader(t *testing.T) int {
	t.Helper()
	leader := -1
	eventually(t, "there is a leader", func() bool {
		var status admin.Status
		if err := json.Unmarshal([]byte(b.operate(t, 0, terminal.ExitOK, "", "status", "--output", "json")), &status); err != nil {
			t.Fatal(err)
		}
		leader = slices.IndexFunc(status.Store.Members, func(m admin.EngineMember) bool { return m.Leader })
		return leader >= 0
	})
	return leader
}
