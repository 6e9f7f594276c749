package natsfeed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"tokenbroker/revocation"
)

// aServer asks for users: a broker, a service "a" that may publish its own receipts, and a
// service "mute" that may publish nothing.
func aServer(t *testing.T) *server.Server {
	t.Helper()
	listen := &server.SubjectPermission{Allow: []string{"tokenbroker.revocation.>", "tokenbroker.heartbeat.>"}}
	return serve(t, server.Options{Port: -1, Users: []*server.User{
		{Username: "broker", Password: "b", Permissions: &server.Permissions{
			Publish: listen, Subscribe: &server.SubjectPermission{Allow: []string{"tokenbroker.receipt.*"}},
		}},
		{Username: "a", Password: "a", Permissions: &server.Permissions{
			Subscribe: listen, Publish: &server.SubjectPermission{Allow: []string{"tokenbroker.receipt.a"}},
		}},
		{Username: "mute", Password: "m", Permissions: &server.Permissions{
			Subscribe: listen, Publish: &server.SubjectPermission{Deny: []string{">"}},
		}},
	}})
}

type taken struct {
	id      string
	receipt revocation.Receipt
}

func receipts(t *testing.T, b *Bus) <-chan taken {
	t.Helper()
	got := make(chan taken, 1000)
	err := b.Receipts(func(id string, raw []byte) {
		r, err := revocation.ParseReceipt(raw)
		if err != nil {
			t.Error(err)
		}
		got <- taken{id, r}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	return got
}

func receiptOf(service string) revocation.Receipt {
	return revocation.Receipt{V: 1, Service: service, Applied: map[string]uint64{"o1": 3}, Fresh: true, AgeMS: 7}
}

// lines is a log whose lines a test counts.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

func TestReceiptsReachTheBroker(t *testing.T) {
	srv := aServer(t)
	got := receipts(t, dial(t, BusConfig{URL: srv.ClientURL(), User: "broker", Password: "b"}))
	s := newSink()
	feed := open(t, Feed{URL: srv.ClientURL(), User: "a", Password: "a"}, s)
	defer feed.Close()
	sender := feed.(revocation.ReceiptSender)
	want := receiptOf("a/xyz")
	if err := sender.SendReceipt(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if one := receive(t, got, "receipt"); one.id != "a" || !cmp.Equal(one.receipt, want) {
		t.Errorf("got %+v", one)
	}
}

func TestUnfitReceiptsAreNotSent(t *testing.T) {
	feed := open(t, Feed{URL: aServer(t).ClientURL(), User: "a", Password: "a"}, newSink())
	defer feed.Close()
	sender := feed.(revocation.ReceiptSender)
	for _, service := range []string{"", "/x", "a.b/x", "*", "a b", ">"} {
		if err := sender.SendReceipt(t.Context(), receiptOf(service)); err == nil {
			t.Errorf("%q is sent", service)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := sender.SendReceipt(ctx, receiptOf("a/x")); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
}

// The server reports a refusal asynchronously. The sender gets it as an error. It must not count as a gap,
// because each receipt would then cause a catch-up.
func TestARefusedReceiptIsAnErrorAndNoGap(t *testing.T) {
	for user, password := range map[string]string{"mute": "m", "a": "a"} { // a: not for another id
		t.Run(user, func(t *testing.T) {
			srv := aServer(t)
			bus := dial(t, BusConfig{URL: srv.ClientURL(), User: "broker", Password: "b"})
			got := receipts(t, bus)
			s := newSink()
			feed := open(t, Feed{URL: srv.ClientURL(), User: user, Password: password}, s)
			defer feed.Close()
			sender := feed.(revocation.ReceiptSender)
			refused := 0
			for deadline := time.Now().Add(time.Minute); refused < 20; {
				if time.Now().After(deadline) {
					t.Fatal("the refusal was not returned")
				}
				err := sender.SendReceipt(t.Context(), receiptOf("other/x"))
				if errors.Is(err, nats.ErrPermissionViolation) {
					refused++
				} else if err != nil || refused > 0 {
					t.Fatalf("after %d refusals: %v", refused, err)
				}
			}
			// The feed still works, and everything sent before this batch was processed.
			publish(t, bus, revocation.BatchSubject+"o1", "batch")
			receive(t, s.messages, "message")
			select {
			case err := <-s.gaps:
				t.Errorf("a gap: %v", err)
			case one := <-got:
				t.Errorf("the broker got %+v", one)
			default:
			}
		})
	}
}

func TestReceiptsWithoutALink(t *testing.T) {
	srv := serve(t, server.Options{Port: -1})
	port := portOf(t, srv)
	bus := dial(t, BusConfig{URL: srv.ClientURL()})
	got := receipts(t, bus)
	s := newSink()
	feed := open(t, Feed{URL: srv.ClientURL()}, s)
	defer feed.Close()
	sender := feed.(revocation.ReceiptSender)
	shutDown(srv)
	for deadline := time.Now().Add(time.Minute); ; {
		err := sender.SendReceipt(t.Context(), receiptOf("a/early"))
		if errors.Is(err, ErrNotConnected) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("a receipt without a connection: %v", err)
		}
		<-time.After(time.Millisecond)
	}
	serve(t, server.Options{Port: port})
	for !errors.Is(receive(t, s.gaps, "gap"), errConnected) {
	}
	// No receipt was kept, and the broker's subscription was restored.
	for n, deadline := 0, time.Now().Add(time.Minute); ; n++ {
		if time.Now().After(deadline) {
			t.Fatal("no receipt after the server was back")
		}
		err := sender.SendReceipt(t.Context(), receiptOf(fmt.Sprint("a/late", n)))
		if err != nil && !errors.Is(err, ErrNotConnected) { // the gap may have been that of the first connection
			t.Fatal(err)
		}
		select {
		case one := <-got:
			if one.receipt.Service == "a/early" {
				t.Error("a receipt was kept and sent later")
			}
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Another subject's depth, or none, is not a receipt's.
func TestReceiptsAreOneTokenDeep(t *testing.T) {
	srv := serve(t, server.Options{Port: -1})
	got := receipts(t, dial(t, BusConfig{URL: srv.ClientURL()}))
	other := dial(t, BusConfig{URL: srv.ClientURL()})
	raw, err := revocation.EncodeReceipt(receiptOf("a/x"))
	if err != nil {
		t.Fatal(err)
	}
	publish(t, other, revocation.ReceiptSubject+"a.b", string(raw))
	publish(t, other, revocation.ReceiptSubject+"a", string(raw))
	if one := receive(t, got, "receipt"); one.id != "a" {
		t.Errorf("got %+v", one)
	}
}

func TestBusLogsEachRefusalOnce(t *testing.T) {
	srv := aServer(t)
	log := &lines{}
	bus := dial(t, BusConfig{URL: srv.ClientURL(), User: "mute", Password: "m", Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err := bus.Receipts(func(string, []byte) {}); err != nil { // mute may not
		t.Fatal(err)
	}
	for range 20 {
		publish(t, bus, revocation.HeartbeatSubject+"o1", "beat")
	}
	last := "for Publish to"
	for deadline := time.Now().Add(time.Minute); log.count(last) == 0 || log.count("for Subscription to") == 0; {
		if time.Now().After(deadline) {
			t.Fatal("a refusal is not logged")
		}
		<-time.After(time.Millisecond)
	}
	bus.Close() // everything is reported by then
	if p, s := log.count(last), log.count("for Subscription to"); p != 1 || s != 1 {
		t.Errorf("logged %d and %d times", p, s)
	}
}
