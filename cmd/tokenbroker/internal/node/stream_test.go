package node_test

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenbroker/internal/longtest"
	"tokenbroker/revocation/httpfeed"
	"tokenbroker/validator"
)

// startHTTPService starts a service that does not use NATS.
func (l *lab) startHTTPService(maxStaleness time.Duration) *validator.Validator {
	l.t.Helper()
	client := validator.Client{ID: service, Secret: secret}
	v, err := validator.New(l.t.Context(), validator.Config{
		Issuer: l.node.Issuer(), Audience: "demo-api", Client: client,
		Feed:         httpfeed.Feed{URL: l.node.Issuer(), Client: client},
		MaxStaleness: maxStaleness, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(v.Close)
	return v
}

// TestAServiceWithoutNATS stops NATS permanently. A log-off is therefore answered 202, and still reaches
// a service through its HTTP stream, also after a restart of the broker.
func TestAServiceWithoutNATS(t *testing.T) {
	longtest.SkipShort(t, "waits for real intervals")
	t.Parallel()
	l := newLab(t)
	l.startBroker()
	v := l.startHTTPService(2 * time.Second) // polling every 3 s cannot keep this bound
	kept := l.signIn()
	l.accepted(v, kept)
	for range 3 {
		l.pushed(v, http.StatusAccepted)
	}
	l.live(v)
	l.accepted(v, kept)

	l.stopped()     // while a listener is connected
	l.startBroker() // another origin
	l.accepted(v, kept)
	l.pushed(v, http.StatusAccepted)
}

// TestAnHTTPServiceThatIsCutOff checks that revocations that were made while the stream was cut or
// silent are known after the link is restored. Until then the service is stale and never accepts a
// revoked token.
func TestAnHTTPServiceThatIsCutOff(t *testing.T) {
	for name, away := range map[string]func(*link){"cut": (*link).doCut, "silent": (*link).doSilence} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			via := newLink(t, l.listen)
			l.issuer = "http://" + via.addr()
			l.startBroker()
			v := l.startHTTPService(time.Second)
			kept, ended := l.signIn(), l.signIn()
			l.accepted(v, kept)
			l.accepted(v, ended)
			away(via)
			if status := ended.logOff(); status != http.StatusAccepted {
				t.Fatalf("log-off: %d", status)
			}
			eventually(t, "the service is stale", func() bool {
				return errors.Is(l.validate(v, ended), validator.ErrStale)
			})
			via.mend()
			l.refused(v, ended)
			l.accepted(v, kept)
		})
	}
}

// streamConn is one listener with its own connection.
type streamConn struct {
	net.Conn
	lines *bufio.Reader
}

func (l *lab) dialStream() (*streamConn, error) {
	conn, err := net.Dial("tcp", l.listen)
	if err != nil {
		return nil, err
	}
	basic := base64.StdEncoding.EncodeToString([]byte(service + ":" + secret))
	_, err = fmt.Fprintf(conn, "GET /revocations/stream HTTP/1.1\r\nHost: h\r\nAuthorization: Basic %s\r\n\r\n", basic)
	return &streamConn{conn, bufio.NewReaderSize(conn, 1<<10)}, err
}

// until reads up to a line with that prefix.
func (c *streamConn) until(prefix string) error {
	for {
		line, err := c.lines.ReadString('\n')
		if err != nil || strings.HasPrefix(line, prefix) {
			return err
		}
	}
}

func inUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// TestAThousandListeners checks that one broker serves a thousand listeners, that each receives a
// revocation, that one that never reads does not disturb the others, and that none delays a stop.
func TestAThousandListeners(t *testing.T) {
	longtest.SkipShort(t, "opens a thousand connections")
	const count = 1000
	l := newLab(t)
	l.startBroker()
	ended, again := l.signIn(), l.signIn()
	goroutines, memory := runtime.NumGoroutine(), inUse()

	conns := make([]*streamConn, count)
	var opening sync.WaitGroup
	for part := range 20 {
		opening.Go(func() {
			for i := part; i < count; i += 20 {
				c, err := l.dialStream()
				if err == nil {
					err = c.until("event: heartbeat")
				}
				if err != nil {
					t.Error(err)
					return
				}
				conns[i] = c
			}
		})
	}
	opening.Wait()
	if t.Failed() {
		t.FailNow()
	}
	deaf, err := l.dialStream()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes per listener, including the test's side; %.1f goroutines",
		(inUse()-memory)/count, float64(runtime.NumGoroutine()-goroutines)/count)

	heard := make(chan time.Time, count)
	var readers sync.WaitGroup
	for _, c := range conns {
		readers.Go(func() {
			if err := c.until("event: batch"); err != nil {
				t.Error(err)
			}
			heard <- time.Now()
			_, _ = io.Copy(io.Discard, c.lines)
		})
	}
	asked := time.Now()
	if status := ended.logOff(); status != http.StatusAccepted {
		t.Fatalf("log-off without NATS: %d", status)
	}
	var last time.Duration
	for range count {
		select {
		case at := <-heard:
			last = max(last, at.Sub(asked))
		case <-time.After(patience):
			t.Fatal("a listener does not receive the revocation")
		}
	}
	t.Logf("the last of %d listeners received it %s after the log-off was requested", count, last)

	for _, c := range conns[:count/2] {
		_ = c.Close()
	}
	eventually(t, "the broker lets go of those that went away", func() bool {
		// A listener has two goroutines in the server and one here.
		return runtime.NumGoroutine() < goroutines+count/2*3+100
	})
	if status := again.logOff(); status != http.StatusAccepted {
		t.Errorf("log-off: %d", status)
	}
	l.stopped()
	readers.Wait()
	for _, c := range append(conns, deaf) {
		_ = c.Close()
	}
}
