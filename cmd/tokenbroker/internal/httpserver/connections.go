package httpserver

import (
	"container/list"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
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
	limits Limits
	logger *slog.Logger

	mu    sync.Mutex // guards what follows
	room  sync.Cond  // signalled when a connection may be accepted again
	open  map[net.Conn]*connection
	peers map[netip.Prefix]map[*connection]struct{}
	// fresh, sending and idle are lists of *connection, the longest waiting first: those in http.StateNew,
	// those in http.StateActive without a whole request, and those in http.StateIdle.
	fresh, sending, idle list.List
	turns                uint64
	closed               bool
	// drained is the time at which a drain stops accepting from the kernel's queue; zero without a drain.
	drained time.Time
	counts  Counts
	warned  time.Time
}

// Counts describes the connections of a listener.
type Counts struct {
	// Open is how many connections are open now.
	Open int
	// Evicted is how many connections were closed for new ones, Refused how many new ones were closed.
	Evicted, Refused uint64
}

// connection is an open connection.
type connection struct {
	conn  net.Conn // as Accept returned it, without TLS
	state http.ConnState
	// whole reports whether the client has sent the whole request in progress.
	whole bool
	// waits is the place in fresh, sending or idle; nil while a whole request is in progress.
	waits *list.Element
	// turn orders connections by when they began to wait.
	turn   uint64
	shares []addressShare
}

func newConnections(l net.Listener, limits Limits, logger *slog.Logger) *connections {
	c := &connections{
		Listener: l, limits: limits, logger: logger,
		open: map[net.Conn]*connection{}, peers: map[netip.Prefix]map[*connection]struct{}{},
	}
	c.room.L = &c.mu
	return c
}

// connState is the [http.Server.ConnState] of the server that accepts from the listener.
func (c *connections) connState(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.open[accepted(conn)]
	if k == nil { // already evicted
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

// accepted returns the connection as Accept returned it, below TLS.
func accepted(conn net.Conn) net.Conn {
	if over, ok := conn.(interface{ NetConn() net.Conn }); ok {
		return over.NetConn()
	}
	return conn
}

// arrived records that the client has sent the whole request in progress.
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

// cut closes the connections of clients that have not sent a whole request, except those with unread
// bytes: on a busy machine these may be the whole request.
func (c *connections) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.open {
		if !k.whole && !unread(k.conn) {
			_ = k.conn.Close()
		}
	}
}

// answering returns the number of connections that wait for an answer.
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

func (c *connections) stats() Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	counts := c.counts
	counts.Open = len(c.open)
	return counts
}

func (c *connections) draining() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.drained.IsZero()
}

// closeWhenDraining sets the header that tells the client to send no further request on this connection.
// On HTTP/2 the server sends GOAWAY instead.
func (c *connections) closeWhenDraining(w http.ResponseWriter) {
	if c.draining() {
		w.Header().Set("Connection", "close")
	}
}

// The methods below are called with mu held.

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
