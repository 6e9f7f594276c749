package node_test

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"tokenbroker/api/admin"
	"tokenbroker/broker"
	"tokenbroker/revocation"
	"tokenbroker/revocation/httpfeed"
	"tokenbroker/revocation/natsfeed"
	"tokenbroker/validator"
)

// counted starts a service over NATS and one over HTTP, which posts its receipts to the first broker.
func (b *brokers) counted() {
	b.t.Helper()
	client := validator.Client{ID: service, Secret: secret}
	for name, feed := range map[string]revocation.Feed{
		"over-nats": natsfeed.Feed{URL: b.natsURL()}, "over-http": httpfeed.Feed{URL: "http://" + b.all[0].addr, Client: client},
	} {
		v, err := validator.New(b.t.Context(), validator.Config{
			Issuer: b.issuer, Audience: "demo-api", Client: client, Service: name, Feed: feed, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			b.t.Fatal(err)
		}
		b.t.Cleanup(v.Close)
	}
}

// logOffWaitingAt logs off at a broker and returns the receipts in the answer, with Of -1 if it has none.
func (s *roamer) logOffWaitingAt(m *member) broker.ReceiptSummary {
	s.b.t.Helper()
	a := s.b.ask(m, "/auth/logoff/?wait=5s", s.body(), s.cookie)
	got := broker.ReceiptSummary{Of: -1}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || !a.accepted() {
		s.b.t.Fatalf("log-off: %d %s, %v", a.status, a.body, err)
	}
	return got
}

// TestEveryBrokerCountsTheServices checks that ?wait= at any broker counts a service that posts its receipts to another one, once,
// also for a log-off that another broker has recorded.
func TestEveryBrokerCountsTheServices(t *testing.T) {
	t.Parallel()
	b := newBrokers(t, 3)
	b.counted()
	all := func(got broker.ReceiptSummary) bool { return got.Applied == 2 && got.Of == 2 }
	for _, m := range b.all {
		eventually(t, "broker "+m.name+" counts both services", func() bool { return all(b.signInAt(m).logOffWaitingAt(m)) })
	}
	for i, m := range b.all {
		s := b.signInAt(m)
		if a := s.logOffAt(m); !a.accepted() {
			t.Fatalf("log-off: %d %s", a.status, a.body)
		}
		if got := s.logOffWaitingAt(b.all[(i+1)%3]); !all(got) {
			t.Errorf("a log-off that broker %s has recorded: %+v", m.name, got)
		}
	}
	for _, m := range b.all {
		if n := len(m.status().Services); n != 2 {
			t.Errorf("broker %s hears %d services: %+v", m.name, n, m.status().Services)
		}
	}
}

// TestReceiptsThatOtherBrokersPassOnAreChecked sends messages on the subject of such receipts.
func TestReceiptsThatOtherBrokersPassOnAreChecked(t *testing.T) {
	t.Parallel()
	b := newBrokers(t, 1)
	nc, err := nats.Connect(b.natsURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	receipt := func(name string) string {
		return `{"v":1,"service":"` + name + `","applied":{},"fresh":true,"age_ms":0}`
	}
	for _, message := range []string{
		`{`,
		`{"v":2,"client":"` + service + `","receipt":` + receipt("version/1") + `}`,
		`{"v":1,"client":"unknown","receipt":` + receipt("unknown/1") + `}`,
		`{"v":1,"client":"","receipt":` + receipt("none/1") + `}`,
		`{"v":1,"client":"` + service + `","receipt":` + receipt("over-nats/1") + `}`, // the name of another service
		`{"v":1,"client":"` + service + `","receipt":` + receipt("bad service") + `}`,
		`{"v":1,"client":"` + service + `","receipt":` + receipt("long/1") + `,"more":"` + strings.Repeat("x", 6000) + `"}`,
		`{"v":1,"client":"` + service + `","receipt":` + receipt("good/1") + `}`,
	} {
		if err := nc.Publish(revocation.PostedSubject+"other", []byte(message)); err != nil {
			t.Fatal(err)
		}
	}
	var services []admin.ServiceStatus
	eventually(t, "the receipt is taken", func() bool { services = b.all[0].status().Services; return len(services) > 0 })
	if len(services) != 1 || services[0].Service != "good/1" || services[0].Source != "http/"+service || !services[0].Awaited {
		t.Errorf("services %+v", services)
	}
}
