package node_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tokenbroker/broker/password"
	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/internal/longtest"
)

// stopped stops the node and checks that Close returns no error and that no request delays it until
// it is cut off.
func (l *lab) stopped() {
	l.t.Helper()
	l.stopBroker()
	if log := l.warnings.String(); strings.Contains(log, "a stop cuts off") {
		l.t.Errorf("a listener did not drain:\n%s", log)
	}
}

// accepted sends a request's header and waits until the handler asks for its body.
func (c *rawConn) accepted(t *testing.T, path string, length int) {
	t.Helper()
	c.send(post(path, length, "Expect: 100-continue"))
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"HTTP/1.1 100 Continue\r\n", "\r\n"} {
		if line, err := c.r.ReadString('\n'); line != want {
			t.Fatalf("waiting for 100 Continue: %q, %v", line, err)
		}
	}
}

// TestAStopAnswersTheSignInsInProgress stops the broker while 64 sign-ins wait for the check of their
// passwords and silent clients are connected to each listener. Every sign-in is answered, with 503
// if its password could not be checked in time, and the clients of one listener do not use up the
// time of another.
func TestAStopAnswersTheSignInsInProgress(t *testing.T) {
	l := newFaultLab(t, func(cfg *node.Config) { cfg.Passwords = password.DefaultParams })
	public := l.listeners()["public"]
	conns, names := make([]*rawConn, 64), make([]string, 64)
	bodyOf := func(i int) string { return fmt.Sprintf(`{"username": %q, "password": "lovelace"}`, names[i]) }
	for i := range conns {
		if names[i] = "ada"; i%8 != 0 { // few enough not to be throttled
			names[i] = fmt.Sprintf("nobody-%d", i)
		}
		conns[i] = public.dial(t)
		conns[i].accepted(t, "/auth/sign-in/", len(bodyOf(i)))
	}
	for _, at := range l.listeners() {
		at.dial(t) // browsers open connections in advance
	}
	for i, c := range conns {
		c.send(bodyOf(i))
	}
	l.stopped()
	checked := 0
	for i, c := range conns {
		want := http.StatusUnauthorized
		if names[i] == "ada" {
			want = http.StatusOK
		}
		switch status, _, body, err := c.reply(patience); status {
		case want:
			checked++
		case http.StatusServiceUnavailable:
			if !strings.Contains(body, `"busy"`) {
				t.Errorf("%s: %s", names[i], body)
			}
		default:
			t.Errorf("%s: %d, want %d: %s %v", names[i], status, want, body, err)
		}
	}
	t.Logf("%d of %d passwords were checked, the others refused at once", checked, len(conns))
	if checked == 0 {
		t.Error("no password was checked")
	}
}

// TestAStopCutsOffClientsThatAreStillSending checks that neither a header nor a body that arrives
// byte by byte delays a stop, on any listener. A complete request is still answered, and a second
// stop does nothing.
func TestAStopCutsOffClientsThatAreStillSending(t *testing.T) {
	t.Parallel()
	l := newFaultLab(t, nil)
	n := l.node
	slow := map[string]*rawConn{}
	for name, at := range l.listeners() {
		header, body := at.dial(t), at.dial(t)
		header.send("GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
		path := "/auth/sign-in/"
		if name != "public" {
			path = "/admin/v1/users"
		}
		body.send(post(path, 1000) + `{"username": "`)
		slow[name+"'s header"], slow[name+"'s body"] = header, body
	}
	whole := l.listeners()["public"].dial(t)
	const good = `{"username": "ada", "password": "lovelace"}`
	whole.accepted(t, "/auth/sign-in/", len(good))
	dripping := make(chan struct{})
	defer func() { <-dripping }()
	go func() {
		defer close(dripping)
		drip(slow["public's header"], 100*time.Millisecond)
	}()
	whole.send(good)

	l.stopped()
	if status, _, body, err := whole.reply(patience); status != http.StatusOK {
		t.Errorf("the complete request: %d, %s %v", status, body, err)
	}
	for name, c := range slow {
		if !c.cut(patience) {
			t.Errorf("%s is still connected", name)
		}
	}
	if err := n.Close(); err != nil {
		t.Errorf("a second stop: %v", err)
	}
}

// drip sends one byte after another until the connection is closed.
func drip(c *rawConn, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for range tick.C {
		if _, err := c.Write([]byte("a")); err != nil {
			return
		}
	}
}

// post returns the header of a POST of JSON with these additional lines.
func post(path string, length int, lines ...string) string {
	lines = append([]string{
		"POST " + path + " HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", fmt.Sprint("Content-Length: ", length),
	}, lines...)
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// TestAStopAnswersEveryConnectionItAccepted stops the broker while clients open a connection for
// each request. No accepted connection may be closed without an answer; connections that are still
// in the kernel's queue when the listener is closed are refused or reset.
func TestAStopAnswersEveryConnectionItAccepted(t *testing.T) {
	longtest.SkipShort(t, "stops several brokers")
	t.Parallel()
	stops, clients := longtest.Pick(4, 40), 24
	var answered, dropped, refused atomic.Int64
	for range stops {
		l := newFaultLab(t, nil)
		public := l.listeners()["public"]
		var all sync.WaitGroup
		underWay := make(chan struct{}, clients)
		for range clients {
			all.Go(func() {
				for n := 0; ; n++ {
					conn, err := (&net.Dialer{Timeout: patience}).DialContext(t.Context(), public.network, public.addr)
					if err != nil {
						return // the listener is closed
					}
					// A reset that the write reports is not reported again: the read would then say EOF.
					_, sent := io.WriteString(conn, "GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
					resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
					_ = conn.Close()
					switch {
					case err == nil && resp.StatusCode == http.StatusOK:
						answered.Add(1)
					case errors.Is(sent, syscall.ECONNRESET), errors.Is(sent, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET):
						refused.Add(1)
						return
					default:
						dropped.Add(1)
						t.Errorf("closed without an answer: %v", err)
						return
					}
					if n == 3 {
						underWay <- struct{}{}
					}
				}
			})
		}
		for range clients {
			<-underWay
		}
		l.stopped()
		all.Wait()
	}
	t.Logf("%d stops: %d answered, %d closed without an answer, %d reset in the kernel's queue", stops, answered.Load(), dropped.Load(), refused.Load())
}

// TestAStopEndsKeptConnections checks that a client that keeps its connection and sends a request
// while the broker stops receives an answer with "Connection: close".
func TestAStopEndsKeptConnections(t *testing.T) {
	t.Parallel()
	l := newFaultLab(t, nil)
	public := l.listeners()["public"]
	const body = `{"username": "ada", "password": "lovelace"}`
	slow, kept := public.dial(t), public.dial(t)
	const get = "GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
	kept.send(get)
	answered := func() (told bool) {
		t.Helper()
		resp, err := http.ReadResponse(kept.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("%d %v", resp.StatusCode, err)
		}
		return resp.Close
	}
	if answered() {
		t.Error("the connection ends before the stop")
	}
	slow.accepted(t, "/auth/sign-in/", len(body)) // delays the stop
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.stopped()
	}()
	for { // until the listener is closed
		conn, err := (&net.Dialer{Timeout: patience}).DialContext(t.Context(), public.network, public.addr)
		if err != nil {
			break
		}
		_ = conn.Close()
	}
	kept.send(get)
	if !answered() {
		t.Error("the answer does not ask to close")
	}
	slow.send(body)
	if status, _, _, err := slow.reply(patience); status != http.StatusOK && status != http.StatusServiceUnavailable {
		t.Errorf("the request in progress: %d %v", status, err)
	}
	<-ended
}
