package node

import (
	"sync"
	"time"

	"tokenbroker/api/httpapi"
	"tokenbroker/revocation"
)

// copiedFor is how long after its last heartbeat a broker on a copy of the store is reported.
const copiedFor = 30 * time.Second

// copies watches NATS for heartbeats of another broker on a copy of this store. Log-offs at one of the two do not
// reach the services of the other. It is safe for concurrent use.
type copies struct {
	node *Node

	mu     sync.Mutex // mu guards the rest
	seen   revocation.Copies
	origin string        // of the latest
	heard  time.Duration // when, by Node.mono
	// unknown is an origin that is not on record on the shared store, or has joined since its records were read, and
	// unknownAt when it was heard.
	unknown   string
	unknownAt time.Duration
}

// watchCopies subscribes to heartbeats. If the server refuses the subscription, which is logged, such a broker is not
// noticed.
func (n *Node) watchCopies() error {
	n.copies = &copies{node: n}
	return n.bus.Heartbeats(n.copies.take)
}

// take reads one heartbeat of another broker. NATS does not return the broker's own ones.
func (c *copies) take(raw []byte) {
	n := c.node
	m, err := revocation.ParseMessage(raw, n.keys.FeedVerifier)
	if err != nil || m.Heartbeat == nil || m.Incomplete || m.Store() != n.ledger.StoreID() || m.Origin() == n.ledger.Origin() {
		return
	}
	if n.cluster != nil && n.cluster.onRecord(m.Origin()) { // another broker of the shared store
		return
	}
	now := n.mono()
	startedMS := n.ledger.Now().UnixMilli() - n.ledger.Up() // by today's clock, which may have been set back
	c.mu.Lock()
	defer c.mu.Unlock()
	switch alive := c.seen.Beat(now, m.Heartbeat, startedMS); {
	case alive && n.cluster != nil:
		c.unknown, c.unknownAt = m.Origin(), now
	case alive:
		c.report(m.Origin(), now)
	}
}

// report records a broker on a copy that was heard at the time heard. The caller holds mu.
func (c *copies) report(origin string, heard time.Duration) {
	if c.origin == "" || heard-c.heard > copiedFor {
		c.node.cfg.Logger.Error("another broker runs on a copy of this store: what is revoked at one of them does not reach the services of the other; stop one of them",
			"store", c.node.ledger.StoreID(), "origin", origin)
	}
	c.origin, c.heard = origin, heard
}

// settle decides whether an unknown origin is that of a broker on a copy: it is not if it was on record when the records
// of the shared store were read. The reading began at the time began of Node.mono.
func (c *copies) settle(began time.Duration, onRecord func(origin string) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unknown == "" || began <= c.unknownAt {
		return
	}
	if onRecord(c.unknown) {
		c.seen.Forget(c.unknown)
	} else {
		c.report(c.unknown, c.unknownAt)
	}
	c.unknown = ""
}

// check returns a check that is not ready while there is such a broker.
func (c *copies) check() httpapi.Check {
	now := c.node.mono()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.origin == "" || now-c.heard > copiedFor {
		return httpapi.Check{Name: "copies", OK: true}
	}
	return httpapi.Check{Name: "copies", Detail: "another broker, origin " + c.origin + ", runs on a copy of this store: stop one of them"}
}
