package receipts_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"tokenbroker/broker"
	"tokenbroker/broker/receipts"
	"tokenbroker/revocation"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const own = "origin-1"

// newCollector returns a collector with the clock of the test's bubble and 100 committed batches.
func newCollector() *receipts.Collector {
	began := time.Now()
	return receipts.New(receipts.Config{
		Origin: func() string { return own }, Head: func() uint64 { return 100 }, Mono: func() time.Duration { return time.Since(began) },
	})
}

func receipt(t *testing.T, service, origin string, seq uint64) []byte {
	t.Helper()
	raw, err := revocation.EncodeReceipt(revocation.Receipt{
		V: revocation.Version, Service: service, Applied: map[string]uint64{origin: seq}, Fresh: true, AgeMS: 12,
	})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func take(t *testing.T, c *receipts.Collector, service string, seq uint64) {
	t.Helper()
	if err := c.Take("http/demo", receipt(t, service, own, seq)); err != nil {
		t.Fatal(err)
	}
}

// waiting starts a wait and returns its result.
func waiting(t *testing.T, c *receipts.Collector, seq uint64, d time.Duration) <-chan broker.ReceiptSummary {
	t.Helper()
	return waitingFor(t, c, upTo(own, seq), d)
}

// upTo returns the batches of an origin up to seq.
func upTo(origin string, seq uint64) map[string]uint64 { return map[string]uint64{origin: seq} }

func waitingFor(t *testing.T, c *receipts.Collector, heads map[string]uint64, d time.Duration) <-chan broker.ReceiptSummary {
	t.Helper()
	answer := make(chan broker.ReceiptSummary, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		answer <- c.Applied(ctx, heads)
	}()
	synctest.Wait()
	return answer
}

func want(t *testing.T, got, want broker.ReceiptSummary) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
}

func TestAppliedEndsWhenAllServicesHaveApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCollector()
		for _, s := range []string{"a/1", "a/2", "b/1"} {
			take(t, c, s, 6)
		}
		answer := waiting(t, c, 7, 2*time.Second)
		time.Sleep(4 * time.Millisecond)
		take(t, c, "a/1", 7)
		take(t, c, "a/2", 8)
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		select {
		case got := <-answer:
			t.Fatalf("it did not wait for b/1: %+v", got)
		default:
		}
		take(t, c, "b/1", 7)
		want(t, <-answer, broker.ReceiptSummary{Applied: 3, Of: 3, SlowestMS: 6})
	})
}

func TestAppliedEndsImmediatelyWithoutServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		want(t, newCollector().Applied(t.Context(), upTo(own, 7)), broker.ReceiptSummary{})
	})
}

func TestTheSlowestIsMeasuredFromTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCollector()
		take(t, c, "a/1", 6)
		time.Sleep(time.Second)
		take(t, c, "a/1", 7) // before the wait, and after the request
		time.Sleep(time.Second)
		want(t, c.AppliedSince(t.Context(), 995*time.Millisecond, upTo(own, 7)), broker.ReceiptSummary{Applied: 1, Of: 1, SlowestMS: 5})
	})
}

func TestAServiceSilentBeforeTheWaitIsLeftOutAndOneSilentDuringItIsALaggard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCollector()
		take(t, c, "gone/1", 6)
		time.Sleep(3*time.Second + time.Millisecond)
		take(t, c, "quick/1", 6)
		take(t, c, "paused/1", 6)
		answer := waiting(t, c, 7, 8*time.Second)
		take(t, c, "quick/1", 7)
		take(t, c, "new/1", 6) // started during the wait
		want(t, <-answer, broker.ReceiptSummary{Applied: 1, Of: 2, Laggards: []string{"paused/1"}})
	})
}

func TestARefusedReceiptChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCollector()
		take(t, c, "a/1", 6)
		before := c.Services()
		huge := append(receipt(t, "a/1", own, 7), make([]byte, revocation.MaxReceiptBytes)...)
		refused := map[string]struct {
			source string
			raw    []byte
		}{
			"nothing":                      {"http/demo", nil},
			"garbage":                      {"http/demo", []byte("{\x00")},
			"huge":                         {"http/demo", huge},
			"another version":              {"http/demo", []byte(`{"v":2,"service":"a/1","applied":{"origin-1":7},"fresh":true,"age_ms":1}`)},
			"ahead of all batches":         {"http/demo", receipt(t, "a/1", own, 101)},
			"under a foreign subject":      {"nats/b", receipt(t, "a/1", own, 7)},
			"under a longer subject":       {"nats/a/1", receipt(t, "a/1", own, 7)},
			"a name that is not printable": {"http/demo", []byte(`{"v":1,"service":"a\u001b/1","applied":{},"fresh":true,"age_ms":1}`)},
		}
		for what, r := range refused {
			if err := c.Take(r.source, r.raw); !errors.Is(err, receipts.ErrRefused) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if diff := cmp.Diff(before, c.Services()); diff != "" {
			t.Errorf("services (-before +after):\n%s", diff)
		}
		if got := c.Refused(); got != uint64(len(refused)) {
			t.Errorf("refused %d, want %d", got, len(refused))
		}
		if err := c.Take("nats/a", receipt(t, "a/1", own, 7)); err != nil {
			t.Errorf("its own subject: %v", err)
		}
	})
}

func TestAnotherOriginsBatchesDoNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCollector()
		if err := c.Take("http/demo", receipt(t, "a/1", "origin-0", 99)); err != nil {
			t.Fatal(err)
		}
		want(t, <-waiting(t, c, 7, time.Second), broker.ReceiptSummary{Of: 1, Laggards: []string{"a/1"}})
	})
}

func TestAnOlderReceiptDoesNotLowerApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCollector()
		take(t, c, "a/1", 9)
		take(t, c, "a/1", 8)
		if got := c.Services()[0]; got.Applied != 9 || got.Lag != 91 {
			t.Errorf("got %+v", got)
		}
	})
}

func TestTheSameNameFromTwoSourcesIsTwoServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCollector()
		take(t, c, "a/1", 6)
		if err := c.Take("http/intruder", receipt(t, "a/1", own, 7)); err != nil {
			t.Fatal(err)
		}
		want(t, <-waiting(t, c, 7, time.Second), broker.ReceiptSummary{Applied: 1, Of: 2, Laggards: []string{"a/1"}})
	})
}

func TestAFloodOfNamesIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCollector()
		full := 0
		for i := range 10_000 {
			err := c.Take(fmt.Sprintf("http/%d", i%7), receipt(t, fmt.Sprintf("s/%d", i), own, 1))
			if errors.Is(err, receipts.ErrFull) {
				full++
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if got := len(c.Services()); got != 5000 || full != 5000 {
			t.Errorf("remembers %d, refused %d", got, full)
		}
		time.Sleep(61 * time.Second)
		for i := range 1001 {
			err := c.Take("http/1", receipt(t, fmt.Sprintf("t/%d", i), own, 1))
			if errors.Is(err, receipts.ErrFull) != (i == 1000) {
				t.Fatalf("of one source, number %d: %v", i, err)
			}
		}
		if got := len(c.Services()); got != 1000 {
			t.Errorf("remembers %d after the others were forgotten", got)
		}
	})
}

func TestBatchesAskForReceiptsDuringAWait(t *testing.T) {
	c := newCollector()
	one, two := c.Expect(), c.Expect()
	one()
	one()
	if !c.Wanted() {
		t.Error("the other one still waits")
	}
	two()
	if c.Wanted() {
		t.Error("no wait is in progress")
	}
}

func TestCloseEndsEveryWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCollector()
		take(t, c, "a/1", 6)
		first, second := waiting(t, c, 7, time.Hour), waiting(t, c, 8, time.Hour)
		take(t, c, "a/1", 7)
		c.Close()
		want(t, <-first, broker.ReceiptSummary{Applied: 1, Of: 1})
		lags := broker.ReceiptSummary{Of: 1, Laggards: []string{"a/1"}}
		want(t, <-second, lags)
		want(t, c.Applied(t.Context(), upTo(own, 9)), lags)
	})
}

// In any order of receipts, the numbers add up, and each laggard is a service that sent a
// receipt and has not applied the batch.
func TestAppliedNeverExceedsOf(t *testing.T) {
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			c := newCollector()
			heard, applied := map[string]time.Time{}, map[string]uint64{}
			step := func() {
				s := fmt.Sprintf("s/%d", random.IntN(6))
				seq := random.Uint64N(10)
				take(t, c, s, seq)
				heard[s], applied[s] = time.Now(), max(applied[s], seq)
				time.Sleep(time.Duration(random.IntN(700)) * time.Millisecond)
			}
			for range random.IntN(20) {
				step()
			}
			var asked []string
			for s, at := range heard {
				if time.Since(at) <= 3*time.Second {
					asked = append(asked, s)
				}
			}
			answer := waiting(t, c, 8, 2*time.Second)
			for end := time.Now().Add(1300 * time.Millisecond); time.Now().Before(end); {
				step()
			}
			got := <-answer
			expected := broker.ReceiptSummary{Of: len(asked), SlowestMS: got.SlowestMS}
			for _, s := range asked {
				if applied[s] >= 8 {
					expected.Applied++
				} else {
					expected.Laggards = append(expected.Laggards, s)
				}
			}
			slices.Sort(expected.Laggards)
			want(t, got, expected)
		})
	}
}

