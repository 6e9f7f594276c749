package validator

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/revocation"
)

// newReceipts returns the receipts that came since the last call.
func (l *life) newReceipts() []revocation.Receipt {
	l.mu.Lock()
	defer l.mu.Unlock()
	got := l.receipts
	l.receipts = nil
	return got
}

func (l *life) revokeAcked(sid string) {
	l.recordAcked(revocation.Event{
		Kind: revocation.KindSID, Value: sid, At: time.Now().Unix(), ExpiresAt: time.Now().Unix() + 900, Reason: "logoff",
	}, true)
}

func TestAReceiptEachSecondOnceReady(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		mustStart(t, s)
		time.Sleep(time.Second + tickEvery/2) // between two ticks
		first := l.newReceipts()
		if len(first) < 1 || len(first) > 2 {
			t.Fatalf("%d receipts in the first second", len(first))
		}
		l.revoke("one")
		l.beatFor(10 * time.Second)
		synctest.Wait()
		got := l.newReceipts()
		if len(got) < 9 || len(got) > 11 {
			t.Fatalf("%d receipts in 10 s", len(got))
		}
		for _, r := range got {
			if r.V != 1 || r.Service != "service/1" || r.Applied["o1"] != 1 || len(r.Applied) != 1 || !r.Fresh ||
				r.AgeMS < 0 || r.AgeMS > 1100 {
				t.Errorf("receipt %+v", r)
			}
			if _, err := revocation.EncodeReceipt(r); err != nil {
				t.Error(err)
			}
		}
		if n := s.counts.stats().Receipts; n != uint64(len(first)+len(got)) {
			t.Errorf("%d counted", n)
		}
	})
}

// TestAReceiptStatesTheProtocol: a broker that finds none refuses to be the second one of a store. The receipt also
// names the broker that the service hears.
func TestAReceiptStatesTheProtocol(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		mustStart(t, s)
		time.Sleep(time.Second)
		if got := l.newReceipts(); len(got) == 0 || got[0].Speaks != revocation.Speaks || got[0].Speaker != "o1" {
			t.Errorf("receipts %+v", got)
		}
	})
}

// TestAReceiptOfManyOriginsNamesThoseThatAdvancedLast: a broker that waits for a batch finds its origin in the
// receipt, also if the service follows more origins than a receipt may name.
func TestAReceiptOfManyOriginsNamesThoseThatAdvancedLast(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		l.set(func() {
			for i := range 300 {
				l.others = append(l.others, revocation.OriginHead{Origin: fmt.Sprintf("other-%03d", i), Head: 7})
			}
		})
		mustStart(t, s)
		time.Sleep(1500*time.Millisecond + tickEvery/2)
		l.newReceipts()
		for n, i := range []int{299, 150, 0} {
			origin := fmt.Sprintf("other-%03d", i)
			l.set(func() {
				l.send(revocation.BatchType, revocation.Batch{V: 1, Store: l.store, Origin: origin, Seq: 8, Ack: true})
			})
			time.Sleep(2 * receiptSpacing)
			synctest.Wait()
			got := l.newReceipts()
			if len(got) != 1 || got[0].Applied[origin] != 8 || len(got[0].Applied) != revocation.MaxReceiptOrigins {
				t.Fatalf("receipts %+v", got)
			}
			for _, earlier := range []int{299, 150}[:n] {
				if name := fmt.Sprintf("other-%03d", earlier); got[0].Applied[name] != 8 {
					t.Errorf("the receipt for %s does not name %s, which advanced before", origin, name)
				}
			}
		}
		if n := s.counts.stats().FailedReceipts; n != 0 {
			t.Errorf("%d receipts failed", n)
		}
	})
}

func TestNoReceiptBeforeReady(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		l.hang = make(chan struct{})
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := s.start(ctx); err == nil {
			t.Fatal("ready without an answer")
		}
		if got := l.newReceipts(); len(got) != 0 {
			t.Errorf("%d receipts of a service that accepts no token yet", len(got))
		}
	})
}

func TestAReceiptAtOnceForABatchWithAck(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		mustStart(t, s)
		time.Sleep(1500*time.Millisecond + tickEvery/2)
		l.newReceipts()
		l.revoke("no receipt requested")
		synctest.Wait()
		if got := l.newReceipts(); len(got) != 0 {
			t.Fatalf("receipts %+v", got)
		}
		l.revokeAcked("somebody asks")
		synctest.Wait()
		got := l.newReceipts()
		if len(got) != 1 || got[0].Applied["o1"] != 2 {
			t.Fatalf("receipts %+v", got)
		}
		if !sid(s, "somebody asks") {
			t.Error("a receipt for what is not applied")
		}
	})
}

