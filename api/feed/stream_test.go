package feed_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/api"
	"tokenbroker/api/feed"
	"tokenbroker/api/httpapi"
	"tokenbroker/api/internal/apitest"
	"tokenbroker/broker"
	"tokenbroker/internal/pipehttp"
)

// fakeStream is a stream whose events the test sends.
type fakeStream struct {
	err      error
	events   chan feed.StreamEvent
	position chan string
	closed   chan struct{}
	ended    chan error // why Next failed
	once     sync.Once
}

func newFakeStream() *fakeStream {
	return &fakeStream{
		events: make(chan feed.StreamEvent), position: make(chan string, 10),
		closed: make(chan struct{}), ended: make(chan error, 1),
	}
}

func (f *fakeStream) Listen(_ context.Context, r feed.Reader) (feed.Listener, error) {
	if f.err != nil {
		return nil, f.err
	}
	f.position <- r.After
	return f, nil
}

func (f *fakeStream) Next(ctx context.Context) (feed.StreamEvent, error) {
	select {
	case e, ok := <-f.events:
		if !ok {
			return e, errors.New("over")
		}
		return e, nil
	case <-ctx.Done():
		f.ended <- ctx.Err()
		return feed.StreamEvent{}, ctx.Err()
	}
}

func (f *fakeStream) Close() { f.once.Do(func() { close(f.closed) }) }

// serveStream serves f on the bubble's network. A request and an answer may each take ten seconds.
func serveStream(t *testing.T, f *fakeStream, http2 bool) *httptest.Server {
	t.Helper()
	s := &httptest.Server{EnableHTTP2: http2, Config: &http.Server{
		Handler:     apitest.New(t, &apitest.Fake{}, func(c *api.Config) { c.Feed.Stream = f }),
		ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second,
	}}
	pipehttp.Start(t, s)
	return s
}

func openStream(t *testing.T, s *httptest.Server, path string, headers ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("demo-service", "demo-service-secret")
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

func TestStreamWritesServerSentEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeStream()
		s := serveStream(t, f, false)
		resp := openStream(t, s, "/revocations/stream/?after=o.1")
		for name, want := range map[string]string{
			"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no", "Content-Encoding": "",
		} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if got := <-f.position; got != "o.1" {
			t.Errorf("position %q", got)
		}
		body := bufio.NewReader(resp.Body)
		read := func(want string) {
			t.Helper()
			got := make([]byte, len(want))
			if _, err := io.ReadFull(body, got); err != nil || string(got) != want {
				t.Fatalf("got %q, want %q: %v", got, want, err)
			}
		}
		read("retry: 1000\n\n") // at once
		f.events <- feed.StreamEvent{Name: "reset", Position: "o.2"}
		read("event: reset\nid: o.2\ndata: {}\n\n")
		f.events <- feed.StreamEvent{Name: "batch", Position: "o.3", Data: []byte("a.b.c")}
		read("event: batch\nid: o.3\ndata: a.b.c\n\n")
		// The server's time limits for whole requests and answers do not end it.
		for range 6 {
			time.Sleep(5 * time.Second)
			f.events <- feed.StreamEvent{Name: "heartbeat", Position: "o.3", Data: []byte("d.e.f")}
			read("event: heartbeat\nid: o.3\ndata: d.e.f\n\n")
		}
		close(f.events)
		if rest, err := io.ReadAll(body); err != nil || len(rest) != 0 {
			t.Errorf("rest %q: %v", rest, err)
		}
		<-f.closed
	})
}

func TestStreamOverHTTP2OutlivesTheServersBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeStream()
		resp := openStream(t, serveStream(t, f, true), "/revocations/stream")
		if resp.ProtoMajor != 2 {
			t.Fatalf("protocol %s", resp.Proto)
		}
		go func() {
			defer close(f.events)
			for range 5 {
				time.Sleep(5 * time.Second)
				select {
				case f.events <- feed.StreamEvent{Name: "heartbeat", Position: "o.1", Data: []byte("a")}:
				case <-f.closed:
					return
				}
			}
		}()
		body, err := io.ReadAll(resp.Body)
		if n := strings.Count(string(body), "event: heartbeat"); err != nil || n != 5 {
			t.Errorf("%d heartbeats: %v", n, err)
		}
	})
}

func TestStreamEndsWithItsReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeStream()
		s := serveStream(t, f, false)
		resp := openStream(t, s, "/revocations/stream", "Last-Event-ID: o.7", "Accept-Encoding: gzip")
		if got := <-f.position; got != "o.7" {
			t.Errorf("position %q", got)
		}
		_ = resp.Body.Close()
		if err := <-f.ended; !errors.Is(err, context.Canceled) {
			t.Errorf("ended by %v", err)
		}
		<-f.closed
	})
}

func TestLastEventIDHasPriorityOverTheQuery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeStream()
		openStream(t, serveStream(t, f, false), "/revocations/stream?after=o.1", "Last-Event-ID: o.7")
		if got := <-f.position; got != "o.7" {
			t.Errorf("position %q", got)
		}
	})
}

// A reader that does not read is cut off when the buffers on the way are full.
func TestStreamCutsAReaderThatDoesNotRead(t *testing.T) {
	f := newFakeStream()
	s := httptest.NewServer(apitest.New(t, &apitest.Fake{}, func(c *api.Config) { c.Feed.Stream, c.Feed.StreamTimeout = f, 200*time.Millisecond }))
	defer s.Close()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = io.WriteString(conn, "GET /revocations/stream HTTP/1.1\r\nHost: h\r\nAuthorization: Basic ZGVtby1zZXJ2aWNlOmRlbW8tc2VydmljZS1zZWNyZXQ=\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	big := feed.StreamEvent{Name: "batch", Position: "o.1", Data: make([]byte, 512<<10)}
	for {
		select {
		case f.events <- big:
			continue
		case <-f.closed:
		case <-time.After(time.Minute):
			t.Fatal("the reader was not disconnected")
		}
		return
	}
}

func TestStreamRefusals(t *testing.T) {
	for name, row := range map[string]struct {
		err    error
		path   string
		auth   string
		status int
		code   string
	}{
		"no credentials": {nil, "", "", 401, "invalid_client"},
		"wrong secret":   {nil, "", "Authorization: Basic ZGVtby1zZXJ2aWNlOndyb25n", 401, "invalid_client"},
		"two positions":  {nil, "?after=o.1&after=o.2", apitest.DemoService, 400, "invalid_position"},
		"bad position":   {&broker.Error{Code: httpapi.CodeInvalidPosition}, "?after=x", apitest.DemoService, 400, "invalid_position"},
		"bad version":    {nil, "?speaks=x", apitest.DemoService, 400, "invalid_parameter"},
		"outdated":       {&broker.Error{Code: httpapi.CodeProtocolOutdated}, "", apitest.DemoService, 406, "protocol_outdated"},
		"too many":       {&broker.Error{Code: broker.CodeBusy, RetryAfter: 5 * time.Second}, "", apitest.DemoService, 503, "busy"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeStream()
			f.err = row.err
			h := apitest.New(t, &apitest.Fake{}, func(c *api.Config) { c.Feed.Stream = f })
			var headers []string
			if row.auth != "" {
				headers = append(headers, row.auth)
			}
			res := apitest.Call(h, "GET", "/revocations/stream"+row.path, "", headers...)
			apitest.Want(t, res, row.status, row.code)
			if row.status == 503 && res.Header.Get("Retry-After") != "5" {
				t.Errorf("Retry-After %q", res.Header.Get("Retry-After"))
			}
		})
	}
	apitest.Want(t, apitest.Call(apitest.New(t, &apitest.Fake{}), "GET", "/revocations/stream", "", apitest.DemoService), 404, "not_found")
}
