package node_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"tokenbroker/cmd/tokenbroker/internal/node"
)

// TestSlowClientsAreCutOff: 200 connections that say nothing, or a header or a body byte by
// byte, are cut off in time, and meanwhile others are answered at once.
func TestSlowClientsAreCutOff(t *testing.T) {
	t.Parallel()
	const (
		clients = 200
		slack   = 3 * time.Second // of a busy machine
		soon    = 2 * time.Second
	)
	l := newFaultLab(t, nil)
	kinds := []struct {
		name, begin string
		drips       bool
		limit       time.Duration
	}{
		{"nothing", "", false, node.ReadHeaderTimeout},
		{"half a header", "GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ", false, node.ReadHeaderTimeout},
		{"a header byte by byte", "GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ", true, node.ReadHeaderTimeout},
		{"a request line byte by byte", "GET /", true, node.ReadHeaderTimeout},
		{"a body byte by byte", post("/auth/sign-in/", 1000) + `{"username": "`, true, node.ReadTimeout},
		{"an operator's body byte by byte", post("/admin/v1/users", 1000) + `{"username": "`, true, node.ReadTimeout},
		{"a chunk byte by byte", "POST /auth/refresh/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n{", true, node.ReadTimeout},
		{"a body that nobody wants", "POST /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n", true, node.ReadTimeout},
	}
	for name, at := range l.listeners() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var all sync.WaitGroup
			for i := range clients {
				kind, c, began := kinds[i%len(kinds)], at.dial(t), time.Now()
				c.send(kind.begin)
				if kind.drips {
					all.Go(func() { drip(c, 250*time.Millisecond) })
				}
				all.Go(func() {
					ok := c.cut(kind.limit + slack)
					_ = c.Close() // ends the dripping
					if took := time.Since(began); !ok || took < kind.limit/2 {
						t.Errorf("%s: cut off: %t, after %s", kind.name, ok, took)
					}
				})
			}
			slow := make(chan struct{})
			go func() {
				defer close(slow)
				all.Wait()
			}()
			worst, asked := time.Duration(0), 0
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			for waiting := true; waiting; asked++ {
				began, c := time.Now(), at.dial(t)
				c.send("GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
				if status, _, body, err := c.reply(soon); status != http.StatusOK {
					t.Errorf("beside the slow ones: %d, %s %v", status, body, err)
				}
				_ = c.Close()
				worst = max(worst, time.Since(began))
				select {
				case <-slow:
					waiting = false
				case <-tick.C:
				}
			}
			t.Log(fmt.Sprint(asked, " others, answered within ", worst))
		})
	}
}
