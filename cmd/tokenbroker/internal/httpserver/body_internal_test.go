package httpserver

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Checks when a request with an unread body is answered and when its connection is closed, for different
// clients. The times are those of the fake clock.
func TestUnreadBodiesHoldAConnectionWithinBounds(t *testing.T) {
	const head = "POST /refused HTTP/1.1\r\nHost: broker\r\n"
	const least, most = discardTime, discardTime + lingerTime + resetDelay
	const chunks = discardTime + resetDelay
	const over = lingerTime + 2*resetDelay // one of them is the server's own
	for name, tt := range map[string]struct {
		request          string
		drips            string // sent repeatedly after that, every 100 ms
		answered, closed time.Duration
		stays            bool
	}{
		"a whole body":                        {head + "Content-Length: 4\r\n\r\nbody", "", 0, idleTimeout, true},
		"a whole body in chunks":              {head + "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", "", 0, idleTimeout, true},
		"nothing of the body":                 {head + "Content-Length: 1000\r\n\r\n", "", least, most, false},
		"nothing of a chunked body":           {head + "Transfer-Encoding: chunked\r\n\r\n", "", least, chunks, false},
		"a part of the body":                  {head + "Content-Length: 1000\r\n\r\npart", "", least, most, false},
		"byte by byte":                        {head + "Content-Length: 1000\r\n\r\n", "x", least, most, false},
		"chunk by chunk":                      {head + "Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n", least, chunks, false},
		"byte by byte, to a close":            {head + "Connection: close\r\nContent-Length: 1000\r\n\r\n", "x", least, most, false},
		"byte by byte, HTTP/1.0":              {strings.Replace(head, "1.1", "1.0", 1) + "Content-Length: 1000\r\n\r\n", "x", least, most, false},
		"a body over the bound":               {head + "Content-Length: 1048577\r\n\r\n", "", 0, over, false},
		"a body over the bound, drop by drop": {head + "Content-Length: 1048577\r\n\r\n", "x", 0, over, false},
		"it waits to send a large body":       {head + "Expect: 100-continue\r\nContent-Length: 1048577\r\n\r\n", "", 0, lingerTime + resetDelay, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newConnLab(t, Limits{Total: 8})
				server := &http.Server{Handler: http.NotFoundHandler(), ReadTimeout: readTimeout, IdleTimeout: idleTimeout}
				l.track(server)
				served := make(chan error, 1)
				go func() { served <- server.Serve(l.connections) }()
				client, there := net.Pipe()
				l.conns <- there
				began := time.Now()
				dripping := make(chan struct{})
				go func() {
					defer close(dripping)
					for _, err := io.WriteString(client, tt.request); err == nil && tt.drips != ""; _, err = io.WriteString(client, tt.drips) {
						time.Sleep(100 * time.Millisecond)
					}
				}()
				r := bufio.NewReader(client)
				resp, err := http.ReadResponse(r, nil)
				if err != nil || resp.StatusCode != http.StatusNotFound {
					t.Fatalf("%v, %v", resp, err)
				}
				if took := time.Since(began); took != tt.answered || resp.Close == tt.stays {
					t.Errorf("answered after %s, want %s; closes: %v", took, tt.answered, resp.Close)
				}
				if _, err := io.Copy(io.Discard, resp.Body); err != nil {
					t.Error(err)
				}
				_ = resp.Body.Close()
				if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
					t.Errorf("the connection does not end: %v", err)
				}
				if took := time.Since(began); took != tt.closed {
					t.Errorf("closed after %s, want %s", took, tt.closed)
				}
				_ = client.Close()
				<-dripping
				_ = server.Close()
				<-served
			})
		})
	}
}

// The body is read before the answer, because a proxy that sends it without waiting for 100 Continue could
// otherwise lose the answer.
func TestExpectedBodiesArriveBeforeARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newConnLab(t, Limits{Total: 8})
		server := &http.Server{Handler: http.NotFoundHandler(), ReadTimeout: readTimeout, IdleTimeout: idleTimeout}
		l.track(server)
		served := make(chan error, 1)
		go func() { served <- server.Serve(l.connections) }()
		client, there := net.Pipe()
		l.conns <- there
		if _, err := io.WriteString(client, "POST /refused HTTP/1.1\r\nHost: broker\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(client)
		for _, want := range []string{"HTTP/1.1 100 Continue\r\n", "\r\n"} {
			if line, err := r.ReadString('\n'); err != nil || line != want {
				t.Fatalf("before the body: %q, %v, want %q", line, err, want)
			}
		}
		if _, err := io.WriteString(client, "body"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != http.StatusNotFound || resp.Close {
			t.Errorf("after the body: %v, %v, want a 404 that keeps the connection", resp, err)
		}
		_ = client.Close()
		_ = server.Close()
		<-served
	})
}