// A caller who repeats requests while a service lags cannot accumulate waits without bound.
func TestWaitsBeyondTheBoundEndImmediately(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCollector()
		take(t, c, "a/1", 6)
		const most = 1000
		waits := make([]*receipts.Wait, most)
		for i := range waits {
			waits[i] = c.Begin(0, upTo(own, 7))
		}
		began := time.Now()
		want(t, c.Begin(0, upTo(own, 7)).End(t.Context()), broker.ReceiptSummary{Of: 1, Laggards: []string{"a/1"}})
		if d := time.Since(began); d != 0 {
			t.Errorf("a wait beyond the bound took %s", d)
		}
		take(t, c, "a/1", 7)
		for _, w := range waits {
			want(t, w.End(t.Context()), broker.ReceiptSummary{Applied: 1, Of: 1})
		}
		take(t, c, "a/1", 7)
		want(t, <-waiting(t, c, 8, time.Second), broker.ReceiptSummary{Of: 1, Laggards: []string{"a/1"}})
	})
}

// newKnowing returns a collector that knows the ids a, b and demo.
func newKnowing() *receipts.Collector {
	began := time.Now()
	return receipts.New(receipts.Config{
		Origin: func() string { return own }, Head: func() uint64 { return 100 }, Mono: func() time.Duration { return time.Since(began) },
		Known: func(id string) bool { return slices.Contains([]string{"a", "b", "demo"}, id) },
	})
}

// A small number of unknown ids is remembered, and no wait waits for them.
func TestUnknownServicesAreNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newKnowing()
		if err := c.Take("nats/a", receipt(t, "a/1", own, 7)); err != nil {
			t.Fatal(err)
		}
		taken := 0
		for i := range 4990 {
			id := fmt.Sprint("invented-", i)
			switch err := c.Take(receipts.NATS+id, receipt(t, id+"/1", own, 0)); {
			case err == nil:
				taken++
			case !errors.Is(err, receipts.ErrFull):
				t.Fatal(err)
			}
		}
		if taken != 100 {
			t.Errorf("%d invented services are remembered", taken)
		}
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		want(t, c.Applied(ctx, upTo(own, 7)), broker.ReceiptSummary{Applied: 1, Of: 1})
		if took := time.Since(began); took != 0 { // by the bubble's clock
			t.Errorf("waited for %s", took)
		}
		for _, s := range c.Services() {
			if s.Awaited != (s.Source == "nats/a") {
				t.Errorf("%s is awaited: %t", s.Service, s.Awaited)
			}
		}
	})
}

// Each known source has places, regardless of how many services other sources claim.
func TestPlacesAreReservedForKnownServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		c := receipts.New(receipts.Config{
			Origin: func() string { return own }, Head: func() uint64 { return 100 }, Mono: func() time.Duration { return time.Since(began) },
			Known: func(string) bool { return true },
		})
		for i := range 6000 {
			source := fmt.Sprint("flood", i%6)
			err := c.Take(receipts.NATS+source, receipt(t, fmt.Sprintf("%s/%d", source, i), own, 1))
			if err != nil && !errors.Is(err, receipts.ErrFull) {
				t.Fatal(err)
			}
		}
		for i := range 21 {
			err := c.Take(receipts.NATS+"orders", receipt(t, fmt.Sprintf("orders/%d", i), own, 1))
			if i < 20 && err != nil || i == 20 && !errors.Is(err, receipts.ErrFull) {
				t.Errorf("instance %d: %v", i, err)
			}
		}
	})
}

func TestAReceiptIsTheSendersOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newKnowing()
		for _, r := range []struct {
			source, service string
			refused         bool
		}{
			{"nats/a", "a/1", false},
			{"nats/a", "b/1", true},
			{"nats/a", "c/1", true},
			{"http/demo", "demo/1", false},
			{"http/demo", "a/1", true}, // a service of another client
			{"http/demo", "another-name/1", false},
			{"http/a", "a/1", false},
		} {
			if err := c.Take(r.source, receipt(t, r.service, own, 1)); errors.Is(err, receipts.ErrRefused) != r.refused {
				t.Errorf("%s from %s: %v", r.service, r.source, err)
			}
		}
	})
}

// The number of services that all waits wait for is bounded. Beyond it, a wait ends with what is known.
func TestTheServicesThatAllWaitsWaitForAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCollector()
		const services = 1000
		for i := range services {
			take(t, c, fmt.Sprint("s/", i), 1)
		}
		var waits []*receipts.Wait
		for range 100 {
			waits = append(waits, c.Begin(0, upTo(own, 2)))
		}
		beyond := c.Begin(0, upTo(own, 2))
		want := broker.ReceiptSummary{Of: services}
		if got := beyond.End(t.Context()); got.Of != want.Of || got.Applied != 0 || len(got.Laggards) != 100 {
			t.Errorf("beyond the bound: %+v", got)
		}
		for i := range services {
			take(t, c, fmt.Sprint("s/", i), 2)
		}
		for _, w := range waits {
			if got := w.End(t.Context()); got.Applied != services || got.Laggards != nil {
				t.Fatalf("%+v", got)
			}
		}
		c.Begin(0, upTo(own, 3)).End(canceled(t)) // there is room again
	})
}

func canceled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
