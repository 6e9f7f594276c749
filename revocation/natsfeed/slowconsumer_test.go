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

// bridge publishes the messages of an issuer of a test.
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

// TestSlowConsumerLosesNothing sends 100,000 revocations to a feed in which 8 messages may wait.
// Catch-ups, of which there are few, replace all messages that NATS drops, and stop when the load ends.
func TestSlowConsumerLosesNothing(t *testing.T) {
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(time.Minute) {
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
	for b := range batches {
		events := make([]revocation.Event, each)
		for i := range events {
			events[i] = revocation.Event{Kind: revocation.KindSID, Value: fmt.Sprintf("s%d-%d", b, i)}
		}
		issuer.Revoke(events...)
	}
	issuer.Heartbeat()
	deadline := time.Now().Add(time.Minute)
	for v.Stats().Denylist < batches*each {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d known: %+v", v.Stats().Denylist, batches*each, v.Stats().Feed)
		}
		<-time.After(10 * time.Millisecond)
	}
	got := v.Stats().Feed
	for b := 0; b < batches; b += 97 {
		token := issuer.Mint(validatortest.Claims{"sid": fmt.Sprintf("s%d-%d", b, b%each)})
		if _, err := v.Validate(t.Context(), token); !errors.Is(err, validator.ErrRevoked) {
			t.Errorf("batch %d: %v", b, err)
		}
	}
	if got.Gaps == 0 || got.Messages >= batches {
		t.Errorf("nothing was dropped: %+v", got)
	}
	if got.CatchUps > batches/8 { // a catch-up covers all that was dropped by then
		t.Errorf("%d catch-ups for %d batches", got.CatchUps, batches)
	}
	t.Logf("%+v", got)

	// The feed recovers: between successive heartbeats it makes no catch-up.
	beat := time.NewTicker(500 * time.Millisecond)
	defer beat.Stop()
	for settled := got; ; <-beat.C {
		now := v.Stats().Feed
		if now.CatchUps != settled.CatchUps {
			settled = now
		}
		if now.Messages >= settled.Messages+5 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("catch-ups when all was over: %+v", now)
		}
		issuer.Heartbeat()
	}
}
