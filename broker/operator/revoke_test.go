package operator_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/operator"
	"tokenbroker/broker/session"
	"tokenbroker/revocation"
	"tokenbroker/store"
	"tokenbroker/store/storetest"
)

func TestRevokingATokenLeavesItsSession(t *testing.T) {
	h := brokertest.Start(t)
	grant := h.MustSignIn(t)
	claims := brokertest.Claims(t, grant.AccessToken)
	jti := claims["jti"].(string)
	done, err := h.RevokeToken(t.Context(), jti, "upstream", brokertest.Operator)
	if err != nil || done != (operator.Revoked{Kind: "jti", Value: jti, Changed: true, Broadcast: true}) {
		t.Fatalf("%+v, %v", done, err)
	}
	events := h.Ledger.Events()
	if len(events) != 1 || events[0].Kind != revocation.KindJTI || events[0].Value != jti || events[0].Epoch != 0 ||
		events[0].Reason != revocation.ReasonUpstream || events[0].At != h.Clock.Now().Unix() {
		t.Fatalf("events %+v", events)
	}
	// Until the last token that may have this jti has expired, plus the margin.
	if earliest := int64(claims["exp"].(float64)) + int64(session.EventMargin/time.Second); events[0].ExpiresAt < earliest {
		t.Errorf("ends at %d, want %d at least", events[0].ExpiresAt, earliest)
	}
	if again, err := h.RevokeToken(t.Context(), jti, "", brokertest.Operator); err != nil || again.Changed || !again.Broadcast || len(h.Ledger.Events()) != 1 {
		t.Errorf("a second time: %+v, %v", again, err)
	}
	if _, err := h.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, brokertest.Request); err != nil {
		t.Errorf("its session: %v", err)
	}
	for _, bad := range []string{"", "x", strings.ToUpper(jti), "urn:uuid:" + jti, "{" + jti + "}", jti[:35], strings.ReplaceAll(jti, "-", ""), jti + " "} {
		_, err := h.RevokeToken(t.Context(), bad, "", brokertest.Operator)
		brokertest.WantCode(t, err, broker.CodeInvalidRevocation)
	}
	_, err = h.RevokeToken(t.Context(), uuid.NewString(), "because", brokertest.Operator)
	brokertest.WantCode(t, err, broker.CodeInvalidRevocation)
	if !strings.Contains(h.Log.String(), "event=token_revoke") || !strings.Contains(h.Log.String(), `operator="uid 1000" note="left the team"`) {
		t.Errorf("the audit log has no line of the revocation: %s", h.Log)
	}
}

func TestRevokingAClientEndsItsSessions(t *testing.T) {
	h := brokertest.Start(t)
	if err := h.PutClient(t.Context(), broker.Client{ID: "demo-spa", Scopes: []string{"hello:read"}}); err != nil {
		t.Fatal(err)
	}
	grant := h.MustSignIn(t)
	done, err := h.RevokeClient(t.Context(), "demo-spa", "", brokertest.Operator)
	if err != nil || done.Kind != "client" || done.Value != "demo-spa" || !done.Changed || !done.Broadcast {
		t.Fatalf("%+v, %v", done, err)
	}
	claims := brokertest.Claims(t, grant.AccessToken)
	if event := h.Ledger.Events()[0]; event.Kind != revocation.KindClient || event.Value != "demo-spa" || event.Epoch != done.Epoch ||
		int64(claims["cep"].(float64)) >= event.Epoch || event.ExpiresAt < int64(claims["exp"].(float64))+120 {
		t.Errorf("event %+v, claims %v", event, claims)
	}
	_, err = h.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeSessionRevoked)

	after := h.MustSignIn(t)
	if cep := int64(brokertest.Claims(t, after.AccessToken)["cep"].(float64)); cep != done.Epoch {
		t.Errorf("cep %d, want %d", cep, done.Epoch)
	}
	if _, err := h.Refresh(t.Context(), after.RefreshToken, after.CSRFToken, brokertest.Request); err != nil {
		t.Error(err)
	}
	// A start with a configuration keeps the epoch. A client that was removed can still be revoked.
	if err := h.SetClients(t.Context(), []broker.Client{{ID: "other", Secret: "s"}}); err != nil {
		t.Fatal(err)
	}
	again, err := h.RevokeClient(t.Context(), "demo-spa", "", brokertest.Operator)
	if err != nil || again.Epoch <= done.Epoch || !again.Changed {
		t.Errorf("%+v, %v", again, err)
	}
	if _, err := h.RevokeClient(t.Context(), "other", "", brokertest.Operator); err != nil {
		t.Error(err)
	}
	if _, err := authenticate(t, h, "other", "s"); err != nil {
		t.Errorf("a revoked client authenticates: %v", err)
	}
	for _, id := range []string{"", "nobody", "\x00"} {
		_, err = h.RevokeClient(t.Context(), id, "", brokertest.Operator)
		brokertest.WantCode(t, err, broker.CodeUnknownClient)
	}
	if !strings.Contains(h.Log.String(), "event=client_revoke") {
		t.Error("the audit log has no line of the revocation")
	}
}

