package commit_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/commit"
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
	asked           []map[string]uint64
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

func (f *fakeReceipts) Applied(ctx context.Context, heads map[string]uint64) broker.ReceiptSummary {
	if f.never {
		<-ctx.Done()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, heads)
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
			if head := h.Ledger.Head(); !reflect.DeepEqual(services.asked, []map[string]uint64{{"here": head}}) {
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
	if len(services.asked) != 2 || !reflect.DeepEqual(services.asked[0], services.asked[1]) {
		t.Errorf("waited for %v", services.asked)
	}
}

// waitTwice makes a revocation and repeats it, with change in between. It returns the answers to the second request.
func waitTwice(t *testing.T, services *fakeReceipts, change func(*brokertest.Ledger)) (broadcast bool, got *broker.ReceiptSummary) {
	t.Helper()
	h := brokertest.Start(t, func(cfg *brokertest.Config) { cfg.Receipts = services })
	services.ledger = h.Ledger
	end := ends(t, h)["jti"]
	waits := brokertest.Request
	waits.Wait = time.Second
	if broadcast, got, err := end(waits); err != nil || !broadcast || got == nil || !reflect.DeepEqual(services.asked, []map[string]uint64{{"here": 1}}) {
		t.Fatalf("the first revocation: %v, %+v, %v, waited for %v", broadcast, got, err, services.asked)
	}
	change(h.Ledger)
	broadcast, got, err := end(waits)
	if err != nil || services.done != 2 {
		t.Errorf("%v; %d waits ended, want 2", err, services.done)
	}
	return broadcast, got
}

// The batch of another broker is not below the own head: the wait is for everything on record.
func TestReceiptsCoverWhatAnotherBrokerRecorded(t *testing.T) {
	services := &fakeReceipts{answer: broker.ReceiptSummary{Applied: 1, Of: 1}}
	broadcast, got := waitTwice(t, services, func(l *brokertest.Ledger) { l.Others = map[string]uint64{"other": 7} })
	if !broadcast || got == nil || !reflect.DeepEqual(services.asked[1], map[string]uint64{"here": 1, "other": 7}) {
		t.Errorf("%v, %+v, waited for %v", broadcast, got, services.asked[1])
	}
}

// Nothing is counted if it is not known what to wait for.
func TestReceiptsThatProveNothingAreNotCounted(t *testing.T) {
	for name, tt := range map[string]struct {
		change    func(*brokertest.Ledger)
		broadcast bool
	}{
		"the store does not answer": {func(l *brokertest.Ledger) { l.Foreign = errors.New("away") }, false},
		"there are more origins than a receipt names": {func(l *brokertest.Ledger) {
			l.Others = map[string]uint64{}
			for i := range revocation.MaxReceiptOrigins {
				l.Others[fmt.Sprint("other", i)] = 1
			}
		}, true},
	} {
		services := &fakeReceipts{}
		if broadcast, got := waitTwice(t, services, tt.change); broadcast != tt.broadcast || got != nil || len(services.asked) != 1 {
			t.Errorf("%s: %v, %+v, waited for %v", name, broadcast, got, services.asked)
		}
	}
}

// rejoining is a ledger whose broker takes a new origin once its next batch is on record.
type rejoining struct{ *brokertest.Ledger }

func (l rejoining) Committed() uint64 {
	seq := l.Ledger.Committed()
	l.Mu.Lock()
	defer l.Mu.Unlock()
	l.Own, l.Others = "next", map[string]uint64{"here": seq}
	return seq
}

// TestANumberOfAnEarlierOriginIsNotOneOfTheNext: the number of a batch says nothing about the batches of another origin.
func TestANumberOfAnEarlierOriginIsNotOneOfTheNext(t *testing.T) {
	services := &fakeReceipts{answer: broker.ReceiptSummary{Applied: 1, Of: 1}}
	h := brokertest.Start(t, func(cfg *brokertest.Config) { cfg.Receipts = services })
	services.ledger = h.Ledger
	broadcast := func(path *commit.Path) (bool, *broker.ReceiptSummary) {
		delivery := path.ExpectDelivery(t.Context(), time.Second)
		defer delivery.Close()
		seq, err := path.Record(t.Context(), []revocation.Event{{Kind: revocation.KindJTI, Value: "j", Reason: revocation.ReasonRevoked}})
		if err != nil || seq != 1 {
			t.Fatal(seq, err)
		}
		return delivery.Wait(t.Context(), seq)
	}
	path := commit.Start(commit.Config{
		Store: h.Store, Ledger: rejoining{h.Ledger}, Broadcast: h.Ledger, Receipts: services, Denylist: h.Ledger, Clock: h.Clock,
		Observer: brokertest.Observer{}, Fatal: func(err error) { t.Error(err) },
	})
	t.Cleanup(func() { _ = path.Close(context.WithoutCancel(t.Context())) })
	sent, got := broadcast(path)
	if sent || got == nil || !reflect.DeepEqual(services.asked, []map[string]uint64{{"here": 1, "next": 1}}) {
		t.Errorf("sent %v, %+v, waited for %v", sent, got, services.asked)
	}
}
