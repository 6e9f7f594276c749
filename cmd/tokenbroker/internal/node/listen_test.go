package node_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"testing"

	"tokenbroker/broker"
	"tokenbroker/broker/operator"
	"tokenbroker/cmd/tokenbroker/internal/node"
)

// statusOf returns the status of a GET, or 0.
func statusOf(ctx context.Context, t *testing.T, url string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Error(err)
		return 0
	}
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Log(err)
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// A client that waits for readyz and then signs in finds what Seed adds.
func TestNothingAnswersBeforeTheSeed(t *testing.T) {
	l := newLab(t)
	l.startNATS()
	cfg := l.config()
	var seeded atomic.Bool
	answered := make(chan int, 1)
	cfg.Seed = func(ctx context.Context, n *node.Node) error {
		sent := make(chan struct{})
		asked := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { close(sent) }})
		go func() {
			status := statusOf(asked, t, "http://"+cfg.Listen+"/readyz")
			if !seeded.Load() {
				t.Error("readyz answered before the seed was there")
			}
			answered <- status
		}()
		<-sent
		_, err := n.Operators().AddUser(ctx, operator.NewUser{Username: "ada", Password: "lovelace"}, broker.Request{})
		seeded.Store(true)
		return err
	}
	n, err := node.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	l.node = n
	t.Cleanup(l.stopBroker)
	if status := <-answered; status != http.StatusOK {
		t.Errorf("readyz: %d", status)
	}
}

func TestLoopbackIPv6AnswersAtTheSamePort(t *testing.T) {
	probe, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skipf("no IPv6 here: %v", err)
	}
	_ = probe.Close()
	l := newLab(t)
	l.startNATS()
	cfg := l.config()
	cfg.LoopbackIPv6 = true
	_, port, _ := net.SplitHostPort(cfg.Listen)
	busy, err := net.Listen("tcp6", "[::1]:"+port)
	if err != nil {
		t.Skipf("the port is in use: %v", err)
	}
	for _, want := range []int{0, http.StatusOK} { // in use by another program, and free
		n, err := node.Start(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		l.node = n
		if want == 0 {
			_ = busy.Close()
		}
		for _, host := range []string{"127.0.0.1", "[::1]"} {
			status := statusOf(t.Context(), t, "http://"+host+":"+port+"/livez")
			if host == "[::1]" && status != want || host == "127.0.0.1" && status != http.StatusOK {
				t.Errorf("%s: %d, want %d at [::1]", host, status, want)
			}
		}
		l.stopBroker()
	}
}

// Both public listeners together accept at most the number of connections that the open files allow.
func TestLoopbackIPv6SharesTheConnectionsOfThePublicListener(t *testing.T) {
	const most = 16
	l := newFaultLab(t, func(c *node.Config) {
		c.LoopbackIPv6 = true
		c.Connections.Max = most
	})
	_, port, _ := net.SplitHostPort(l.listen)
	if statusOf(t.Context(), t, "http://[::1]:"+port+"/livez") == 0 {
		t.Skip("no IPv6 here, or the port is in use")
	}
	var clients []*rawConn
	answered := func(c *rawConn) bool {
		c.send("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
		status, _, _, _ := c.reply(patience)
		return status == http.StatusOK
	}
	connect := func(host string) {
		t.Helper()
		c := listener{"tcp", host + ":" + port}.dial(t)
		if !answered(c) {
			t.Fatalf("a new connection to %s is not served", host)
		}
		clients = append(clients, c)
	}
	for _, host := range []string{"127.0.0.1", "[::1]"} {
		for range most {
			connect(host)
		}
	}
	open := 0
	for range 3 {
		open = 0
		for _, c := range clients {
			if answered(c) {
				open++
			}
		}
		if open >= most {
			break
		}
		connect("[::1]") // a client of another test found this port, took a place and left it
	}
	l.wantMetrics(fmt.Sprintf(`tokenbroker_connections{listener="public"} %d`, most))
	if open != most {
		t.Errorf("%d connections stayed open, want %d", open, most)
	}
}
