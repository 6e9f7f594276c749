package node

import (
	"container/list"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"
)

// connections is a listener that tracks and bounds the connections it accepted. At the limit it
// closes the connection that has waited longest for its client, an idle one before one whose
// client has not sent a whole request. While every connection has a whole request in progress,
// Accept waits and new clients stay in the kernel's queue. Close the listener to end a waiting
// Accept. It starts no goroutine and is safe for concurrent use.
type connections struct {
	net.Listener
	limits connectionLimits
	logger *slog.Logger

	mu    sync.Mutex // guards what follows
	room  sync.Cond  // signalled when a connection may be accepted again
	open  map[net.Conn]*connection
	peers map[netip.Prefix]map[*connection]struct{}
	// fresh, sending and idle are of *connection, the one that waits longest first: in
	// http.StateNew, in http.StateActive with a request that is not whole, in http.StateIdle.
	fresh, sending, idle list.List
	turns                uint64
	closed               bool
	// drained is when a drain takes no more from the kernel's queue; zero without a drain.
	drained time.Time
	counts  connectionCounts
	warned  time.Time
}

// connectionLimits bounds one listener.
type connectionLimits struct {
	// total is how many connections may be open.
	total int
	// perAddress is how many one peer may have: an IPv4 address or an IPv6 /64, and four times
	// as many an IPv6 /48. Zero means no limit.
	perAddress int
	// exempt reports whether a peer has no limit of its own. If nil, every peer has.
	exempt func(netip.Addr) bool
}

// connectionCounts is what a listener's limits did.
type connectionCounts struct {
	open int
	// evicted counts connections that were closed for a new one, refused new ones that were closed.
	evicted, refused uint64
}

// connection is an open connection.
type connection struct {
	conn  net.Conn // as Accept returned it, without TLS
	state http.ConnState
	// whole says that the client has sent the request in progress whole.
	whole bool
	// waits is the place in fresh, sending or idle; nil while a whole request is in progress.
	waits *list.Element
	// turn orders connections by when they began to wait.
	turn   uint64
	shares []addressShare
}

func newConnections(l net.Listener, limits connectionLimits, logger *slog.Logger) *connections {
	c := &connections{
		Listener: l, limits: limits, logger: logger,
		open: map[net.Conn]*connection{}, peers: map[netip.Prefix]map[*connection]struct{}{},
	}
	c.room.L = &c.mu
	return c
}

// Accept implements [net.Listener]. During a drain it takes what is in the kernel's queue, and
// then closes the listener and returns [net.ErrClosed].
func (c *connections) Accept() (net.Conn, error) {
	for {
		c.awaitRoom()
		draining, more := c.nextQueued()
		if draining && !more {
			return nil, errors.Join(net.ErrClosed, c.Close())
		}
		conn, err := c.Listener.Accept()
		switch {
		case err == nil && c.admit(conn):
			return conn, nil
		case err == nil:
			_ = conn.Close()
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return nil, err
		case draining:
			return nil, errors.Join(net.ErrClosed, c.Close())
		}
	}
}

// Close implements [net.Listener]. Accepted connections stay open.
func (c *connections) Close() error {
	c.mu.Lock()
	c.closed = true
	c.room.Broadcast()
	c.mu.Unlock()
	return c.Listener.Close()
}

// awaitRoom waits until a connection can be admitted, or the listener is closed or drained.
func (c *connections) awaitRoom() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.closed && c.drained.IsZero() && c.full() {
		c.room.Wait()
	}
}

// admit takes conn, or reports false when its address has as many connections as it may. It can
// exceed the total by one: when the connection that was to be closed for it has just become active.
func (c *connections) admit(conn net.Conn) bool {
	shares := c.limits.shares(conn.RemoteAddr())
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range shares {
		if len(c.peers[s.prefix]) < s.limit {
			continue
		}
		victim := longestWaiting(c.peers[s.prefix])
		if victim == nil {
			c.counts.refused++
			c.warn("an address has as many connections as one may have; new ones are closed", "address", s.prefix.String(), "limit", s.limit)
			return false
		}
		c.evict(victim)
	}
	for len(c.open) >= c.limits.total {
		victim := c.longestWaiting()
		if victim == nil {
			break
		}
		c.warn("a listener has as many connections as it may have; those that wait longest for their clients are closed", "listener", c.Addr().String(), "limit", c.limits.total)
		c.evict(victim)
	}
	k := &connection{conn: conn, state: http.StateNew, shares: shares}
	c.open[conn] = k
	for _, s := range shares {
		if c.peers[s.prefix] == nil {
			c.peers[s.prefix] = map[*connection]struct{}{}
		}
		c.peers[s.prefix][k] = struct{}{}
	}
	c.wait(k, &c.fresh)
	return true
}

