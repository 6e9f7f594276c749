package httpserver

import (
	"container/list"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Limits bounds the connections of one listener.
type Limits struct {
	// Total is the maximum number of open connections.
	Total int
	// PerAddress is how many of them one peer may have: an IPv4 address or an IPv6 /64. An IPv6
	// /48 may have four times as many. If 0, peers have no limit of their own.
	PerAddress int
	// Exempt reports whether a peer has no limit of its own. If nil, no peer is exempt.
	Exempt func(netip.Addr) bool
	// ExemptLoopback leaves peers on loopback without a limit of their own.
	ExemptLoopback bool
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
			c.counts.Refused++
			c.warn("an address has as many connections as one may have; new ones are closed", "address", s.prefix.String(), "limit", s.limit)
			return false
		}
		c.evict(victim)
	}
	for len(c.open) >= c.limits.Total {
		victim := c.longestWaiting()
		if victim == nil {
			break
		}
		c.warn("a listener has as many connections as it may have; those that wait longest for their clients are closed", "listener", c.Addr().String(), "limit", c.limits.Total)
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

// longestWaiting returns the connection to close among those of an address, or nil if all have whole requests.
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

// nextQueued reports whether the listener is being drained and, if so, whether Accept is to
// take one more connection from the kernel's queue; it bounds that Accept then. The drain ends when the
// queue is found empty, and the listener is closed at once: clients that come later are
// refused, and those that come in between, a few microseconds, are reset. Waiting for a quiet moment, or a
// shorter queue, resets more: new clients keep coming, and a full queue leaves them with half a handshake.
func (c *connections) nextQueued() (draining, more bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.drained.IsZero() {
		return false, true
	}
	return true, !c.full() && time.Now().Before(c.drained) && c.queued() && c.acceptUntil(c.drained)
}

// queued reports whether a connection waits in the kernel's queue. It reports false for a listener
// that cannot be asked.
func (c *connections) queued() bool {
	l, ok := c.Listener.(syscall.Conn)
	if !ok {
		return false
	}
	waits := false
	if raw, err := l.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			waits = err == nil && n > 0
		})
	}
	return waits
}

// acceptUntil bounds Accept. It reports false where the listener cannot be bounded. It is called
// with mu held: what drain sets to wake an Accept must not replace a later bound.
func (c *connections) acceptUntil(t time.Time) bool {
	l, ok := c.Listener.(interface{ SetDeadline(t time.Time) error })
	return ok && l.SetDeadline(t) == nil
}

// The methods below are called with mu held.

// full reports whether there is no room for a connection, and none that could be closed for it.
func (c *connections) full() bool {
	return len(c.open) >= c.limits.Total && (len(c.open) > c.limits.Total || c.longestWaiting() == nil)
}

// longestWaiting returns the connection to close for a new one, or nil if all have whole requests.
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

func (c *connections) evict(k *connection) {
	c.counts.Evicted++
	c.remove(k)
	_ = k.conn.Close()
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

// shares returns the shares that a connection from addr counts in.
func (l Limits) shares(addr net.Addr) []addressShare {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || l.PerAddress == 0 {
		return nil
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	switch {
	case l.Exempt != nil && l.Exempt(ip), l.ExemptLoopback && ip.IsLoopback():
		return nil
	case ip.Is4():
		return []addressShare{{netip.PrefixFrom(ip, 32), l.PerAddress}}
	}
	site, _ := ip.Prefix(48) // an IPv6 address has that many bits
	network, _ := ip.Prefix(64)
	return []addressShare{{network, l.PerAddress}, {site, 4 * l.PerAddress}}
}
