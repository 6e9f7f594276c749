package httpfeed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"tokenbroker/internal/pipehttp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// quick are the timings for the fake clock.
var quick = timing{first: 500 * time.Millisecond, silence: 600 * time.Millisecond, backoff: 5 * time.Millisecond, longest: 50 * time.Millisecond}

// sink collects what a feed delivers.
type sink struct {
	messages chan string
	gaps     chan error
	closed   atomic.Bool
	late     atomic.Int64 // calls after Close
}

func newSink() *sink { return &sink{messages: make(chan string, 1000), gaps: make(chan error, 1000)} }

func (s *sink) Message(raw []byte) {
	if s.closed.Load() {
		s.late.Add(1)
	}
	s.messages <- string(raw)
}

func (s *sink) Gap(cause error) {
	if s.closed.Load() {
		s.late.Add(1)
	}
	s.gaps <- cause
}

func receive[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(8 * time.Second):
		t.Fatalf("no %s", what)
		panic("unreachable")
	}
}

func (s *sink) message(t *testing.T, want string) {
	t.Helper()
	if got := receive(t, s.messages, "message "+want); got != want {
		t.Fatalf("message %q, want %q", got, want)
	}
}

func (s *sink) gap(t *testing.T, want error) {
	t.Helper()
	if got := receive(t, s.gaps, "gap"); !errors.Is(got, want) {
		t.Fatalf("gap because of %v, want %v", got, want)
	}
}

func (s *sink) noGap(t *testing.T) {
	t.Helper()
	select {
	case err := <-s.gaps:
		t.Fatalf("a gap: %v", err)
	default:
	}
}

// connection is one request for the stream, which the test answers. The handler's goroutine executes what
// the test does with the response.
type connection struct {
	r    *http.Request
	do   chan func(http.ResponseWriter)
	done chan struct{} // closed by end
	over chan struct{} // closed when the handler returned
}

// answer has the handler run fn, unless the request has ended.
func (c *connection) answer(fn func(w http.ResponseWriter)) {
	did := make(chan struct{})
	select {
	case c.do <- func(w http.ResponseWriter) { fn(w); close(did) }:
		<-did
	case <-c.over:
	}
}

func (c *connection) send(text string) {
	c.answer(func(w http.ResponseWriter) {
		_, _ = io.WriteString(w, text)
		_ = http.NewResponseController(w).Flush()
	})
}

// status responds with a status and a header line, and ends.
func (c *connection) status(status int, header ...string) {
	c.answer(func(w http.ResponseWriter) {
		for _, line := range header {
			name, value, _ := strings.Cut(line, ": ")
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
	})
	c.end()
}

// open starts a successful response.
func (c *connection) open() *connection {
	c.answer(func(w http.ResponseWriter) { w.Header().Set("Content-Type", "text/event-stream") })
	c.send(": hello\n\n")
	return c
}

func (c *connection) end() { close(c.done) }

// fakeBroker passes every request for the stream to the test.
type fakeBroker struct {
	*httptest.Server
	requests chan *connection
}

func newBroker(t *testing.T) *fakeBroker { return newBrokerOver(t, false) }

// newBrokerOver returns a broker that speaks HTTP/2 over TLS if http2 is set, and otherwise HTTP/1.1.
func newBrokerOver(t *testing.T, http2 bool) *fakeBroker {
	b := &fakeBroker{requests: make(chan *connection, 100)}
	b.Server = &httptest.Server{EnableHTTP2: http2, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &connection{r: r, do: make(chan func(http.ResponseWriter)), done: make(chan struct{}), over: make(chan struct{})}
		defer close(c.over)
		b.requests <- c
		for {
			select {
			case fn := <-c.do:
				fn(w)
			case <-c.done:
				return
			case <-r.Context().Done():
				return
			}
		}
	})}}
	pipehttp.Start(t, b.Server)
	return b
}

func (b *fakeBroker) next(t *testing.T) *connection {
	t.Helper()
	return receive(t, b.requests, "request")
}

// feed opens a feed in the background. The feed is closed when the test ends.
func (b *fakeBroker) feed(t *testing.T, s *sink, change ...func(*Feed)) (opened chan struct{}) {
	t.Helper()
	f := Feed{URL: b.URL + "/", Client: Client{ID: "svc", Secret: "a secret word"}, HTTPClient: b.Client(), timing: quick}
	for _, fn := range change {
		fn(&f)
	}
	opened = make(chan struct{})
	result := make(chan io.Closer, 1)
	go func() {
		defer close(opened)
		c, err := f.Open(context.Background(), s)
		if err != nil {
			t.Error(err)
		}
		result <- c
	}()
	t.Cleanup(func() {
		if c := <-result; c != nil {
			if err := errors.Join(c.Close(), c.Close()); err != nil {
				t.Error(err)
			}
			s.closed.Store(true)
		}
		if n := s.late.Load(); n > 0 {
			t.Errorf("%d calls after Close", n)
		}
	})
	return opened
}

func TestDeliversBatchesAndHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := newBroker(t), newSink()
		opened := b.feed(t, s)
		c := b.next(t)
		select {
		case <-opened:
			t.Error("open before there is a stream")
		default:
		}
		id, secret, _ := c.r.BasicAuth()
		if id != "svc" || secret != "a secret word" || c.r.URL.String() != "/revocations/stream?speaks=2" || c.r.Header.Get("Last-Event-ID") != "" ||
			c.r.Header.Get("Accept") != "text/event-stream" || c.r.Header.Get("Accept-Encoding") != "identity" {
			t.Errorf("request %s %v", c.r.URL, c.r.Header)
		}
		c.open()
		receive(t, opened, "end of Open")
		s.noGap(t) // the catch-up comes after it
		c.send("event: batch\nid: o.1\ndata: one\n\nevent: news\ndata: what\n\nevent: heartbeat\nid: o.1\ndata: two\n\n")
		s.message(t, "one")
		s.message(t, "two")
		c.send("event: reset\nid: o.7\ndata: {}\n\n")
		s.gap(t, errReset)
		c.send("event: batch\nid: o.8\ndata: eight\n\n")
		s.message(t, "eight")
	})
}

// However a connection ends, the next one continues after the last position and is a gap.
func TestEveryReconnectIsAGap(t *testing.T) {
	for name, lose := range map[string]func(b *fakeBroker, c *connection){
		"the broker ends it":  func(_ *fakeBroker, c *connection) { c.end() },
		"the connection dies": func(b *fakeBroker, _ *connection) { b.CloseClientConnections() },
		"silence":             func(*fakeBroker, *connection) {},
		"an event too long":   func(_ *fakeBroker, c *connection) { c.send("data: " + strings.Repeat("x", maxLine)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, s := newBroker(t), newSink()
				opened := b.feed(t, s)
				c := b.next(t).open()
				receive(t, opened, "end of Open")
				c.send("event: batch\nid: o.3\ndata: three\n\n")
				s.message(t, "three")
				s.noGap(t)
				lose(b, c)
				c = b.next(t)
				if id := c.r.Header.Get("Last-Event-ID"); id != "o.3" {
					t.Errorf("Last-Event-ID %q", id)
				}
				s.noGap(t) // a catch-up now would be too early
				c.open()
				s.gap(t, errConnected)
				c.send("event: batch\nid: o.4\ndata: four\n\n")
				s.message(t, "four")
				// A heartbeat without an id keeps the position.
				c.end()
				c = b.next(t).open()
				s.gap(t, errConnected)
				c.send("event: heartbeat\ndata: beat\n\n")
				s.message(t, "beat")
				c.end()
				if id := b.next(t).r.Header.Get("Last-Event-ID"); id != "o.4" {
					t.Errorf("Last-Event-ID %q", id)
				}
			})
		})
	}
}

// The gap of a reconnect and the reset that comes first on the new connection cause only one catch-up.
func TestAResetAfterAReconnectIsOneGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := newBroker(t), newSink()
		opened := b.feed(t, s)
		c := b.next(t).open()
		receive(t, opened, "end of Open")
		c.send("event: batch\nid: old.3\ndata: three\n\n")
		s.message(t, "three")
		c.end()
		c = b.next(t).open()
		s.gap(t, errConnected)
		c.send("event: reset\nid: new.0\ndata: {}\n\nevent: batch\nid: new.1\ndata: one\n\n")
		s.message(t, "one")
		s.noGap(t)
		c.send("event: reset\nid: new.9\ndata: {}\n\n")
		s.gap(t, errReset)
	})
}

// Comments are not a sign of life, because a proxy may send them. A long event that is being received is
// one.
func TestPartialEventsKeepAStreamAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := newBroker(t), newSink()
		opened := b.feed(t, s)
		c := b.next(t).open()
		receive(t, opened, "end of Open")
		tick := time.NewTicker(quick.silence / 5)
		defer tick.Stop()
		c.send("event: batch\nid: o.1\ndata: ")
		part := strings.Repeat("x", liveBytes)
		for range 10 {
			<-tick.C
			c.send(part)
		}
		c.send("\n\n")
		if got := receive(t, s.messages, "long message"); len(got) != 10*liveBytes {
			t.Errorf("%d bytes", len(got))
		}
		s.noGap(t)
		for range 100 {
			select {
			case <-tick.C:
				c.send(": still here\n\n")
				continue
			case again := <-b.requests:
				again.open()
			}
			s.gap(t, errConnected)
			return
		}
		t.Error("comments kept a stream alive that has no heartbeats")
	})
}

func TestAStreamThatComesLateIsAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := newBroker(t), newSink()
		began := time.Now()
		opened := b.feed(t, s)
		c := b.next(t)
		receive(t, opened, "end of Open")
		if took := time.Since(began); took != quick.first {
			t.Errorf("Open took %s", took)
		}
		c.open()
		s.gap(t, errConnected)
	})
}

func TestRefusalsAreRetriedWithoutEnd(t *testing.T) {
	for name, answer := range map[string]func(c *connection){
		"401":           func(c *connection) { c.status(http.StatusUnauthorized) },
		"404":           func(c *connection) { c.status(http.StatusNotFound) },
		"503":           func(c *connection) { c.status(http.StatusServiceUnavailable, "Retry-After: 3600") },
		"a redirect":    func(c *connection) { c.status(http.StatusFound, "Location: /elsewhere") },
		"another type":  func(c *connection) { c.status(http.StatusOK, "Content-Type: text/html") },
		"no answer yet": func(*connection) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, s := newBroker(t), newSink()
				opened := b.feed(t, s)
				for range 4 {
					c := b.next(t)
					if c.r.URL.Path != "/revocations/stream" {
						t.Fatalf("the credentials went to %s", c.r.URL)
					}
					answer(c)
				}
				receive(t, opened, "end of Open")
				s.noGap(t)
				c := b.next(t).open()
				s.gap(t, errConnected)
				c.send("event: heartbeat\nid: o.0\ndata: beat\n\n")
				s.message(t, "beat")
			})
		})
	}
}

func TestRefusedPositionIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := newBroker(t), newSink()
		b.feed(t, s)
		c := b.next(t).open()
		c.send("event: batch\nid: strange\ndata: one\n\n")
		s.message(t, "one")
		c.end()
		b.next(t).status(http.StatusBadRequest)
		if id := b.next(t).r.Header.Get("Last-Event-ID"); id != "" {
			t.Errorf("Last-Event-ID %q again", id)
		}
	})
}

// A restarted broker spreads the services that return by its retry: a service waits for half of it to all
// of it.
func TestTheBrokersRetryIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := newBroker(t), newSink()
		b.feed(t, s, func(f *Feed) { f.timing.longest = time.Second })
		c := b.next(t).open()
		c.send("retry: 300\nevent: heartbeat\nid: o.1\ndata: beat\n\n")
		s.message(t, "beat")
		ended := time.Now()
		c.end()
		b.next(t)
		if waited := time.Since(ended); waited < 150*time.Millisecond || waited > 300*time.Millisecond {
			t.Errorf("connected again after %s", waited)
		}
	})
}

func TestFailuresAreLoggedOnceAndWithoutTheSecret(t *testing.T) {
	var log strings.Builder
	t.Run("run", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, s := newBroker(t), newSink()
			b.feed(t, s, func(f *Feed) { f.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
			for range 4 {
				b.next(t).status(http.StatusUnauthorized)
			}
			b.next(t).open().send("event: heartbeat\nid: o.1\ndata: beat\n\n")
			s.message(t, "beat")
		})
	})
	text := log.String()
	if strings.Count(text, "level=WARN") != 1 || strings.Count(text, "works again") != 1 || !strings.Contains(text, "check the client's id and secret") {
		t.Errorf("log:\n%s", text)
	}
	if strings.Contains(text, "secret word") {
		t.Error("the log contains the secret")
	}
}

func TestASecretIsNotPrinted(t *testing.T) {
	c := Client{ID: "svc", Secret: "a secret word"}
	data, err := json.Marshal(Feed{Client: c}.Client)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprint(c), fmt.Sprintf("%+v %#v", Feed{Client: c}, c), string(data), c.LogValue().String()} {
		if strings.Contains(text, "secret word") || !strings.Contains(text, "svc") {
			t.Errorf("printed as %s", text)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (Feed{URL: "http://127.0.0.1:1", Client: Client{ID: "svc"}}).Open(ctx, newSink()); !errors.Is(err, context.Canceled) {
		t.Errorf("an ended context: %v", err)
	}
	for name, f := range map[string]Feed{
		"no URL":         {Client: Client{ID: "svc"}},
		"another scheme": {URL: "nats://h:1", Client: Client{ID: "svc"}},
		"no host":        {URL: "http://", Client: Client{ID: "svc"}},
		"not a URL":      {URL: "http://\x00", Client: Client{ID: "svc"}},
		"no client":      {URL: "http://127.0.0.1:1"},
	} {
		if _, err := f.Open(t.Context(), newSink()); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t)
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error, 1)
		go func() {
			_, err := (Feed{URL: b.URL, Client: Client{ID: "svc"}, HTTPClient: b.Client()}).Open(ctx, newSink())
			failed <- err
		}()
		b.next(t)
		cancel()
		if err := receive(t, failed, "end of Open"); !errors.Is(err, context.Canceled) {
			t.Errorf("ended by %v", err)
		}
	})
}
