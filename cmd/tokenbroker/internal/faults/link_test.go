package faults_test

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// fault is what a [link] does to its connections. The zero value is none.
type fault struct {
	// forward and back lose what is sent to the target, and what it answers: connections stay open, new ones are
	// accepted, and the bytes arrive when the fault has ended, as after retransmission.
	forward, back bool
	// refuse resets connections.
	refuse bool
	// delay is added to each chunk in each direction.
	delay time.Duration
	// source limits the fault to the connections of one etcd member, by its id in hex. If empty, all are affected.
	source string
}

// silence loses all bytes in both directions.
var silence = fault{forward: true, back: true}

// link is a TCP proxy of one target.
type link struct {
	addr, target string
	wg           sync.WaitGroup // of the connections

	mu      sync.Mutex // guards the rest
	faults  []fault
	changed chan struct{} // closed at the next change of faults
	conns   map[*pipe]struct{}
	tap     tap // may be nil
}

// tap returns what is forwarded and what is sent back instead of what the two ends of a connection send.
type tap func(forward, back io.Reader) (io.Reader, io.Reader)

// insert lets all connections from now on pass through t, which may be nil, and resets the others.
func (l *link) insert(t tap) {
	l.mu.Lock()
	l.tap = t
	l.mu.Unlock()
	for _, p := range l.pipes() {
		p.close(true)
	}
}

// pipe is a connection through a link.
type pipe struct {
	link           *link
	client, server net.Conn // server is nil until it was dialled
	done           chan struct{}
	once           sync.Once

	mu     sync.Mutex // guards source
	source string     // the etcd member that made the connection, if it is one of peers and has sent a request
}

// newLink returns a link to target that listens at addr, which is the address of a free port or has port 0.
func newLink(t *testing.T, addr, target string) *link {
	t.Helper()
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	l := &link{
		addr: listener.Addr().String(), target: target, changed: make(chan struct{}), conns: map[*pipe]struct{}{},
	}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			p := &pipe{link: l, client: conn, done: make(chan struct{})}
			l.mu.Lock()
			l.conns[p] = struct{}{}
			l.mu.Unlock()
			l.wg.Go(p.run)
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		accepting.Wait()
		for _, p := range l.pipes() {
			p.close(true)
		}
		l.wg.Wait()
	})
	return l
}

// set replaces the faults of the link. Without arguments the link works again.
func (l *link) set(faults ...fault) {
	l.mu.Lock()
	l.faults = faults
	close(l.changed)
	l.changed = make(chan struct{})
	l.mu.Unlock()
	for _, p := range l.pipes() {
		if f, _ := p.fault(); f.refuse {
			p.close(true)
		}
	}
}

func (l *link) pipes() []*pipe {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]*pipe, 0, len(l.conns))
	for p := range l.conns {
		all = append(all, p)
	}
	return all
}

// fault returns the sum of the link's faults for this connection, and a channel that is closed when it may change.
func (p *pipe) fault() (sum fault, changed <-chan struct{}) {
	p.mu.Lock()
	source := p.source
	p.mu.Unlock()
	p.link.mu.Lock()
	defer p.link.mu.Unlock()
	for _, f := range p.link.faults {
		if f.source == "" || f.source == source {
			sum.forward, sum.back, sum.refuse = sum.forward || f.forward, sum.back || f.back, sum.refuse || f.refuse
			sum.delay = max(sum.delay, f.delay)
		}
	}
	return sum, p.link.changed
}

func (p *pipe) run() {
	if !p.pass(true) { // a host that loses all packets does not answer the dialling either
		p.close(true)
		return
	}
	server, err := net.Dial("tcp", p.link.target)
	if err != nil {
		p.close(true)
		return
	}
	p.mu.Lock()
	p.server = server
	p.mu.Unlock()
	p.link.mu.Lock()
	tap := p.link.tap
	p.link.mu.Unlock()
	var forward, back io.Reader = p.client, server
	if tap != nil {
		forward, back = tap(forward, back)
	}
	var both sync.WaitGroup
	both.Go(func() { p.copy(server, forward, true) })
	both.Go(func() { p.copy(p.client, back, false) })
	both.Wait()
	_ = server.Close()
}

// copy forwards one direction until its end, which is delayed by faults as well.
func (p *pipe) copy(to io.Writer, from io.Reader, forward bool) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if forward {
			p.identify(buf[:n])
		}
		if !p.pass(forward) {
			p.close(true)
			return
		}
		if _, failed := to.Write(buf[:n]); failed != nil || err != nil {
			p.close(false) // half-closed connections are not needed here
			return
		}
	}
}

// pass waits until the faults let bytes pass in that direction. It reports whether the connection is still open.
func (p *pipe) pass(forward bool) bool {
	for {
		f, changed := p.fault()
		switch {
		case f.refuse:
			return false
		case forward && !f.forward, !forward && !f.back:
			if f.delay > 0 {
				select {
				case <-time.After(f.delay):
				case <-p.done:
					return false
				}
			}
			return true
		}
		select {
		case <-changed:
		case <-p.done:
			return false
		}
	}
}

// identify notes which etcd member sends. Its requests to peers name it in a header.
func (p *pipe) identify(chunk []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.source != "" {
		return
	}
	if _, after, found := bytes.Cut(chunk, []byte("X-Server-From: ")); found {
		id, _, _ := bytes.Cut(after, []byte("\r\n"))
		p.source = string(id)
	}
}

// close ends both connections. If reset is true, they look as if the other end had never been there.
func (p *pipe) close(reset bool) {
	p.once.Do(func() {
		close(p.done)
		p.mu.Lock()
		server := p.server
		p.mu.Unlock()
		for _, conn := range []net.Conn{p.client, server} {
			if tcp, ok := conn.(*net.TCPConn); ok {
				if reset {
					_ = tcp.SetLinger(0)
				}
				_ = tcp.Close()
			}
		}
		p.link.mu.Lock()
		delete(p.link.conns, p)
		p.link.mu.Unlock()
	})
}
