package httpserver

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// dialled is a connection with a remote address that the test sets.
type dialled struct {
	net.Conn // nil, because only the methods below are called
	from     string
	closed   bool
}

func (d *dialled) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(d.from), 40000))
}

func (d *dialled) Close() error { d.closed = true; return nil }

// dials is a listener that accepts the connections that are sent to it.
type dials struct {
	net.Listener
	conns chan net.Conn
}

func (d dials) Accept() (net.Conn, error) {
	conn, open := <-d.conns
	if !open {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (d dials) Close() error   { close(d.conns); return nil }
func (d dials) Addr() net.Addr { return &net.TCPAddr{} }

type connLab struct {
	t *testing.T
	*connections
	conns chan net.Conn
}

func newConnLab(t *testing.T, limits Limits) *connLab {
	conns := make(chan net.Conn, 1)
	return &connLab{t: t, conns: conns, connections: newConnections(dials{conns: conns}, limits, slog.New(slog.DiscardHandler))}
}

// dial connects from an address and reports the connection to the server as being in state.
func (l *connLab) dial(from string, state http.ConnState) *dialled {
	l.t.Helper()
	d := &dialled{from: from}
	l.conns <- d
	conn, err := l.Accept()
	if err != nil || conn != net.Conn(d) {
		l.t.Fatalf("accepted %v, %v", conn, err)
	}
	l.become(d, http.StateNew)
	switch state {
	case http.StateIdle:
		l.become(d, http.StateActive)
		l.become(d, http.StateIdle)
	case http.StateActive:
		l.become(d, http.StateActive)
		l.arrived(d)
	}
	return d
}

func (l *connLab) become(d *dialled, state http.ConnState) { l.connState(d, state) }

// refused connects from an address and checks that the listener closes the connection.
func (l *connLab) refused(from string) {
	l.t.Helper()
	d := &dialled{from: from}
	if l.admit(d) {
		l.t.Errorf("%s was admitted", from)
	}
}

func wantClosed(t *testing.T, want bool, conns ...*dialled) {
	t.Helper()
	for i, d := range conns {
		if d.closed != want {
			t.Errorf("connection %d from %s: closed %t", i, d.from, d.closed)
		}
	}
}

func TestAFullListenerClosesTheLongestIdleConnection(t *testing.T) {
	l := newConnLab(t, Limits{Total: 4})
	active := l.dial("192.0.2.1", http.StateActive)
	silent := l.dial("192.0.2.2", http.StateNew)
	first := l.dial("192.0.2.3", http.StateIdle)
	second := l.dial("192.0.2.4", http.StateIdle)
	l.become(first, http.StateActive)
	l.become(first, http.StateIdle) // now idle for a shorter time than second

	l.dial("192.0.2.5", http.StateActive)
	wantClosed(t, true, second)
	wantClosed(t, false, active, silent, first)
	l.dial("192.0.2.6", http.StateActive)
	wantClosed(t, true, first)
	wantClosed(t, false, active, silent)
	l.dial("192.0.2.7", http.StateActive) // no idle one is left
	wantClosed(t, true, silent)
	wantClosed(t, false, active)
	if got := l.stats(); got != (Counts{Open: 4, Evicted: 3}) {
		t.Errorf("%+v", got)
	}
	l.become(second, http.StateClosed) // the server notices later
	if got := l.stats().Open; got != 4 {
		t.Errorf("%d open after the end of one that was closed before", got)
	}
}

// A connection without a whole request is closed for a new one.
func TestSlowSendersDoNotBlockNewClients(t *testing.T) {
	l := newConnLab(t, Limits{Total: 3, PerAddress: 2})
	slow := l.dial("192.0.2.1", http.StateNew)
	l.become(slow, http.StateActive)
	fresh := l.dial("192.0.2.2", http.StateNew)
	whole := l.dial("192.0.2.1", http.StateActive)

	third := l.dial("192.0.2.1", http.StateNew)
	wantClosed(t, true, slow)
	wantClosed(t, false, fresh, whole)
	l.become(third, http.StateActive)
	l.dial("192.0.2.3", http.StateActive) // fresh has waited longer than third
	wantClosed(t, true, fresh)
	wantClosed(t, false, whole, third)
	last := l.dial("192.0.2.4", http.StateNew)
	wantClosed(t, true, third)
	wantClosed(t, false, whole, last)

	l.become(last, http.StateActive)
	l.arrived(last)
	if !l.full() {
		t.Error("a connection with a whole request could be closed")
	}
}

func TestAcceptWaitsWhileEveryConnectionIsActive(t *testing.T) {
	for name, free := range map[string]func(l *connLab, busy *dialled){
		"until one is idle":   func(l *connLab, busy *dialled) { l.become(busy, http.StateIdle) },
		"until one is closed": func(l *connLab, busy *dialled) { l.become(busy, http.StateClosed) },
		"until it is closed":  func(l *connLab, _ *dialled) { _ = l.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newConnLab(t, Limits{Total: 1})
				busy := l.dial("192.0.2.1", http.StateActive)
				next := &dialled{from: "192.0.2.2"}
				l.conns <- next
				accepted := make(chan error, 1)
				go func() {
					_, err := l.Accept()
					accepted <- err
				}()
				synctest.Wait()
				if len(accepted) > 0 {
					t.Fatalf("it did not wait: %v", <-accepted)
				}
				free(l, busy)
				if err := <-accepted; err != nil && !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
				wantClosed(t, false, next)
			})
		})
	}
}

