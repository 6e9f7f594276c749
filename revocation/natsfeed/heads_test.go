package natsfeed

import (
	"crypto/ed25519"
	"fmt"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"tokenbroker/revocation"
)

// TestAHeartbeatOfTheMostOriginsArrives: with names of the maximum length it is below the payload limit of a NATS server, and
// both services and other brokers receive it.
func TestAHeartbeatOfTheMostOriginsArrives(t *testing.T) {
	srv := serve(t, server.Options{Port: -1})
	bus, other := dial(t, BusConfig{InProcess: srv}), dial(t, BusConfig{InProcess: srv})
	s, heard := newSink(), make(chan string, 1)
	feed := open(t, Feed{URL: srv.ClientURL()}, s)
	if err := other.Heartbeats(func(raw []byte) { heard <- string(raw) }); err != nil {
		t.Fatal(err)
	}
	if err := other.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}

	heads := map[string]uint64{}
	for i := range revocation.MaxOrigins {
		heads[fmt.Sprintf("%064d", i)] = revocation.MaxSeq
	}
	own := fmt.Sprintf("%064d", 0)
	private := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	raw, err := revocation.SignMessage(private, "k", revocation.HeartbeatType, revocation.Heartbeat{
		V: revocation.Version, Store: "s", Origin: own, Head: revocation.MaxSeq, Heads: heads,
	})
	if err != nil {
		t.Fatal(err)
	}
	publish(t, bus, revocation.HeartbeatSubject+own, string(raw))
	for who, messages := range map[string]<-chan string{"a service": s.messages, "another broker": heard} {
		m, err := revocation.ParseMessage([]byte(receive(t, messages, "heartbeat for "+who)), func(string) (ed25519.PublicKey, bool) {
			return private.Public().(ed25519.PublicKey), true
		})
		if err != nil || m.Incomplete || len(m.Heartbeat.Heads) != revocation.MaxOrigins {
			t.Errorf("%s receives %+v, %v", who, m, err)
		}
	}
	if err := feed.Close(); err != nil {
		t.Error(err)
	}
}
