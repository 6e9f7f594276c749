package faults_test

import (
	"testing"
	"time"

	"tokenbroker/internal/longtest"
)

// TestFaults breaks one cluster in one way after the other. In each case the clients' histories are checked, no
// acknowledged write is lost, and no service becomes stale unless etcd has no quorum.
func TestFaults(t *testing.T) {
	needProcesses(t)
	t.Parallel()
	c := newCluster(t)
	services := map[string]watched{"nats": c.service(t, "nats", maxStaleness), "sse": c.service(t, "sse", maxStaleness)}
	// Each fault breaks something, waits, and repairs it.
	type testCase struct {
		name string
		run  func(t *testing.T, l *load)
	}
	faults := []testCase{
		{"a broker is killed", c.killBroker},
		{"a follower of etcd is killed", c.killFollower},
		{"the leader of etcd is killed", c.killLeader},
		{"the leader of etcd is stopped", c.stopLeader},
		{"the leader of etcd is cut off from its peers", c.cutLeader(true, true)},
		{"a follower of etcd lags behind", c.delayFollower},
		{"a broker is cut off from etcd", c.cutFromEtcd},
		{"a broker is cut off from NATS", c.cutFromNATS},
		{"all members of etcd are killed", c.killAll},
		{"etcd has no quorum", c.loseQuorum},
	}
	faults = append(faults, longtest.Pick(nil, []testCase{
		{"what the leader of etcd sends to its peers is lost", c.cutLeader(true, false)},
		{"what the peers of etcd's leader send to it is lost", c.cutLeader(false, true)},
	})...)
	for _, tc := range faults {
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

func (c *cluster) killBroker(t *testing.T, l *load) {
	c.brokers[1].kill(t)
	l.through(t, "after a broker was killed")
	c.startBroker(t, 1)
	c.brokers[1].ready(t, brokerReady)
	c.allReady(t)
}

func (c *cluster) killFollower(t *testing.T, l *load) {
	leader, _ := c.leader(t)
	c.killMember(t, l, (leader+1)%size)
}

func (c *cluster) killLeader(t *testing.T, l *load) {
	leader, _ := c.leader(t)
	c.killMember(t, l, leader)
}

func (c *cluster) killMember(t *testing.T, l *load, j int) {
	c.members[j].kill(t)
	l.through(t, "after a member was killed")
	c.startMember(t, j)
	c.members[j].ready(t, memberReady)
}

// stopLeader stops the leader, which keeps its connections and its belief to lead.
func (c *cluster) stopLeader(t *testing.T, l *load) {
	leader, _ := c.leader(t)
	c.members[leader].stop(t)
	hold(3*time.Second, 10*time.Second)
	l.through(t, "while the leader is stopped")
	c.members[leader].resume(t)
}

// cutLeader loses what the leader sends to the other members, what they send to it, or both. Brokers still reach it. It
// must neither accept writes nor answer reads.
func (c *cluster) cutLeader(sends, receives bool) func(*testing.T, *load) {
	return func(t *testing.T, l *load) {
		leader, ids := c.leader(t)
		c.breakPeer(leader, ids[leader], fault{forward: receives, back: sends})
		eventually(t, "the other members have another leader", func() bool { now, _ := c.leader(t); return now != leader })
		hold(3*time.Second, 10*time.Second)
		l.through(t, "while the leader is cut off")
		c.repairPeers()
	}
}

// breakPeer breaks the connections between member j and its peers, by whichever side they were made. The forward direction of f is the one to j.
func (c *cluster) breakPeer(j int, id string, f fault) {
	for target, peer := range c.peers {
		if target == j {
			peer.set(f)
		} else {
			peer.set(fault{forward: f.back, back: f.forward, refuse: f.refuse, delay: f.delay, source: id})
		}
	}
}

func (c *cluster) repairPeers() {
	for _, peer := range c.peers {
		peer.set()
	}
}

// delayFollower makes a follower receive late what the others have written, and leaves a broker only that member to ask. The
// broker must not read the past.
func (c *cluster) delayFollower(t *testing.T, l *load) {
	leader, ids := c.leader(t)
	lagging := (leader + 1) % size
	c.breakPeer(lagging, ids[lagging], fault{delay: 100 * time.Millisecond})
	for j, engine := range c.engine[0] {
		if j != lagging {
			engine.set(fault{refuse: true})
		}
	}
	hold(2*time.Second, 10*time.Second)
	l.through(t, "while a follower lags behind")
	c.repairPeers()
	for _, engine := range c.engine[0] {
		engine.set()
	}
}

// cutFromEtcd leaves a broker reachable for clients and services. It refuses what needs the store.
func (c *cluster) cutFromEtcd(t *testing.T, l *load) {
	l.cutOff[2].Store(true)
	for _, engine := range c.engine[2] {
		engine.set(silence)
	}
	eventually(t, "the broker that is cut off is not ready", func() bool { return !c.ready(t, 2) })
	hold(0, 20*time.Second)
	l.through(t, "while a broker is cut off from etcd")
	for _, engine := range c.engine[2] {
		engine.set()
	}
	c.allReady(t)
	l.cutOff[2].Store(false)
}

// cutFromNATS leaves a broker that cannot publish. What it records reaches the services through the others.
func (c *cluster) cutFromNATS(t *testing.T, l *load) {
	c.nats[0].set(silence)
	hold(3*time.Second, 20*time.Second)
	l.through(t, "while a broker is cut off from NATS")
	var v visit
	answered(func() (a answer) { v, a = c.signIn(0, c.users[0]); return a })
	if a := answered(func() answer { return c.logOff(0, v) }); !a.accepted() {
		t.Errorf("log-off at the broker without NATS: %d", a.status)
	}
	l.refused(t, "after a log-off at the broker without NATS", v)
	c.nats[0].set()
}

// killAll ends every member at once. Nothing is served until they are back.
func (c *cluster) killAll(t *testing.T, l *load) {
	for i := range size {
		l.cutOff[i].Store(true)
	}
	for _, m := range c.members {
		m.kill(t)
	}
	for j := range size {
		c.startMember(t, j)
	}
	for _, m := range c.members {
		m.ready(t, memberReady)
	}
	c.allReady(t)
	for i := range size {
		l.cutOff[i].Store(false)
	}
}

// hold keeps a fault up for some time.
func hold(ordinary, long time.Duration) { time.Sleep(longtest.Pick(ordinary, long)) }