// The connections of an address are limited, those of IPv6 by /64 and by /48. Its own idle connections are
// closed first.
func TestConnectionsOfAnAddress(t *testing.T) {
	exempt := netip.MustParseAddr("192.0.2.80")
	l := newConnLab(t, Limits{Total: 100, PerAddress: 2, Exempt: func(ip netip.Addr) bool { return ip == exempt }, ExemptLoopback: true})
	l.dial("192.0.2.1", http.StateActive)
	idle := l.dial("::ffff:192.0.2.1", http.StateIdle)
	other := l.dial("192.0.2.2", http.StateIdle)
	l.dial("192.0.2.1", http.StateActive)
	wantClosed(t, true, idle)
	wantClosed(t, false, other)
	l.refused("192.0.2.1")
	for range 5 {
		l.dial("192.0.2.80", http.StateActive)
		l.dial("127.0.0.1", http.StateActive)
		l.dial("::1", http.StateActive)
	}

	var site []*dialled
	for _, from := range []string{
		"2001:db8:1:1::1", "2001:db8:1:1::2", "2001:db8:1:2::1", "2001:db8:1:2::2",
		"2001:db8:1:3::1", "2001:db8:1:3::2", "2001:db8:1:4::1", "2001:db8:1:4::2",
	} {
		site = append(site, l.dial(from, http.StateActive))
	}
	l.refused("2001:db8:1:1::3") // its /64
	l.refused("2001:db8:1:5::1") // its /48
	l.dial("2001:db8:2::1", http.StateActive)
	l.become(site[0], http.StateClosed)
	l.dial("2001:db8:1:5::1", http.StateActive)
	if got := l.stats(); got.Refused != 3 || got.Evicted != 1 {
		t.Errorf("%+v", got)
	}
	for _, d := range site {
		l.become(d, http.StateClosed)
	}
	if n := len(l.peers[netip.MustParsePrefix("2001:db8:1::/48")]); n != 1 {
		t.Errorf("%d connections of the /48 are remembered", n)
	}
}

// A server answers a new client although idle and silent clients hold all its connections.
func TestIdleConnectionsDoNotBlockNewClients(t *testing.T) {
	const total = 8
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(inner, Limits{Total: total}, slog.New(slog.DiscardHandler), func(err error) { t.Error(err) })
	s.Serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }), nil, nil)
	defer func() {
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	for i := range 5 * total {
		conn, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if i%2 == 0 {
			continue // sends nothing
		}
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(make([]byte, 1)); n != 1 {
			t.Fatalf("client %d got no answer: %v", i, err)
		}
		if open := s.Counts().Open; open > total {
			t.Fatalf("%d connections are open", open)
		}
	}
}

// bounded is a listener with a deadline. It calls a function before the deadline is set.
type bounded struct {
	*net.TCPListener
	before func()
	until  time.Time
}

func (b *bounded) SetDeadline(t time.Time) error {
	b.before()
	b.until = t
	return nil
}

// A drain that starts between two calls of Accept still takes the connections in the kernel's queue.
func TestADrainBetweenTwoAccepts(t *testing.T) {
	next := make(chan struct{})
	var c *connections
	listener, _ := queueOf(t, 1)
	inner := &bounded{TCPListener: listener, before: func() {}}
	inner.before = func() {
		inner.before = func() {}
		go func() {
			defer close(next)
			c.nextQueued()
		}()
		select {
		case <-next:
		case <-time.After(10 * time.Millisecond): // it waits for the drain
		}
	}
	c = newConnections(inner, Limits{Total: 1}, slog.New(slog.DiscardHandler))
	c.drain()
	<-next
	if !inner.until.Equal(c.drained) {
		t.Errorf("the next Accept ends %s before the drain", c.drained.Sub(inner.until))
	}
}

// A drain takes all clients of the kernel's queue, and closes the listener when it is empty.
func TestADrainEmptiesTheKernelsQueue(t *testing.T) {
	const clients = 5
	listener, queued := queueOf(t, clients)
	c := newConnections(listener, Limits{Total: clients + 1}, slog.New(slog.DiscardHandler))
	c.drain()
	for range clients {
		conn, err := c.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
	}
	if _, err := c.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the next Accept: %v", err)
	}
	for _, conn := range queued {
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("a client of the queue: %v", err)
		}
	}
	if conn, err := net.Dial("tcp", listener.Addr().String()); err == nil {
		_ = conn.Close()
		t.Error("the listener is still open")
	}
}

// queueOf returns a listener and clients whose connections are not accepted yet.
func queueOf(t *testing.T, clients int) (*net.TCPListener, []net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	var queued []net.Conn
	for range clients {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		queued = append(queued, conn)
	}
	return l.(*net.TCPListener), queued
}
