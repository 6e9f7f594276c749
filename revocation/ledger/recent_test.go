package ledger_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
)

// unlistable fails each List of batches.
type unlistable struct{ store.Store }

func (s unlistable) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	if len(prefix) > len("ledger.batch.") && prefix[:len("ledger.batch.")] == "ledger.batch." {
		return nil, errors.New("a look into the store")
	}
	return s.Store.List(ctx, prefix, after, limit)
}

// TestPublishingAtOnceDoesNotReadTheStore also checks that a published batch does not name the operator.
func TestPublishingAtOnceDoesNotReadTheStore(t *testing.T) {
	p := start(t, unlistable{memstore.New(nil)})
	var sent []revocation.Batch
	publisher, err := ledger.NewPublisher(ledger.PublisherConfig{
		Ledger: p.Ledger, Bus: silent{}, Sign: func(_ string, payload any) ([]byte, error) {
			if b, ok := payload.(revocation.Batch); ok {
				sent = append(sent, b)
			}
			return []byte("signed"), nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- publisher.Run(t.Context()) }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for n := range 3 {
		e := sid("s1")
		e.ExpiresAt += int64(n)
		e.By = "somebody"
		p.revoke(e)
		if !publisher.Flushed(ctx, p.Origin(), p.Head()) {
			t.Fatal("it was not sent")
		}
	}
	publisher.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for i, b := range sent {
		if b.Seq != uint64(i)+1 || len(b.Events) != 1 || b.Events[0].Value != "s1" || b.Events[0].By != "" {
			t.Errorf("sent %+v", b)
		}
	}
	if len(sent) != 3 {
		t.Errorf("%d batches", len(sent))
	}
}

type silent struct{}

func (silent) Publish(string, []byte) error { return nil }
func (silent) Flush(context.Context) error  { return nil }

// TestPublishedBatchesEqualTheRecord checks that a batch has the same bytes whether it comes from memory
// or from the store.
func TestPublishedBatchesEqualTheRecord(t *testing.T) {
	p := start(t, memstore.New(nil))
	revoke := func(n int) {
		var events []revocation.Event
		for i := range 1 + n%3 {
			e := sid(fmt.Sprint("s<&ä\"", n, i))
			e.By, e.Reason = "somebody", revocation.Reason(fmt.Sprint("why>", n%2))
			events = append(events, e)
		}
		if n%10 == 0 {
			e := sub("u", int64(n)+1)
			e.Kind = revocation.KindClient
			events = append(events, e)
		}
		p.revoke(events...)
	}
	const early = 100
	for n := range early { // more than are kept
		revoke(n)
	}
	var sent [][]byte
	publisher, err := ledger.NewPublisher(ledger.PublisherConfig{
		Ledger: p.Ledger, Bus: silent{}, Sign: func(typ string, payload any) ([]byte, error) {
			text, err := json.Marshal(payload)
			if typ == revocation.BatchType {
				sent = append(sent, text)
			}
			return text, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- publisher.Run(t.Context()) }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for n := range 30 {
		revoke(early + n)
	}
	if !publisher.Flushed(ctx, p.Origin(), p.Head()) {
		t.Fatal("it was not sent")
	}
	publisher.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	records, err := p.store.List(t.Context(), "ledger.batch."+p.Origin()+".", "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	if len(records) != len(sent) || len(sent) != early+30 {
		t.Fatalf("%d records, %d sent", len(records), len(sent))
	}
	for i, r := range records {
		if !bytes.Equal(r.Value, sent[i]) {
			t.Errorf("recorded %s, sent %s", r.Value, sent[i])
		}
	}
}
