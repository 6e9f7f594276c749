package httpserver

import (
	"context"
	"net/http"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// queuedMost bounds how long a drain takes connections from the kernel's queue.
	queuedMost = 2 * time.Second
	// settleLeast is how long a drain lasts at least: clients that keep their connections, and
	// sent a request when it began, get their answer.
	settleLeast = 100 * time.Millisecond
	settleEvery = 5 * time.Millisecond
)

// drain ends the accepting of connections: those in the kernel's queue are still taken, and
// then the listener is closed.
func (c *connections) drain() {
	c.mu.Lock()
	c.drained = time.Now().Add(queuedMost)
	c.room.Broadcast()
	bounded := c.acceptUntil(time.Now()) // wakes an Accept that waits
	c.mu.Unlock()
	if !bounded {
		_ = c.Close()
	}
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

func (c *connections) draining() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.drained.IsZero()
}

// settle waits, after drain, until every accepted connection has had its answer or was cut
// off, or ctx ends. net/http must not be told to shut down before: it closes a connection
// without an answer when it has just read the request.
func (c *connections) settle(ctx context.Context) {
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	least, linger := time.After(settleLeast), time.After(lingerTimeout)
	for lasted, lingered := false, false; !lasted || c.busy(); {
		select {
		case <-ctx.Done():
			return
		case <-least:
			lasted = true
		case <-linger:
			lingered = true
		case <-tick.C:
			if lingered {
				c.cut()
			}
		}
	}
}

// busy reports whether a connection is new or has a request in progress.
func (c *connections) busy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open) > c.idle.Len()
}

// closeWhenDraining asks the client for no further request on this connection. HTTP/2
// connections say so by GOAWAY.
func (c *connections) closeWhenDraining(w http.ResponseWriter) {
	if c.draining() {
		w.Header().Set("Connection", "close")
	}
}
