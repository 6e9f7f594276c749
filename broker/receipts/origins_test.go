package receipts_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/broker"
	"tokenbroker/broker/receipts"
	"tokenbroker/revocation"
)

// changing is a broker whose origin was ended by another one, so that it took a new origin.
type changing struct {
	origin string
	head   uint64
}

func (b *changing) collector() *receipts.Collector {
	began := time.Now()
	return receipts.New(receipts.Config{
		Origin: func() string { return b.origin }, Head: func() uint64 { return b.head }, Mono: func() time.Duration { return time.Since(began) },
	})
}

// report takes a receipt of a service that follows several origins.
func report(t *testing.T, c *receipts.Collector, service string, applied map[string]uint64) error {
	t.Helper()
	raw, err := revocation.EncodeReceipt(revocation.Receipt{V: revocation.Version, Service: service, Applied: applied, Speaks: revocation.Speaks})
	if err != nil {
		t.Fatal(err)
	}
	return c.Take("http/demo", raw)
}

func mustReport(t *testing.T, c *receipts.Collector, service string, applied map[string]uint64) {
	t.Helper()
	if err := report(t, c, service, applied); err != nil {
		t.Fatal(err)
	}
}

func TestAWaitForABatchOfAnEarlierOriginEndsWithThatBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &changing{origin: "A", head: 9}
		c := b.collector()
		mustReport(t, c, "a/1", map[string]uint64{"A": 8, "C": 70})
		answer := waitingFor(t, c, upTo("A", 9), 2*time.Second)
		b.origin, b.head = "B", 20
		for _, applied := range []map[string]uint64{{"B": 20}, {"A": 8, "B": 20}, {"C": 70}} { // none has A.9
			mustReport(t, c, "a/1", applied)
		}
		synctest.Wait()
		select {
		case got := <-answer:
			t.Fatalf("it ended with %+v", got)
		default:
		}
		time.Sleep(3 * time.Millisecond)
		mustReport(t, c, "a/1", map[string]uint64{"A": 9, "B": 20})
		want(t, <-answer, broker.ReceiptSummary{Applied: 1, Of: 1, SlowestMS: 3})
	})
}

func TestBatchesOfAnEarlierOriginDoNotCountForTheNextOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &changing{origin: "A", head: 9}
		c := b.collector()
		mustReport(t, c, "a/1", map[string]uint64{"A": 9})
		b.origin, b.head = "B", 3
		if got := c.Services()[0]; got.Applied != 0 || got.Lag != 3 {
			t.Errorf("service %+v", got)
		}
		want(t, <-waitingFor(t, c, upTo("B", 2), time.Second), broker.ReceiptSummary{Of: 1, Laggards: []string{"a/1"}})
		mustReport(t, c, "a/1", map[string]uint64{"A": 9, "B": 2})
		if got := c.Services()[0]; got.Applied != 2 || got.Lag != 1 {
			t.Errorf("service %+v", got)
		}
		want(t, <-waitingFor(t, c, upTo("B", 2), time.Second), broker.ReceiptSummary{Applied: 1, Of: 1})
	})
}

// TestAWaitForSeveralOriginsEndsWithTheLast: a revocation that another broker recorded is counted with everything that
// is on record.
func TestAWaitForSeveralOriginsEndsWithTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := (&changing{origin: "A", head: 9}).collector()
		mustReport(t, c, "a/1", map[string]uint64{"A": 9, "B": 4})
		mustReport(t, c, "b/1", map[string]uint64{"A": 9, "B": 5})
		mustReport(t, c, "c/1", map[string]uint64{"B": 5})
		heads := map[string]uint64{"A": 9, "B": 5}
		answer := waitingFor(t, c, heads, 2*time.Second)
		time.Sleep(3 * time.Millisecond)
		mustReport(t, c, "a/1", map[string]uint64{"A": 1, "B": 5}) // it was overtaken
		time.Sleep(3 * time.Millisecond)
		mustReport(t, c, "c/1", map[string]uint64{"A": 8, "B": 6})
		want(t, <-answer, broker.ReceiptSummary{Applied: 2, Of: 3, SlowestMS: 3, Laggards: []string{"c/1"}})
		mustReport(t, c, "c/1", map[string]uint64{"A": 9})
		want(t, <-waitingFor(t, c, heads, time.Second), broker.ReceiptSummary{Applied: 3, Of: 3})
	})
}