func TestRevokingEverybody(t *testing.T) {
	h := brokertest.Start(t)
	grant := h.MustSignIn(t)
	done, err := h.RevokeEverybody(t.Context(), "restore", brokertest.Operator)
	if err != nil || done.Kind != "all" || done.Value != "" || !done.Changed || !done.Broadcast || done.Epoch == 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	claims := brokertest.Claims(t, grant.AccessToken)
	if event := h.Ledger.Events()[0]; event.Kind != revocation.KindAll || event.Value != "" || event.Reason != revocation.ReasonRestore ||
		event.Epoch != done.Epoch || int64(claims["sep"].(float64)) >= event.Epoch || event.ExpiresAt < int64(claims["exp"].(float64))+120 {
		t.Errorf("event %+v", event)
	}
	_, err = h.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeSessionRevoked)
	after := brokertest.Claims(t, h.MustSignIn(t).AccessToken)
	if int64(after["sep"].(float64)) != done.Epoch || int64(after["cep"].(float64)) != done.Epoch {
		t.Errorf("claims %v, want the epoch %d", after, done.Epoch)
	}
	_, err = h.RevokeEverybody(t.Context(), "because", brokertest.Operator)
	brokertest.WantCode(t, err, broker.CodeInvalidRevocation)
	if !strings.Contains(h.Log.String(), "event=everybody_revoke") {
		t.Error("the audit log has no line of the revocation")
	}
}

// gated is a store whose next commit waits until open is closed.
type gated struct {
	store.Store
	mu      sync.Mutex
	entered chan struct{}
	open    chan struct{}
}

func (g *gated) shut() (entered, open chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.entered, g.open = make(chan struct{}), make(chan struct{})
	return g.entered, g.open
}

func (g *gated) Commit(ctx context.Context, changes []store.Change, seal store.Seal) []error {
	g.mu.Lock()
	entered, open := g.entered, g.open
	g.entered = nil
	g.mu.Unlock()
	if entered != nil {
		close(entered)
		<-open
	}
	return g.Store.Commit(ctx, changes, seal)
}

// commits records the number of events of each transaction with events.
type commits struct {
	mu    sync.Mutex
	sizes []int
}

func (c *commits) Committed(_ int, events []revocation.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(events) > 0 {
		c.sizes = append(c.sizes, len(events))
	}
}

