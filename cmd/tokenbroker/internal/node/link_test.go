package node_test

import (
	"net"
	"sync"
	"testing"
)

// link forwards TCP connections to target until it is cut (connections are closed and new ones
// refused) or silenced (connections stay open, but no data passes in one or both directions). mend
// undoes both: the data that a silenced connection held back then arrives late.
type link struct {
	listener net.Listener
	target   string
	wg       sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	moved  *sync.Cond // on mu: silent, cut or closed changed
	silent [2]bool    // by direction
	cut    bool
	closed bool
	conns  map[net.Conn]struct{}
}

// newLink starts a link. The cleanup of the test closes it and waits for its goroutines.
func newLink(t *testing.T, target string) *link {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{listener: listener, target: target, conns: map[net.Conn]struct{}{}}
	l.moved = sync.NewCond(&l.mu)
	l.wg.Go(l.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		l.set(func() { l.closed = true })
		l.wg.Wait()
	})
	return l
}

func (l *link) addr() string { return l.listener.Addr().String() }

func (l *link) doCut()     { l.set(func() { l.cut = true }) }
func (l *link) doSilence() { l.set(func() { l.silent = [2]bool{true, true} }) }
func (l *link) doMute()    { l.set(func() { l.silent[toTarget] = true }) }
func (l *link) doDeafen()  { l.set(func() { l.silent[fromTarget] = true }) }
func (l *link) mend()      { l.set(func() { l.cut, l.silent = false, [2]bool{} }) }

// Directions of a link.
const (
	toTarget = iota
	fromTarget
)

// set changes the state. A link that is cut or closed has no connections.
func (l *link) set(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
	if l.cut || l.closed {
		for conn := range l.conns {
			_ = conn.Close()
		}
	}
	l.moved.Broadcast()
}

// keep reports whether conn may stay open, and remembers it if so.
func (l *link) keep(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut || l.closed {
		return false
	}
	l.conns[conn] = struct{}{}
	return true
}

func (l *link) drop(conn net.Conn) {
	_ = conn.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, conn)
}

// pass waits while the link is silent.
func (l *link) pass(direction int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.silent[direction] && !l.cut && !l.closed {
		l.moved.Wait()
	}
}

func (l *link) accept() {
	for {
		near, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.wg.Go(func() { l.carry(near) })
	}
}

func (l *link) carry(near net.Conn) {
	defer l.drop(near)
	if !l.keep(near) {
		return
	}
	far, err := net.Dial("tcp", l.target)
	if err != nil {
		return
	}
	defer l.drop(far)
	if !l.keep(far) {
		return
	}
	back := make(chan struct{})
	l.wg.Go(func() {
		defer close(back)
		l.copy(near, far, fromTarget)
		_ = near.Close()
	})
	l.copy(far, near, toTarget)
	_ = far.Close()
	<-back
}

func (l *link) copy(to, from net.Conn, direction int) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		l.pass(direction)
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}
