package faults_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenbroker/api/admin"
)

// TestABrokerThatWasStopped stops a broker until the others end its run, which takes 30 s, and lets it go on. It takes
// another origin, and refuses what has waited in its sockets: a client has sent it to another broker in the meantime, so the
// refresh among it would be taken for a stolen token. Ordinary tests wait until the run has ended, long ones for 45 s.
func TestABrokerThatWasStopped(t *testing.T) {
	needProcesses(t)
	t.Parallel()
	c := newCluster(t)
	l := c.startLoad(t, map[string]watched{
		"nats": c.service(t, "nats", maxStaleness),
		// The balancer sends every third request to the stopped broker, where a service waits for 4 s. So this one has the default.
		"sse": c.service(t, "sse", 30*time.Second),
	})
	l.more(t, "before the stop")
	const at, other = 0, 1
	origin := c.run(t, other, at).Origin
	v := c.open(t, c.users[0])
	kept, late := c.dial(t, at), c.dial(t, at)
	for _, conn := range []net.Conn{kept, late} {
		send(t, conn, "/livez", v, http.MethodGet)
		if status := receive(t, conn); status != http.StatusOK {
			t.Fatalf("a request before the stop: %d", status)
		}
	}
	c.brokers[at].stop(t)
	waiting := map[string]net.Conn{"a refresh on a kept connection": kept, "a refresh": c.dial(t, at), "a log-off": c.dial(t, at)}
	for name, conn := range waiting {
		path := "/auth/refresh/"
		if name == "a log-off" {
			path = "/auth/logoff/"
		}
		send(t, conn, path, v, http.MethodPost)
	}
	old := v
	for range 6 { // more than can be replayed within the grace
		a := answered(func() answer { return c.refresh(other, v) })
		if !a.accepted() {
			t.Fatalf("refresh at another broker: %d %v", a.status, a.body)
		}
		v.cookie, v.access = a.cookie, a.text("access_token")
	}
	l.through(t, "while a broker is stopped")
	hold(0, 45*time.Second)
	eventually(t, "the run of the stopped broker has ended", func() bool { run := c.run(t, other, at); return run.Origin != origin || !run.Live })
	l.through(t, "after the run of the stopped broker has ended")
	c.brokers[at].resume(t)
	for name, conn := range waiting {
		if status := receive(t, conn); status != 0 && status != http.StatusServiceUnavailable {
			t.Errorf("%s that waited in a socket: %d", name, status)
		}
	}
	c.allReady(t)
	send(t, late, "/auth/refresh/", old, http.MethodPost) // as if it had been on its way
	if status := receive(t, late); status != 0 && status != http.StatusServiceUnavailable {
		t.Errorf("a request on a connection from before the stop: %d", status)
	}
	if run := c.run(t, at, at); run.Origin == origin || !run.Live {
		t.Errorf("the broker that was stopped has run %+v, and had %s", run, origin)
	}
	for i := range size {
		a := answered(func() answer { return c.refresh(i, v) })
		if !a.accepted() {
			t.Fatalf("refresh at broker %d after the stop: %d %v", i, a.status, a.body)
		}
		v.cookie = a.cookie
	}
	l.more(t, "after the stop")
	l.finish(t)
}

// run returns the latest run of a broker as broker i sees it.
func (c *cluster) run(t *testing.T, i, of int) (latest admin.BrokerStatus) {
	t.Helper()
	brokers := c.overview(t, i).Cluster.Brokers
	slices.SortFunc(brokers, func(a, b admin.BrokerStatus) int { return a.Since.Compare(b.Since) })
	for _, b := range brokers {
		if b.Name == fmt.Sprint("b", of) {
			latest = b
		}
	}
	return latest
}

// dial connects to broker i. The kernel accepts connections to a stopped process.
func (c *cluster) dial(t *testing.T, i int) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(c.urls[i], "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// send writes a request to conn, with the session.
func send(t *testing.T, conn net.Conn, path string, v visit, method string) {
	t.Helper()
	body := fmt.Sprintf(`{"CSRF_token": %q}`, v.csrf)
	if method == http.MethodGet {
		body = ""
	}
	_, err := fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: broker\r\nCookie: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		method, path, v.cookie, len(body), body)
	if err != nil {
		t.Fatal(err)
	}
}

// receive returns the status of the answer on conn, or 0 if the connection was closed without one.
func receive(t *testing.T, conn net.Conn) int {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		t.Fatalf("no answer within %s", patience)
	}
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0
	}
	return resp.StatusCode
}