// TestConcurrentRevocationsShareCommits: 63 others arrive while one is being committed.
func TestConcurrentRevocationsShareCommits(t *testing.T) {
	const revokers = 64
	for name, do := range map[string]func(*brokertest.Harness, int) (operator.Revoked, error){
		"of tokens": func(h *brokertest.Harness, i int) (operator.Revoked, error) {
			return h.RevokeToken(context.Background(), fmt.Sprintf("01890000-0000-7000-8000-%012d", i), "", brokertest.Operator)
		},
		"of clients": func(h *brokertest.Harness, i int) (operator.Revoked, error) {
			return h.RevokeClient(context.Background(), fmt.Sprint("c", i), "", brokertest.Operator)
		},
		"of users": func(h *brokertest.Harness, i int) (operator.Revoked, error) {
			return h.RevokeUser(context.Background(), fmt.Sprint("u", i), "", brokertest.Operator)
		},
		"of everybody": func(h *brokertest.Harness, _ int) (operator.Revoked, error) {
			return h.RevokeEverybody(context.Background(), "", brokertest.Operator)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk, seen := &gated{}, &commits{}
				h := brokertest.Start(t, func(c *brokertest.Config) {
					disk.Store = c.Store
					c.Store, c.Observer = disk, seen
				})
				for i := range revokers {
					if err := h.PutClient(t.Context(), broker.Client{ID: fmt.Sprint("c", i)}); err != nil {
						t.Fatal(err)
					}
					if _, err := h.AddUser(t.Context(), operator.NewUser{Username: fmt.Sprint("u", i), Password: "a pass phrase"}, brokertest.Operator); err != nil {
						t.Fatal(err)
					}
				}
				entered, open := disk.shut()
				go func() {
					<-entered
					synctest.Wait() // until all others wait
					close(open)
				}()
				results := brokertest.AtOnce(revokers, func(i int) (operator.Revoked, error) { return do(h, i) })
				var epochs []int64
				for _, r := range results {
					if r.Err != nil || !r.Value.Changed || !r.Value.Broadcast {
						t.Errorf("%+v, %v", r.Value, r.Err)
					}
					epochs = append(epochs, r.Value.Epoch)
				}
				slices.Sort(epochs)
				if distinct := len(slices.Compact(epochs)); name != "of tokens" && distinct != revokers {
					t.Errorf("%d epochs of %d", distinct, revokers)
				}
				total := 0
				for _, n := range seen.sizes {
					total += n
				}
				if total != revokers || len(seen.sizes) > 8 {
					t.Errorf("%d events in %d commits: %v", total, len(seen.sizes), seen.sizes)
				}
				last := int64(0)
				for _, e := range h.Ledger.Events() {
					if name != "of tokens" && e.Epoch <= last {
						t.Errorf("epoch %d after %d", e.Epoch, last)
					}
					last = e.Epoch
				}
			})
		})
	}
}

// TestRevocationsOfAllKindsUnderConflicts: every third change conflicts.
func TestRevocationsOfAllKindsUnderConflicts(t *testing.T) {
	n := 0
	h := brokertest.Start(t, func(c *brokertest.Config) {
		c.Store = storetest.Conflicting(c.Store, func(c store.Change) bool {
			n++
			return n%3 == 0 && len(c.Writes) > 0 // a change without writes cannot conflict
		})
	})
	if err := h.PutClient(t.Context(), broker.Client{ID: "demo-spa"}); err != nil {
		t.Fatal(err)
	}
	grants := make([]*broker.Grant, 16)
	for i := range grants {
		grants[i] = h.MustSignIn(t)
	}
	results := brokertest.AtOnce(64, func(i int) (operator.Revoked, error) {
		ctx := context.Background()
		switch i % 5 {
		case 0:
			return h.RevokeToken(ctx, fmt.Sprintf("01890000-0000-7000-8000-%012d", i), "", brokertest.Operator)
		case 1:
			return h.RevokeClient(ctx, "demo-spa", "", brokertest.Operator)
		case 2:
			return h.RevokeUser(ctx, "ada", "", brokertest.Operator)
		case 3:
			return h.RevokeEverybody(ctx, "", brokertest.Operator)
		default:
			return h.RevokeSession(ctx, grants[i/5].SID, "", brokertest.Operator)
		}
	})
	epochs := map[int64]bool{}
	drawn := 0
	for i, r := range results {
		if r.Err != nil || !r.Value.Changed {
			t.Errorf("%d: %+v, %v", i, r.Value, r.Err)
		}
		if i%5 >= 1 && i%5 <= 3 {
			drawn++
			epochs[r.Value.Epoch] = true
		}
	}
	if len(epochs) != drawn || len(h.Ledger.Events()) != 64 {
		t.Errorf("%d epochs for %d, %d events", len(epochs), drawn, len(h.Ledger.Events()))
	}
	for _, g := range grants {
		if _, err := h.Refresh(t.Context(), g.RefreshToken, g.CSRFToken, brokertest.Request); err == nil {
			t.Error("a session is still active")
		}
	}
}

