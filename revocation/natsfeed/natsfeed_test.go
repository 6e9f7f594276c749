package natsfeed

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"tokenbroker/revocation"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a NATS server on a port (-1: any) until the test ends or it is shut down.
func serve(t *testing.T, opts server.Options) *server.Server {
	t.Helper()
	opts.Host, opts.NoSigs, opts.NoLog = "127.0.0.1", true, true
	s, err := server.NewServer(&opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { shutDown(s) })
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the NATS server does not start")
	}
	return s
}

func shutDown(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

func portOf(t *testing.T, s *server.Server) int {
	t.Helper()
	_, port, err := net.SplitHostPort(s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// sink collects what a feed delivers. While hold is locked, it breaks the contract and blocks.
type sink struct {
	hold     sync.Mutex
	messages chan string
	gaps     chan error
}

func newSink() *sink {
	return &sink{messages: make(chan string, 10000), gaps: make(chan error, 10000)}
}

func (s *sink) Message(raw []byte) {
	s.hold.Lock()
	defer s.hold.Unlock()
	s.messages <- string(raw)
}

func (s *sink) Gap(cause error) { s.gaps <- cause }

func receive[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(time.Minute):
		t.Fatalf("no %s", what)
		panic("unreachable")
	}
}

func dial(t *testing.T, cfg BusConfig) *Bus {
	t.Helper()
	b, err := Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func open(t *testing.T, f Feed, s revocation.Sink) interface{ Close() error } {
	t.Helper()
	c, err := f.Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func publish(t *testing.T, b *Bus, subject, data string) {
	t.Helper()
	if err := b.Publish(subject, []byte(data)); err != nil {
		t.Fatal(err)
	}
	if err := b.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestDeliversBothSubjects(t *testing.T) {
	srv := serve(t, server.Options{Port: -1})
	bus := dial(t, BusConfig{InProcess: srv})
	s := newSink()
	feed := open(t, Feed{URL: srv.ClientURL()}, s)
	publish(t, bus, revocation.BatchSubject+"o1", "batch")
	publish(t, bus, revocation.HeartbeatSubject+"o1", "beat")
	publish(t, bus, "tokenbroker.receipt.x", "other")
	got := map[string]bool{receive(t, s.messages, "message"): true, receive(t, s.messages, "message"): true}
	if !got["batch"] || !got["beat"] {
		t.Errorf("got %v", got)
	}
	if err := feed.Close(); err != nil {
		t.Fatal(err)
	}
	publish(t, bus, revocation.BatchSubject+"o1", "late")
	if len(s.messages) != 0 {
		t.Error("a message after Close")
	}
}

func TestRestartedServerIsAGap(t *testing.T) {
	srv := serve(t, server.Options{Port: -1})
	port := portOf(t, srv)
	bus := dial(t, BusConfig{URL: srv.ClientURL()})
	s := newSink()
	defer open(t, Feed{URL: srv.ClientURL()}, s).Close()
	publish(t, bus, revocation.BatchSubject+"o1", "before")
	receive(t, s.messages, "message")
	shutDown(srv)
	back := make(chan struct{}, 10)
	bus.OnReconnect(func() {
		if bus.Connected() {
			back <- struct{}{}
		}
	})
	deadline := time.Now().Add(time.Minute)
	for bus.Connected() {
		if time.Now().After(deadline) {
			t.Fatal("the bus does not notice")
		}
		<-time.After(time.Millisecond)
	}
	drain(s.gaps)
	if err := bus.Publish(revocation.BatchSubject+"o1", []byte("lost")); !errors.Is(err, ErrNotConnected) {
		t.Errorf("publishing without a server: %v", err)
	}
	if err := bus.Flush(t.Context()); !errors.Is(err, ErrNotConnected) {
		t.Errorf("flushing without a server: %v", err)
	}

	serve(t, server.Options{Port: port})
	receive(t, back, "reconnect of the bus")
	for !errors.Is(receive(t, s.gaps, "gap"), errConnected) {
	}
	publish(t, bus, revocation.BatchSubject+"o1", "again")
	if got := receive(t, s.messages, "message"); got != "again" {
		t.Errorf("got %q, what was refused must not come later", got)
	}
}

func drain(c chan error) {
	for {
		select {
		case <-c:
		default:
			return
		}
	}
}

func TestServerThatComesLater(t *testing.T) {
	first := serve(t, server.Options{Port: -1})
	port := portOf(t, first)
	shutDown(first)

	url := "nats://127.0.0.1:" + strconv.Itoa(port)
	bus := dial(t, BusConfig{URL: url})
	if bus.Connected() {
		t.Fatal("connected to nothing")
	}
	back := make(chan struct{}, 10)
	bus.OnReconnect(func() { back <- struct{}{} })
	s := newSink()
	defer open(t, Feed{URL: url}, s).Close()

	serve(t, server.Options{Port: port})
	receive(t, back, "connection of the bus")
	for !errors.Is(receive(t, s.gaps, "gap"), errConnected) {
	}
	publish(t, bus, revocation.HeartbeatSubject+"o1", "beat")
	receive(t, s.messages, "message")
}

func TestSlowConsumerIsAGap(t *testing.T) {
	srv := serve(t, server.Options{Port: -1})
	bus := dial(t, BusConfig{InProcess: srv})
	s := newSink()
	feed := open(t, Feed{URL: srv.ClientURL(), pending: 4}, s)
	defer feed.Close()
	drain(s.gaps)
	s.hold.Lock()
	for range 50 {
		publish(t, bus, revocation.BatchSubject+"o1", "batch")
	}
	err := receive(t, s.gaps, "gap")
	s.hold.Unlock()
	if !errors.Is(err, nats.ErrSlowConsumer) {
		t.Errorf("gap because of %v", err)
	}
}

func TestRefusedSubscriptionIsReportedAndHarmless(t *testing.T) {
	allow := &server.SubjectPermission{Allow: []string{"nothing"}}
	srv := serve(t, server.Options{Port: -1, Users: []*server.User{{
		Username: "service", Password: "a secret word", Permissions: &server.Permissions{Subscribe: allow, Publish: allow},
	}}})
	s := newSink()
	defer open(t, Feed{URL: srv.ClientURL(), User: "service", Password: "a secret word"}, s).Close()
	for {
		err := receive(t, s.gaps, "gap")
		if strings.Contains(err.Error(), "a secret word") {
			t.Fatal("the error contains the password")
		}
		if errors.Is(err, nats.ErrPermissionViolation) {
			return
		}
	}
}

func TestEndedContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (Feed{URL: "nats://127.0.0.1:1"}).Open(ctx, newSink()); !errors.Is(err, context.Canceled) {
		t.Errorf("feed: %v", err)
	}
	if _, err := Dial(ctx, BusConfig{URL: "nats://127.0.0.1:1"}); !errors.Is(err, context.Canceled) {
		t.Errorf("bus: %v", err)
	}
}

func TestBadURL(t *testing.T) {
	if _, err := (Feed{URL: "nats://\x00"}).Open(t.Context(), newSink()); err == nil {
		t.Error("feed: taken")
	}
	if _, err := Dial(t.Context(), BusConfig{URL: "nats://\x00"}); err == nil {
		t.Error("bus: taken")
	}
}
