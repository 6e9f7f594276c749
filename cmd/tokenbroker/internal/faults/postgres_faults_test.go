package faults_test

import (
	"fmt"
	"testing"
	"time"
)

// TestFaultsOnPostgres breaks one cluster on PostgreSQL in one way after the other. A promotion is the operator's, so the
// longest time without an acknowledged write is counted from it.
func TestFaultsOnPostgres(t *testing.T) {
	needProcesses(t)
	t.Parallel()
	c := newPostgresCluster(t)
	services := map[string]watched{
		"nats": c.service(t, "nats", maxStaleness), "sse": c.service(t, "sse", maxStaleness), "poll": c.service(t, "poll", maxStaleness),
	}
	for _, tc := range []struct {
		name string
		run  func(t *testing.T, l *load)
	}{
		{"a broker is killed", c.killBroker},
		{"the primary is killed", c.killPrimary},
		{"the primary is stopped", c.stopPrimary},
		{"the primary is replaced and not fenced", c.replacePrimary},
		{"the standby is away", c.stopStandby},
	} {
		passed := t.Run(tc.name, func(t *testing.T) {
			l := c.startLoad(t, services)
			l.more(t, "before the fault")
			tc.run(t, l)
			l.more(t, "after the fault")
			l.finish(t)
		})
		if !passed {
			return // the next one would begin with a broken cluster
		}
	}
}

// promote makes the standby the primary, and logs how long the clients' writes then wait.
func (c *cluster) promote(t *testing.T, l *load) {
	t.Helper()
	began := l.now()
	c.pg.Standby().Promote(t)
	promoted := l.now()
	l.through(t, "after the promotion")
	t.Logf("the promotion took %s, the longest time without an acknowledged write after it: %s",
		(promoted - began).Round(time.Millisecond), l.gapSince(promoted).Round(time.Millisecond))
}

// withoutStore marks all brokers as cut off while fault runs: they cannot read the store all the time.
func (c *cluster) withoutStore(t *testing.T, l *load, fault func()) {
	t.Helper()
	for i := range size {
		l.cutOff[i].Store(true)
	}
	fault()
	c.allReady(t)
	for i := range size {
		l.cutOff[i].Store(false)
	}
}

func (c *cluster) killPrimary(t *testing.T, l *load) {
	old := c.pg.Primary()
	c.withoutStore(t, l, func() {
		old.Kill(t)
		c.promote(t, l)
	})
	old.Rejoin(t)
}

// stopPrimary stops the primary, which keeps its connections, and lets it go on after the promotion: it has lost its standby.
func (c *cluster) stopPrimary(t *testing.T, l *load) {
	old := c.pg.Primary()
	c.withoutStore(t, l, func() {
		old.Stop(t)
		c.promote(t, l)
		old.Continue(t)
		l.through(t, "after the old primary goes on")
	})
	old.Rejoin(t)
}

// replacePrimary promotes the standby while the primary runs, and fences the old one only later. One broker reaches only the old
// one, which serves it nothing. The others leave it.
func (c *cluster) replacePrimary(t *testing.T, l *load) {
	const cutOff = 2
	old := c.pg.Primary()
	c.withoutStore(t, l, func() {
		for j, server := range c.pg.servers {
			if server != old {
				c.engine[cutOff][j].set(fault{refuse: true})
			}
		}
		c.promote(t, l)
		eventually(t, "the broker at the old primary is not ready", func() bool { return !c.ready(t, cutOff) })
		if _, a := c.signIn(cutOff, c.users[0]); !a.unknown() {
			t.Errorf("a sign-in at the old primary: %d", a.status)
		}
		hold(2*time.Second, 20*time.Second)
		l.through(t, "while the old primary is not fenced")
		old.Kill(t)
		for _, link := range c.engine[cutOff] {
			link.set()
		}
	})
	old.Rejoin(t)
}

// stopStandby leaves a primary whose commits wait. Everything resumes when the standby is back.
func (c *cluster) stopStandby(t *testing.T, l *load) {
	l.mayBeStale = true
	c.withoutStore(t, l, func() {
		standby := c.pg.Standby()
		standby.Stop(t)
		for i := range size {
			if v, a := c.signIn(i, c.users[0]); !a.unknown() {
				t.Errorf("a sign-in at broker %d without a standby: %d, cookie %q", i, a.status, v.cookie)
			}
			eventually(t, fmt.Sprintf("broker %d is not ready", i), func() bool { return !c.ready(t, i) })
		}
		standby.Continue(t)
	})
	l.heard(t, "after the standby is back")
}
