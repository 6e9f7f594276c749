package devserver

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// stub is a broker whose readiness the test decides.
type stub struct {
	*httptest.Server
	ready    atomic.Bool
	requests atomic.Int64 // without those of GET /readyz
}

// startStubs starts a proxy in front of one broker for each handler. All are ready at first, and only the test checks them.
func startStubs(t *testing.T, handlers ...http.HandlerFunc) (*proxy, string, []*stub) {
	t.Helper()
	var stubs []*stub
	var names []string
	for i, handler := range handlers {
		s := &stub{}
		s.ready.Store(true)
		s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/readyz" {
				if !s.ready.Load() {
					w.WriteHeader(http.StatusServiceUnavailable)
				}
				return
			}
			s.requests.Add(1)
			handler(w, r)
		}))
		t.Cleanup(s.Close)
		stubs, names = append(stubs, s), append(names, fmt.Sprint("broker-", i+1))
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := startProxy([]net.Listener{l}, names, slog.New(slog.DiscardHandler))
	t.Cleanup(p.stop)
	p.cancel() // no checks besides those of the test
	for i, s := range stubs {
		host := s.Listener.Addr().String()
		p.backends[i].host.Store(&host)
		p.set(p.backends[i], true)
	}
	return p, "http://" + l.Addr().String(), stubs
}

func sayOK(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	_, _ = w.Write(append([]byte("ok "), body...))
}

func post(t *testing.T, url string, body io.Reader) (int, string) {
	t.Helper()
	resp, err := http.Post(url, "application/json", body) //nolint:noctx // the test's own server
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func TestProxySendsEachRequestToTheNextBroker(t *testing.T) {
	_, url, stubs := startStubs(t, sayOK, sayOK, sayOK)
	for range 9 {
		if status, body := post(t, url, strings.NewReader("{}")); status != http.StatusOK || body != "ok {}" {
			t.Fatalf("%d %s", status, body)
		}
	}
	for i, s := range stubs {
		if n := s.requests.Load(); n != 3 {
			t.Errorf("broker-%d had %d of 9 requests", i+1, n)
		}
	}
}

// A broker that refuses connections loses no request, and one whose state is unknown gets none twice.
func TestProxyRepeatsOnlyWhatNoBrokerHasReceived(t *testing.T) {
	abort := func(w http.ResponseWriter, _ *http.Request) {
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = conn.(*net.TCPConn).SetLinger(0) // as the kernel resets the connections of a process that was killed
			_ = conn.Close()
		}
	}
	p, url, stubs := startStubs(t, sayOK, sayOK, abort)
	stubs[0].Close()
	failed := 0
	for i := range 12 {
		for _, to := range p.backends {
			p.set(to, true) // as if no check had noticed
		}
		sent := []string{"{}", ""}[i%2] // a repetition without a body would succeed
		switch status, body := post(t, url, strings.NewReader(sent)); {
		case status == http.StatusBadGateway:
			failed++
		case status != http.StatusOK || body != "ok "+sent:
			t.Errorf("%d %s", status, body)
		}
	}
	if got := stubs[2].requests.Load(); int(got) != failed || failed != 4 {
		t.Errorf("%d requests failed, and the broker that cuts them off received %d, of 4", failed, got)
	}
}

func TestProxyLeavesOutABrokerThatIsNotReady(t *testing.T) {
	p, url, stubs := startStubs(t, sayOK, sayOK)
	stubs[1].ready.Store(false)
	p.set(p.backends[1], p.check(t.Context(), *p.backends[1].host.Load()))
	for range 4 {
		post(t, url, http.NoBody)
	}
	if n := stubs[1].requests.Load(); n != 0 {
		t.Errorf("the broker that is not ready had %d requests", n)
	}
	stubs[0].ready.Store(false)
	p.set(p.backends[0], p.check(t.Context(), *p.backends[0].host.Load()))
	if status, _ := post(t, url, http.NoBody); status != http.StatusOK {
		t.Errorf("with no broker ready: %d, want the answer of one of them", status)
	}
	for _, s := range stubs {
		s.Close()
	}
	resp, err := http.Get(url) //nolint:noctx // the test's own server
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") != "1" {
		t.Errorf("with no broker: %d, Retry-After %q", resp.StatusCode, resp.Header.Get("Retry-After"))
	}
}

// Each event of a stream arrives before the next one is written, and a body is passed on while the client sends it.
func TestProxyDoesNotHoldBackStreamsAndBodies(t *testing.T) {
	seen := make(chan struct{})
	_, url, _ := startStubs(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			if _, err := io.ReadFull(r.Body, make([]byte, 4)); err == nil {
				seen <- struct{}{}
			}
			_, _ = io.Copy(io.Discard, r.Body)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: 1\n")
		_ = http.NewResponseController(w).Flush()
		<-seen
		_, _ = io.WriteString(w, "data: 2\n")
	})
	resp, err := http.Get(url) //nolint:noctx // the test's own server
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewScanner(resp.Body)
	if !lines.Scan() || lines.Text() != "data: 1" {
		t.Fatalf("the stream began with %q, %v", lines.Text(), lines.Err())
	}
	seen <- struct{}{}
	if !lines.Scan() || lines.Text() != "data: 2" {
		t.Fatalf("the stream went on with %q, %v", lines.Text(), lines.Err())
	}

	reader, writer := io.Pipe()
	go func() {
		_, _ = io.WriteString(writer, "half")
		<-seen
		_ = writer.Close()
	}()
	if status, _ := post(t, url, reader); status != http.StatusOK {
		t.Errorf("a body in two parts: %d", status)
	}
}

func TestProxyNamesTheClientAndKeepsTheHost(t *testing.T) {
	_, url, _ := startStubs(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s|%s|%v|%v|%v|%v", r.Host, r.URL.RawQuery, r.Header["X-Forwarded-For"], r.Header["X-Request-Id"], r.Header["Forwarded"], r.Header["Accept-Encoding"])
	})
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url+"/?a=1;b=%zz", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "app.test:5173"
	for _, name := range []string{"X-Forwarded-For", "X-Request-Id", "Forwarded"} {
		req.Header.Set(name, "mine")
	}
	resp, err := (&http.Transport{DisableCompression: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if got, err := io.ReadAll(resp.Body); err != nil || string(got) != "app.test:5173|a=1;b=%zz|[127.0.0.1]|[]|[]|[]" {
		t.Errorf("the broker received %s, %v", got, err)
	}
}
