package node_test

import (
	"fmt"
	"net/http"
	"strings"
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

// TestAStopAnswersTheSignInsUnderWay: 64 of them wait for their passwords to be checked,
// while clients that say nothing hold each listener. Each is answered, if only with 503
// because the machine could not check it in time, and no listener's clients take the time of
// another's.
func TestAStopAnswersTheSignInsUnderWay(t *testing.T) {
	l := newFaultLab(t, nil)
	public := l.listeners()["public"]
	conns, names := make([]*rawConn, 64), make([]string, 64)
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
	checked := 0
	for i, c := range conns {
		want := http.StatusUnauthorized
		if names[i] == "ada" {
			want = http.StatusOK
		}
		switch status, _, body, err := c.reply(time.Second); status {
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