// longestWaiting is the connection to close among an address's, or nil if all have whole requests.
func longestWaiting(peers map[*connection]struct{}) *connection {
	var first *connection
	for k := range peers {
		if k.waits != nil && (first == nil || k.before(first)) {
			first = k
		}
	}
	return first
}

// before reports whether k is to be closed before other. Both wait for their clients.
func (k *connection) before(other *connection) bool {
	if idle := k.state == http.StateIdle; idle != (other.state == http.StateIdle) {
		return idle
	}
	return k.turn < other.turn
}

// connState is the [http.Server.ConnState] of the server that accepts from the listener.
func (c *connections) connState(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.open[accepted(conn)]
	if k == nil { // closed for another one
		return
	}
	switch state {
	case http.StateNew: // since admit
		return
	case http.StateActive:
		k.state, k.whole = state, false
		c.leave(k)
		c.wait(k, &c.sending)
	case http.StateIdle:
		k.state = state
		c.leave(k)
		c.wait(k, &c.idle)
	case http.StateClosed, http.StateHijacked:
		c.remove(k)
	}
	c.room.Signal()
}

// accepted is the connection below TLS.
func accepted(conn net.Conn) net.Conn {
	if over, ok := conn.(interface{ NetConn() net.Conn }); ok {
		return over.NetConn()
	}
	return conn
}

// arrived notes that the client has sent the request in progress whole.
func (c *connections) arrived(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.open[accepted(conn)]; k != nil {
		k.whole = true
		if k.state == http.StateActive {
			c.leave(k)
		}
	}
}

// cut closes the connections of clients that have not sent a whole request. One with bytes
// that wait to be read is spared: on a busy machine they may be the whole request.
func (c *connections) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.open {
		if !k.whole && !unread(k.conn) {
			_ = k.conn.Close()
		}
	}
}

// answering is how many connections wait for an answer.
func (c *connections) answering() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, k := range c.open {
		if k.state == http.StateActive && k.whole {
			n++
		}
	}
	return n
}

func (c *connections) stats() connectionCounts {
	c.mu.Lock()
	defer c.mu.Unlock()
	counts := c.counts
	counts.open = len(c.open)
	return counts
}

// What follows is called with mu held.

// full reports whether there is no room for a connection, and none that could be closed for it.
func (c *connections) full() bool {
	return len(c.open) >= c.limits.total && (len(c.open) > c.limits.total || c.longestWaiting() == nil)
}

// longestWaiting is the connection to close for another one, or nil if all have whole requests.
func (c *connections) longestWaiting() *connection {
	var first *connection
	for _, list := range []*list.List{&c.idle, &c.fresh, &c.sending} {
		if front := list.Front(); front != nil {
			if k := front.Value.(*connection); first == nil || k.before(first) {
				first = k
			}
		}
	}
	return first
}

func (c *connections) wait(k *connection, in *list.List) {
	c.turns++
	k.turn, k.waits = c.turns, in.PushBack(k)
}

func (c *connections) leave(k *connection) {
	if k.waits != nil {
		for _, list := range []*list.List{&c.fresh, &c.sending, &c.idle} {
			list.Remove(k.waits) // does nothing to an element of another list
		}
		k.waits = nil
	}
}

func (c *connections) evict(k *connection) {
	c.counts.evicted++
	c.remove(k)
	_ = k.conn.Close()
}

func (c *connections) remove(k *connection) {
	c.leave(k)
	delete(c.open, k.conn)
	for _, s := range k.shares {
		delete(c.peers[s.prefix], k)
		if len(c.peers[s.prefix]) == 0 {
			delete(c.peers, s.prefix)
		}
	}
}

// warnEvery bounds how often a full listener is logged.
const warnEvery = time.Minute

func (c *connections) warn(message string, args ...any) {
	if now := time.Now(); now.Sub(c.warned) >= warnEvery {
		c.warned = now
		c.logger.Warn(message, args...)
	}
}

// addressShare is how many connections the addresses of a prefix may have.
type addressShare struct {
	prefix netip.Prefix
	limit  int
}

// shares are those that a connection from addr counts in.
func (l connectionLimits) shares(addr net.Addr) []addressShare {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || l.perAddress == 0 {
		return nil
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	switch {
	case l.exempt != nil && l.exempt(ip):
		return nil
	case ip.Is4():
		return []addressShare{{netip.PrefixFrom(ip, 32), l.perAddress}}
	}
	site, _ := ip.Prefix(48) // an IPv6 address has that many bits
	network, _ := ip.Prefix(64)
	return []addressShare{{network, l.perAddress}, {site, 4 * l.perAddress}}
}
