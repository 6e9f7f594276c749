package commit_test

import (
	"context"
	"reflect"
	"sync"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/operator"
	"tokenbroker/revocation"
)

// fakeReceipts answers like services, and records the calls.
type fakeReceipts struct {
	ledger *brokertest.Ledger
	// never makes it wait until the caller stops waiting.
	never bool

	mu              sync.Mutex
	begun, done     int
	sealedBefore    int // batches that were sealed when the wait began
	asked           []uint64
	answer          broker.ReceiptSummary
	deadlineOfAsked time.Time
}

func (f *fakeReceipts) Expect() broker.ReceiptWait {
	f.ledger.Mu.Lock()
	seals := f.ledger.Seals
	f.ledger.Mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.begun++
	f.sealedBefore = seals
	return f
}

func (f *fakeReceipts) Applied(ctx context.Context, seq uint64) broker.ReceiptSummary {
	if f.never {
		<-ctx.Done()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, seq)
	f.deadlineOfAsked, _ = ctx.Deadline()
	return f.answer
}

func (f *fakeReceipts) Done() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done++
}

// ends returns the use cases that revoke tokens. Each has something to revoke.
func ends(t *testing.T, h *brokertest.Harness) map[string]func(req broker.Request) (bool, *broker.ReceiptSummary, error) {
	t.Helper()
	grant := h.MustSignIn(t)
	if err := h.PutClient(t.Context(), broker.Client{ID: "demo-spa", Scopes: []string{"hello:read"}}); err != nil {
		t.Fatal(err)
	}
	revoked := func(done operator.Revoked, err error) (bool, *broker.ReceiptSummary, error) {
		return done.Broadcast, done.ReceiptSummary, err
	}
	ctx := t.Context()
	return map[string]func(req broker.Request) (bool, *broker.ReceiptSummary, error){
		"log-off": func(req broker.Request) (bool, *broker.ReceiptSummary, error) {
			off, err := h.LogOff(ctx, grant.RefreshToken, grant.CSRFToken, req)
			return off.Broadcast, off.Receipts, err
		},
		"sid": func(req broker.Request) (bool, *broker.ReceiptSummary, error) {
			return revoked(h.RevokeSession(ctx, grant.SID, "", req))
		},
		"sub": func(req broker.Request) (bool, *broker.ReceiptSummary, error) {
			return revoked(h.RevokeUser(ctx, "ada", "", req))
		},
		"jti": func(req broker.Request) (bool, *broker.ReceiptSummary, error) {
			return revoked(h.RevokeToken(ctx, "01890a5d-ac96-774b-bcce-b302099a8057", "", req))
		},
		"client": func(req broker.Request) (bool, *broker.ReceiptSummary, error) {
			return revoked(h.RevokeClient(ctx, "demo-spa", "", req))
		},
		"all": func(req broker.Request) (bool, *broker.ReceiptSummary, error) {
			return revoked(h.RevokeEverybody(ctx, "", req))
		},
		"bulk": func(req broker.Request) (bool, *broker.ReceiptSummary, error) {
			done, err := h.RevokeBulk(ctx, operator.BulkRevocation{Kind: revocation.KindSID, Values: []string{grant.SID}}, req)
			return done.Broadcast, done.ReceiptSummary, err
		},
		"disable": func(req broker.Request) (bool, *broker.ReceiptSummary, error) {
			return revoked(h.DisableUser(ctx, "ada", req))
		},
		"password": func(req broker.Request) (bool, *broker.ReceiptSummary, error) {
			return revoked(h.SetPassword(ctx, "ada", "another one", false, req))
		},
		"remove": func(req broker.Request) (bool, *broker.ReceiptSummary, error) {
			return revoked(h.RemoveUser(ctx, "ada", req))
		},
	}
}

