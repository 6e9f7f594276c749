package node_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenbroker/cmd/tokenbroker/internal/node"
)

// stopped stops the node, which has to be within drainTimeout and without an error.
func (l *lab) stopped() {
	l.t.Helper()
	began := time.Now()
	l.stopBroker()
	if took := time.Since(began); took >= node.DrainTimeout {
		l.t.Errorf("the stop took %s, want less than %s", took, node.DrainTimeout)
	}
}

// accepted sends a request's header and waits until the handler asks for its body.
func (c *rawConn) accepted(t *testing.T, path string, length int) {
	t.Helper()
	c.send(post(path, length, "Expect: 100-continue"))
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"HTTP/1.1 100 Continue\r\n", "\r\n"} {
		if line, err := c.r.ReadString('\n'); line != want {
			t.Fatalf("waiting for 100 Continue: %q, %v", line, err)
		}
	}
}

// TestAStopAnswersTheSignInsUnderWay: 64 of them (fewer on a machine that is too busy) wait for their passwords to be checked,
// while clients that say nothing hold each listener. The sign-ins are answered, and no
// listener's clients take the time of another's.
func TestAStopAnswersTheSignInsUnderWay(t *testing.T) {
	l := newFaultLab(t, nil)
	public := l.listeners()["public"]
	one := l.signInTime()
	clients := int(min(node.AnswerTimeout/3/one, 64))
	if clients < 8 {
		t.Skipf("a sign-in takes %s: too busy a machine to say what a stop leaves time for", one)
	}
	t.Logf("%d sign-ins", clients)
	conns, names := make([]*rawConn, clients), make([]string, clients)
	bodyOf := func(i int) string { return fmt.Sprintf(`{"username": %q, "password": "lovelace"}`, names[i]) }
	for i := range conns {
		if names[i] = "ada"; i%8 != 0 { // few enough for the throttle
			names[i] = fmt.Sprintf("nobody-%d", i)
		}
		conns[i] = public.dial(t)
		conns[i].accepted(t, "/auth/sign-in/", len(bodyOf(i)))
	}
	for _, at := range l.listeners() {
		at.dial(t) // as a browser does in advance
	}
	for i, c := range conns {
		c.send(bodyOf(i))
	}
	l.stopped()
	for i, c := range conns {
		want := http.StatusUnauthorized
		if names[i] == "ada" {
			want = http.StatusOK
		}
		if status, _, body, err := c.reply(time.Second); status != want {
			t.Errorf("%s: %d, want %d: %s %v", names[i], status, want, body, err)
		}
	}
}

// signInTime is what one of many sign-ins at once takes of the machine's time, just now.
func (l *lab) signInTime() time.Duration {
	const sample = 16
	var all sync.WaitGroup
	began := time.Now()
	for i := range sample {
		all.Go(func() {
			body := fmt.Sprintf(`{"username": "sample-%d", "password": "lovelace"}`, i)
			if a, err := l.ask(l.t.Context(), "/auth/sign-in/", "", "", body); err != nil || a.status != http.StatusUnauthorized {
				l.t.Errorf("%+v, %v", a, err)
			}
		})
	}
	all.Wait()
	return time.Since(began) / sample
}

// TestAStopCutsOffWhoIsStillSending: neither a header nor a body that comes byte by byte
// holds up a stop, on any listener; a request that is whole is answered all the same, and a
// second stop returns at once.
func TestAStopCutsOffWhoIsStillSending(t *testing.T) {
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
	if status, _, body, err := whole.reply(time.Second); status != http.StatusOK {
		t.Errorf("the request that was whole: %d, %s %v", status, body, err)
	}
	for name, c := range slow {
		if !c.cut(time.Second) {
			t.Errorf("%s is still connected", name)
		}
	}
	began := time.Now()
	if err := n.Close(); err != nil || time.Since(began) > time.Second {
		t.Errorf("a second stop: %v after %s", err, time.Since(began))
	}
}

// drip sends byte after byte until the connection is cut.
func drip(c *rawConn, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for range tick.C {
		if _, err := c.Write([]byte("a")); err != nil {
			return
		}
	}
}

// post is the header of a POST of JSON with these lines besides.
func post(path string, length int, lines ...string) string {
	lines = append([]string{
		"POST " + path + " HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", fmt.Sprint("Content-Length: ", length),
	}, lines...)
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}
