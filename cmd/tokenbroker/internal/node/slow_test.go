package node_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"tokenbroker/internal/longtest"
)

// TestSlowClientsAreCutOff checks that 200 connections that send nothing, or a header or a body byte
// by byte, are cut off, and that other clients are answered before that.
func TestSlowClientsAreCutOff(t *testing.T) {
	longtest.SkipShort(t, "waits for the real time limits")
	t.Parallel()
	const clients = 200
	l := newFaultLab(t, nil)
	kinds := []struct {
		name, begin string
		drips       bool
	}{
		{"nothing", "", false},
		{"half a header", "GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ", false},
		{"a header byte by byte", "GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ", true},
		{"a request line byte by byte", "GET /", true},
		{"a body byte by byte", post("/auth/sign-in/", 1000) + `{"username": "`, true},
		{"an operator's body byte by byte", post("/admin/v1/users", 1000) + `{"username": "`, true},
		{"a chunk byte by byte", "POST /auth/refresh/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n{", true},
		{"a body that nobody wants", "POST /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n", true},
	}
	for name, at := range l.listeners() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var all sync.WaitGroup
			for i := range clients {
				kind, c := kinds[i%len(kinds)], at.dial(t)
				c.send(kind.begin)
				if kind.drips {
					all.Go(func() { drip(c, 250*time.Millisecond) })
				}
				all.Go(func() {
					if !c.cut(patience) {
						t.Errorf("%s is still connected", kind.name)
					}
					_ = c.Close() // ends the dripping
				})
			}
			slow := make(chan struct{})
			go func() {
				defer close(slow)
				all.Wait()
			}()
			answered := 0 // before all of the slow ones were cut off
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			for waiting := true; waiting; {
				c := at.dial(t)
				c.send("GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
				if status, _, body, err := c.reply(patience); status != http.StatusOK {
					t.Errorf("while slow clients are connected: %d, %s %v", status, body, err)
				}
				_ = c.Close()
				select {
				case <-slow:
					waiting = false
				case <-tick.C:
					answered++
				}
			}
			if answered == 0 {
				t.Error("the others are answered only when the slow ones are cut off")
			}
		})
	}
}