// TestAClientIsRevokedByConcurrentCallers: each gets its own epoch, and none has to retry.
func TestAClientIsRevokedByConcurrentCallers(t *testing.T) {
	h := brokertest.Start(t)
	if err := h.PutClient(t.Context(), broker.Client{ID: "c"}); err != nil {
		t.Fatal(err)
	}
	results := brokertest.AtOnce(64, func(int) (operator.Revoked, error) {
		return h.RevokeClient(context.Background(), "c", "", brokertest.Operator)
	})
	epochs := map[int64]bool{}
	for _, r := range results {
		if r.Err != nil || !r.Value.Changed {
			t.Errorf("%+v, %v", r.Value, r.Err)
		}
		epochs[r.Value.Epoch] = true
	}
	if len(epochs) != 64 || len(h.Ledger.Events()) != 64 {
		t.Errorf("%d epochs, %d events", len(epochs), len(h.Ledger.Events()))
	}
}

// TestACallerThatLeavesFailsNoOtherOfItsCommit: of several whose changes share a commit.
func TestACallerThatLeavesFailsNoOtherOfItsCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &gated{}
		h := brokertest.Start(t, func(c *brokertest.Config) { disk.Store = c.Store; c.Store = disk })
		entered, open := disk.shut()
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := h.RevokeEverybody(ctx, "", brokertest.Operator)
			brokertest.WantCode(t, err, broker.CodeUnavailable)
		})
		<-entered
		stays := make(chan error, 1)
		wg.Go(func() { _, err := h.RevokeUser(context.Background(), "ada", "", brokertest.Operator); stays <- err })
		cancel()
		gone, goneNow := context.WithCancel(t.Context())
		goneNow()
		if _, err := h.RevokeEverybody(gone, "", brokertest.Operator); err == nil {
			t.Error("the call of a caller that left before its turn succeeded")
		}
		synctest.Wait() // until the remaining one waits
		close(open)
		wg.Wait()
		if err := <-stays; err != nil {
			t.Error(err)
		}
		if events := h.Ledger.Events(); len(events) != 2 || events[0].Epoch >= events[1].Epoch {
			t.Errorf("events %+v", events)
		}
	})
}

func TestSigningEverybodyOut(t *testing.T) {
	h := brokertest.Start(t)
	before := h.MustSignIn(t)
	if err := h.SignOutEverybody(t.Context(), revocation.ReasonRestore); err != nil {
		t.Fatal(err)
	}
	_, err := h.Refresh(t.Context(), before.RefreshToken, before.CSRFToken, brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeSessionRevoked)
	events := h.Ledger.Events()
	exp := int64(brokertest.Claims(t, before.AccessToken)["exp"].(float64))
	if len(events) != 1 || events[0].Kind != revocation.KindAll || events[0].ExpiresAt <= exp {
		t.Fatalf("events %+v, token until %d", events, exp)
	}
	after := h.MustSignIn(t)
	if sep := int64(brokertest.Claims(t, after.AccessToken)["sep"].(float64)); sep != events[0].Epoch {
		t.Errorf("sep %d, want the epoch %d", sep, events[0].Epoch)
	}
	if _, err := h.Refresh(t.Context(), after.RefreshToken, after.CSRFToken, brokertest.Request); err != nil {
		t.Errorf("a session made after it: %v", err)
	}
	if err := h.SignOutEverybody(t.Context(), revocation.ReasonRestore); err != nil {
		t.Fatal(err)
	}
	if again := h.Ledger.Events(); again[1].Epoch <= again[0].Epoch {
		t.Error("two epochs in one clock tick are equal")
	}
}