// TestASenderCannotMakeABrokerRememberOriginsWithoutBound sends a receipt with other origins each time.
func TestASenderCannotMakeABrokerRememberOriginsWithoutBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := (&changing{origin: "A", head: 9}).collector()
		mustReport(t, c, "a/1", map[string]uint64{"A": 9, "B": 5})
		for i := range 3 {
			made := map[string]uint64{}
			for j := range revocation.MaxReceiptOrigins {
				made[fmt.Sprint("made-", i, "-", j)] = 1
			}
			mustReport(t, c, "a/1", made)
		}
		want(t, <-waitingFor(t, c, upTo("A", 9), time.Second), broker.ReceiptSummary{Applied: 1, Of: 1})
		for _, forgotten := range []string{"B", "made-0-0", "made-1-63"} {
			want(t, <-waitingFor(t, c, upTo(forgotten, 1), time.Second), broker.ReceiptSummary{Of: 1, Laggards: []string{"a/1"}})
		}
	})
}

func TestOnlyTheOwnOriginsBatchesCanBeAhead(t *testing.T) {
	b := &changing{origin: "A", head: 9}
	c := b.collector()
	b.origin, b.head = "B", 3
	for what, applied := range map[string]map[string]uint64{
		"of the earlier origin":   {"A": 10, "B": 3},
		"of another broker":       {"B": 3, "C": 1 << 50},
		"without the own origin":  {"A": 10},
		"up to the committed one": {"B": 3},
	} {
		if err := report(t, c, "a/1", applied); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := report(t, c, "a/1", map[string]uint64{"B": 4}); !errors.Is(err, receipts.ErrRefused) {
		t.Errorf("ahead of the own origin: %v", err)
	}
}

// A receipt that arrives while the origin changes is judged by the head of the origin that it names.
func TestAReceiptDuringAChangeOfTheOriginIsNotAhead(t *testing.T) {
	origins := []string{"A", "B", "B", "B"}
	c := receipts.New(receipts.Config{
		Origin: func() string {
			now := origins[0]
			origins = origins[1:]
			return now
		},
		Head: func() uint64 { return 0 }, // of B
		Mono: func() time.Duration { return 0 },
	})
	if err := report(t, c, "a/1", map[string]uint64{"A": 9}); err != nil {
		t.Error(err)
	}
}

func TestOutdatedServicesAreNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newKnowing()
		takeFrom := func(source, service string, speaks int) {
			t.Helper()
			raw, err := revocation.EncodeReceipt(revocation.Receipt{V: revocation.Version, Service: service, Speaks: speaks, Speaker: "of-" + source[:4]})
			if err == nil {
				err = c.Take(source, raw)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		wantNames := func(want ...string) {
			t.Helper()
			if diff := cmp.Diff(want, c.Outdated()); diff != "" {
				t.Errorf("outdated (-want +got):\n%s", diff)
			}
		}
		wantNames()
		takeFrom("nats/b", "b/1", 0)
		takeFrom("nats/b", "b/2", revocation.Speaks)
		takeFrom("nats/a", "a/1", 1)
		takeFrom("nats/unknown", "unknown/1", 0)
		takeFrom("http/demo", "demo/1", revocation.Speaks+1)
		takeFrom("http/demo", "same/1", 0)
		takeFrom("http/a", "same/1", 0)
		wantNames("a/1", "b/1", "same/1", "unknown/1")
		for _, s := range c.Services() {
			if s.Speaker != "of-"+s.Source[:4] {
				t.Errorf("%+v", s)
			}
			if s.Service == "a/1" && s.Speaks != 1 || s.Service == "b/2" && s.Speaks != revocation.Speaks {
				t.Errorf("service %+v", s)
			}
		}
		takeFrom("nats/a", "a/1", revocation.Speaks) // the process itself cannot change, its name can be used again
		wantNames("b/1", "same/1", "unknown/1")
		time.Sleep(59 * time.Second)
		takeFrom("nats/b", "b/1", 0)
		time.Sleep(2 * time.Second)
		wantNames("b/1") // the others are silent for a minute

		var names []string
		for i := range 30 {
			names = append(names, fmt.Sprintf("a/%02d", i))
		}
		for _, name := range slices.Backward(names) {
			takeFrom("nats/a", name, 0)
		}
		wantNames(names[:20]...)
	})
}
