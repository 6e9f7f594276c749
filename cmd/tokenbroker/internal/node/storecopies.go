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
	now := n.mono()
	startedMS := n.ledger.Now().UnixMilli() - n.ledger.Up() // by today's clock, which may have been set back
	c.mu.Lock()
	alive := c.seen.Beat(now, m.Heartbeat, startedMS)
	first := alive && (c.origin == "" || now-c.heard > copiedFor)
	if alive {
		c.origin, c.heard = m.Origin(), now
	}
	c.mu.Unlock()
	if first {
		n.cfg.Logger.Error("another broker runs on a copy of this store: what is revoked at one of them does not reach the services of the other; stop one of them",
			"store", m.Store(), "origin", m.Origin())
	}
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