// A hundred batches in no time are one receipt or two, and the last one covers all.
func TestNewestReceiptOfABurstIsSent(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		mustStart(t, s)
		time.Sleep(1500*time.Millisecond + tickEvery/2)
		l.newReceipts()
		for range 100 {
			l.revokeAcked("one of many")
		}
		time.Sleep(2 * receiptSpacing)
		synctest.Wait()
		got := l.newReceipts()
		if len(got) == 0 || len(got) > 2 || got[len(got)-1].Applied["o1"] != 100 {
			t.Errorf("receipts %+v", got)
		}
	})
}

func TestStaleServiceReportsIt(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		mustStart(t, s)
		l.set(func() { l.httpDown = true })
		time.Sleep(40 * time.Second)
		got := l.newReceipts()
		last := got[len(got)-1]
		if last.Fresh || last.AgeMS < 38_000 || last.AgeMS > 41_000 || last.Applied["o1"] != 0 {
			t.Errorf("receipt %+v", last)
		}
		if !got[5].Fresh {
			t.Errorf("receipt %+v", got[5])
		}
	})
}

// A broker that cannot take receipts costs a line when that begins and one when it ends.
func TestFailingReceiptsAreLoggedOnceAndCounted(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		mustStart(t, s)
		n := 0
		l.set(func() {
			l.refuse = func(context.Context) error { n++; return fmt.Errorf("refused for the %d. time", n) }
		})
		l.beatFor(20 * time.Second)
		count := func(line string) int {
			l.mu.Lock()
			defer l.mu.Unlock()
			return strings.Count(l.log.String(), line)
		}
		if got := count("receipts cannot be sent"); got != 1 {
			t.Errorf("logged %d times", got)
		}
		if got := s.counts.stats().FailedReceipts; got < 18 || got > 21 {
			t.Errorf("%d failures counted", got)
		}
		if !isFresh(s) || l.asked("/revocations") != 1 {
			t.Error("receipts disturb the revocations")
		}
		l.set(func() { l.refuse = nil })
		l.beatFor(5 * time.Second)
		if got := count("receipts are sent again"); got != 1 {
			t.Errorf("logged %d times that they work", got)
		}
	})
}

// A receipt that hangs holds up neither revocations nor the end, and is given up.
func TestAHangingReceiptBlocksNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		mustStart(t, s)
		var ended []error
		l.set(func() {
			l.refuse = func(ctx context.Context) error {
				<-ctx.Done()
				ended = append(ended, ctx.Err())
				return ctx.Err()
			}
		})
		time.Sleep(1500*time.Millisecond + tickEvery/2)
		l.revokeAcked("meanwhile")
		synctest.Wait()
		if !sid(s, "meanwhile") {
			t.Error("a revocation waits for a receipt")
		}
		time.Sleep(3 * time.Second)
		before := time.Now()
		s.close()
		if d := time.Since(before); d != 0 {
			t.Errorf("the end waited for %v", d)
		}
		if len(ended) < 2 || !errors.Is(ended[0], context.DeadlineExceeded) || !errors.Is(ended[len(ended)-1], context.Canceled) {
			t.Errorf("receipts ended with %v", ended)
		}
	})
}

func TestServiceName(t *testing.T) {
	for client, want := range map[string]string{
		"orders": "orders", "Orders_2-b": "Orders_2-b", "https://a.b/c d": "https---a-b-c-d", "é": "-",
		strings.Repeat("x", 100): strings.Repeat("x", 64),
	} {
		c := Config{Issuer: "http://i.test", Audience: "a", Client: Client{ID: client, Secret: "s"}, Feed: &life{}}
		if err := c.validate(); err != nil || c.Service != want {
			t.Errorf("%q: %q, %v", client, c.Service, err)
		}
		name := receiptName(c.Service)
		if _, err := revocation.EncodeReceipt(revocation.Receipt{V: 1, Service: name}); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if again := receiptName(c.Service); again == name || len(name) != len(want)+9 {
			t.Errorf("%q and %q", name, again)
		}
	}
	for _, bad := range []string{"a.b", "a/b", "a b", "*", strings.Repeat("x", 65), "é"} {
		c := Config{Issuer: "http://i.test", Audience: "a", Client: Client{ID: "c", Secret: "s"}, Feed: &life{}, Service: bad}
		if err := c.validate(); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
