package natsfeed_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"tokenbroker/revocation"
	"tokenbroker/revocation/natsfeed"
	"tokenbroker/validator"
	"tokenbroker/validator/validatortest"
)

// bridge publishes what an issuer of a test says.
type bridge struct {
	t   *testing.T
	bus *natsfeed.Bus
}

func (b bridge) Message(raw []byte) {
	if err := b.bus.Publish(revocation.BatchSubject+"test", raw); err != nil {
		b.t.Error(err)
	}
}

func (b bridge) Gap(error) {}

// TestASlowConsumerForgetsNothing: 100,000 revocations, and 8 messages may wait. Whatever
// NATS drops comes by catch-ups, of which there are few, and none any more when it is over.
func TestASlowConsumerForgetsNothing(t *testing.T) {
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(5 * time.Second) {
		t.Fatal("the NATS server does not start")
	}
	bus, err := natsfeed.Dial(t.Context(), natsfeed.BusConfig{InProcess: srv})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(bus.Close)
	issuer := validatortest.New(t)
	tap, err := issuer.Feed().Open(t.Context(), bridge{t, bus})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tap.Close() })

	config := issuer.Config("test")
	config.Feed = natsfeed.Feed{URL: srv.ClientURL()}.WithPending(8)
	v, err := validator.New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)

	const batches, each = 2000, 50
	began := time.Now()
	for b := range batches {
		events := make([]revocation.Event, each)
		for i := range events {
			events[i] = revocation.Event{Kind: revocation.KindSID, Value: fmt.Sprintf("s%d-%d", b, i)}
		}
		issuer.Revoke(events...)
	}
	issuer.Heartbeat()
	deadline := time.Now().Add(20 * time.Second)
	for v.Stats().Denylist < batches*each {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d known: %+v", v.Stats().Denylist, batches*each, v.Stats().Feed)
		}
		<-time.After(10 * time.Millisecond)
	}
	took, got := time.Since(began), v.Stats().Feed
	for b := 0; b < batches; b += 97 {
		token := issuer.Mint(validatortest.Claims{"sid": fmt.Sprintf("s%d-%d", b, b%each)})
		if _, err := v.Validate(t.Context(), token); !errors.Is(err, validator.ErrRevoked) {
			t.Errorf("batch %d: %v", b, err)
		}
	}
	if got.Gaps == 0 || got.Messages >= batches {
		t.Errorf("nothing was dropped: %+v", got)
	}
	if most := uint64(took/(250*time.Millisecond)) + 3; got.CatchUps > most {
		t.Errorf("%d catch-ups in %s", got.CatchUps, took)
	}
	t.Logf("known after %s: %+v", took, got)

	for range 3 { // it settles: the heartbeats suffice
		issuer.Heartbeat()
		<-time.After(500 * time.Millisecond)
	}
	settled := v.Stats().Feed.CatchUps
	for range 4 {
		issuer.Heartbeat()
		<-time.After(500 * time.Millisecond)
	}
	if n := v.Stats().Feed.CatchUps - settled; n > 0 {
		t.Errorf("%d catch-ups when all was over", n)
	}
}