func TestEveryRevocationWaitsForReceiptsWhenAsked(t *testing.T) {
	for name := range ends(t, brokertest.Start(t)) {
		t.Run(name, func(t *testing.T) {
			services := &fakeReceipts{answer: broker.ReceiptSummary{Applied: 1, Of: 2, SlowestMS: 3, Laggards: []string{"a/1"}}}
			h := brokertest.Start(t, func(cfg *brokertest.Config) { cfg.Receipts = services })
			services.ledger = h.Ledger
			end := ends(t, h)[name]
			before := h.Ledger.Seals
			waits := brokertest.Request
			waits.Wait = 2 * time.Second
			began := time.Now()
			broadcast, got, err := end(waits)
			if err != nil || !broadcast || got == nil || !reflect.DeepEqual(*got, services.answer) {
				t.Fatalf("got %v, %+v, %v", broadcast, got, err)
			}
			if services.begun != 1 || services.done != 1 || services.sealedBefore != before {
				t.Errorf("waits %d, ended %d, begun after %d batches of %d", services.begun, services.done, services.sealedBefore, before)
			}
			if head := h.Ledger.Head(); len(services.asked) != 1 || services.asked[0] != head {
				t.Errorf("waited for %v, want the head %d", services.asked, head)
			}
			if services.deadlineOfAsked.After(began.Add(waits.Wait + time.Second)) {
				t.Errorf("waits until %s after the request", services.deadlineOfAsked.Sub(began))
			}
		})
	}
}

func TestReceiptsAreAwaitedOnlyWhenAsked(t *testing.T) {
	for name := range ends(t, brokertest.Start(t)) {
		services := &fakeReceipts{}
		h := brokertest.Start(t, func(cfg *brokertest.Config) { cfg.Receipts = services })
		services.ledger = h.Ledger
		if broadcast, got, err := ends(t, h)[name](brokertest.Request); err != nil || !broadcast || got != nil || services.begun != 0 {
			t.Errorf("%s: %v, %+v, %v; %d waits", name, broadcast, got, err, services.begun)
		}
	}
}

func TestWithoutServicesThereIsNoWait(t *testing.T) {
	h := brokertest.Start(t)
	waits := brokertest.Request
	waits.Wait = time.Hour
	if _, got, err := ends(t, h)["sub"](waits); err != nil || !reflect.DeepEqual(got, &broker.ReceiptSummary{}) {
		t.Errorf("got %+v, %v", got, err)
	}
}

// The receipts do not change whether an event was recorded and sent. A wait longer than
// the one for the broadcast does not change its result.
func TestAServiceThatDoesNotAnswerChangesNoAnswer(t *testing.T) {
	for _, down := range []bool{false, true} {
		services := &fakeReceipts{never: true, answer: broker.ReceiptSummary{Of: 1, Laggards: []string{"a/1"}}}
		h := brokertest.Start(t, func(cfg *brokertest.Config) { cfg.Receipts = services })
		services.ledger = h.Ledger
		end := ends(t, h)["sid"]
		h.Ledger.Down = down
		waits := brokertest.Request
		waits.Wait = 300 * time.Millisecond
		broadcast, got, err := end(waits)
		if err != nil || broadcast == down || got == nil || got.Of != 1 || services.done != 1 {
			t.Errorf("network down %v: %v, %+v, %v", down, broadcast, got, err)
		}
	}
}

// A second revocation has nothing to record. The wait is for the recorded events.
func TestASecondRevocationWaitsForTheFirst(t *testing.T) {
	services := &fakeReceipts{}
	h := brokertest.Start(t, func(cfg *brokertest.Config) { cfg.Receipts = services })
	services.ledger = h.Ledger
	end := ends(t, h)["jti"]
	waits := brokertest.Request
	waits.Wait = time.Second
	for range 2 {
		if _, _, err := end(waits); err != nil {
			t.Fatal(err)
		}
	}
	if len(services.asked) != 2 || services.asked[0] != services.asked[1] {
		t.Errorf("waited for %v", services.asked)
	}
}
