package broker_test

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
	"tokenbroker/broker/session"
	"tokenbroker/revocation"
	"tokenbroker/store"
	"tokenbroker/store/storetest"
)

func TestRevokingATokenLeavesItsSession(t *testing.T) {
	h := start(t)
	grant := h.signIn(t)
	claims := claimsOf(t, grant.AccessToken)
	jti := claims["jti"].(string)
	done, err := h.RevokeToken(t.Context(), jti, "upstream", operator)
	if err != nil || done != (broker.Revoked{Kind: "jti", Value: jti, Changed: true, Broadcast: true}) {
		t.Fatalf("%+v, %v", done, err)
	}
	events := h.ledger.events()
	if len(events) != 1 || events[0].Kind != revocation.KindJTI || events[0].Value != jti || events[0].Epoch != 0 ||
		events[0].Reason != revocation.ReasonUpstream || events[0].At != h.clock.Now().Unix() {
		t.Fatalf("events %+v", events)
	}
	// To the end of the last token that can be its own, and the margin.
	if earliest := int64(claims["exp"].(float64)) + int64(session.EventMargin/time.Second); events[0].ExpiresAt < earliest {
		t.Errorf("ends at %d, want %d at least", events[0].ExpiresAt, earliest)
	}
	if again, err := h.RevokeToken(t.Context(), jti, "", operator); err != nil || again.Changed || !again.Broadcast || len(h.ledger.events()) != 1 {
		t.Errorf("a second time: %+v, %v", again, err)
	}
	if _, err := h.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, request); err != nil {
		t.Errorf("its session: %v", err)
	}
	for _, bad := range []string{"", "x", strings.ToUpper(jti), "urn:uuid:" + jti, "{" + jti + "}", jti[:35], strings.ReplaceAll(jti, "-", ""), jti + " "} {
		_, err := h.RevokeToken(t.Context(), bad, "", operator)
		wantCode(t, err, broker.CodeInvalidRevocation)
	}
	_, err = h.RevokeToken(t.Context(), uuid.NewString(), "because", operator)
	wantCode(t, err, broker.CodeInvalidRevocation)
	if !strings.Contains(h.log.String(), "event=token_revoke") || !strings.Contains(h.log.String(), `operator="uid 1000" note="left the team"`) {
		t.Errorf("the audit log lacks it: %s", h.log)
	}
}

func TestRevokingAClientEndsItsSessions(t *testing.T) {
	h := start(t)
	if err := h.PutClient(t.Context(), broker.Client{ID: "demo-spa", Scopes: []string{"hello:read"}}); err != nil {
		t.Fatal(err)
	}
	grant := h.signIn(t)
	done, err := h.RevokeClient(t.Context(), "demo-spa", "", operator)
	if err != nil || done.Kind != "client" || done.Value != "demo-spa" || !done.Changed || !done.Broadcast {
		t.Fatalf("%+v, %v", done, err)
	}
	claims := claimsOf(t, grant.AccessToken)
	if event := h.ledger.events()[0]; event.Kind != revocation.KindClient || event.Value != "demo-spa" || event.Epoch != done.Epoch ||
		int64(claims["cep"].(float64)) >= event.Epoch || event.ExpiresAt < int64(claims["exp"].(float64))+120 {
		t.Errorf("event %+v, claims %v", event, claims)
	}
	_, err = h.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, request)
	wantCode(t, err, broker.CodeSessionRevoked)

	after := h.signIn(t)
	if cep := int64(claimsOf(t, after.AccessToken)["cep"].(float64)); cep != done.Epoch {
		t.Errorf("cep %d, want %d", cep, done.Epoch)
	}
	if _, err := h.Refresh(t.Context(), after.RefreshToken, after.CSRFToken, request); err != nil {
		t.Error(err)
	}
	// The configuration of a start keeps the epoch; a client that left it can be revoked yet.
	if err := h.SetClients(t.Context(), []broker.Client{{ID: "other", Secret: "s"}}); err != nil {
		t.Fatal(err)
	}
	again, err := h.RevokeClient(t.Context(), "demo-spa", "", operator)
	if err != nil || again.Epoch <= done.Epoch || !again.Changed {
		t.Errorf("%+v, %v", again, err)
	}
	if _, err := h.RevokeClient(t.Context(), "other", "", operator); err != nil {
		t.Error(err)
	}
	if _, err := h.AuthenticateClient(t.Context(), "other", "s"); err != nil {
		t.Errorf("a revoked client authenticates: %v", err)
	}
	for _, id := range []string{"", "nobody", "\x00"} {
		_, err = h.RevokeClient(t.Context(), id, "", operator)
		wantCode(t, err, broker.CodeUnknownClient)
	}
	if !strings.Contains(h.log.String(), "event=client_revoke") {
		t.Error("the audit log lacks it")
	}
}

func TestRevokingEverybody(t *testing.T) {
	h := start(t)
	grant := h.signIn(t)
	done, err := h.RevokeEverybody(t.Context(), "restore", operator)
	if err != nil || done.Kind != "all" || done.Value != "" || !done.Changed || !done.Broadcast || done.Epoch == 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	claims := claimsOf(t, grant.AccessToken)
	if event := h.ledger.events()[0]; event.Kind != revocation.KindAll || event.Value != "" || event.Reason != revocation.ReasonRestore ||
		event.Epoch != done.Epoch || int64(claims["sep"].(float64)) >= event.Epoch || event.ExpiresAt < int64(claims["exp"].(float64))+120 {
		t.Errorf("event %+v", event)
	}
	_, err = h.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, request)
	wantCode(t, err, broker.CodeSessionRevoked)
	after := claimsOf(t, h.signIn(t).AccessToken)
	if int64(after["sep"].(float64)) != done.Epoch || int64(after["cep"].(float64)) != done.Epoch {
		t.Errorf("claims %v, want the epoch %d", after, done.Epoch)
	}
	_, err = h.RevokeEverybody(t.Context(), "because", operator)
	wantCode(t, err, broker.CodeInvalidRevocation)
	if !strings.Contains(h.log.String(), "event=everybody_revoke") {
		t.Error("the audit log lacks it")
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

// commits notes the number of events of each transaction that recorded some.
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

// TestRevokersAtOnceShareCommits: while one commit is on its way to the disk, 63 others come.
func TestRevokersAtOnceShareCommits(t *testing.T) {
	const revokers = 64
	for name, do := range map[string]func(*harness, int) (broker.Revoked, error){
		"of tokens": func(h *harness, i int) (broker.Revoked, error) {
			return h.RevokeToken(context.Background(), fmt.Sprintf("01890000-0000-7000-8000-%012d", i), "", operator)
		},
		"of clients": func(h *harness, i int) (broker.Revoked, error) {
			return h.RevokeClient(context.Background(), fmt.Sprint("c", i), "", operator)
		},
		"of users": func(h *harness, i int) (broker.Revoked, error) {
			return h.RevokeUser(context.Background(), fmt.Sprint("u", i), "", operator)
		},
		"of everybody": func(h *harness, _ int) (broker.Revoked, error) {
			return h.RevokeEverybody(context.Background(), "", operator)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk, seen := &gated{}, &commits{}
				h := start(t, func(c *broker.Config) {
					disk.Store = c.Store
					c.Store, c.Observer = disk, seen
				})
				for i := range revokers {
					if err := h.PutClient(t.Context(), broker.Client{ID: fmt.Sprint("c", i)}); err != nil {
						t.Fatal(err)
					}
					if _, err := h.AddUser(t.Context(), broker.NewUser{Username: fmt.Sprint("u", i), Password: "a pass phrase"}, operator); err != nil {
						t.Fatal(err)
					}
				}
				entered, open := disk.shut()
				go func() {
					<-entered
					synctest.Wait() // until all others wait
					close(open)
				}()
				results := atOnce(revokers, func(i int) (broker.Revoked, error) { return do(h, i) })
				var epochs []int64
				for _, r := range results {
					if r.err != nil || !r.value.Changed || !r.value.Broadcast {
						t.Errorf("%+v, %v", r.value, r.err)
					}
					epochs = append(epochs, r.value.Epoch)
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
				for _, e := range h.ledger.events() {
					if name != "of tokens" && e.Epoch <= last {
						t.Errorf("epoch %d after %d", e.Epoch, last)
					}
					last = e.Epoch
				}
			})
		})
	}
}

// TestRevokersOfAllKindsUnderConflicts: every third change conflicts.
func TestRevokersOfAllKindsUnderConflicts(t *testing.T) {
	n := 0
	h := start(t, func(c *broker.Config) {
		c.Store = storetest.Conflicting(c.Store, func(c store.Change) bool {
			n++
			return n%3 == 0 && len(c.Writes) > 0 // a change that expects nothing cannot conflict
		})
	})
	if err := h.PutClient(t.Context(), broker.Client{ID: "demo-spa"}); err != nil {
		t.Fatal(err)
	}
	grants := make([]*broker.Grant, 16)
	for i := range grants {
		grants[i] = h.signIn(t)
	}
	results := atOnce(64, func(i int) (broker.Revoked, error) {
		ctx := context.Background()
		switch i % 5 {
		case 0:
			return h.RevokeToken(ctx, fmt.Sprintf("01890000-0000-7000-8000-%012d", i), "", operator)
		case 1:
			return h.RevokeClient(ctx, "demo-spa", "", operator)
		case 2:
			return h.RevokeUser(ctx, "ada", "", operator)
		case 3:
			return h.RevokeEverybody(ctx, "", operator)
		default:
			return h.RevokeSession(ctx, grants[i/5].SID, "", operator)
		}
	})
	epochs := map[int64]bool{}
	drawn := 0
	for i, r := range results {
		if r.err != nil || !r.value.Changed {
			t.Errorf("%d: %+v, %v", i, r.value, r.err)
		}
		if i%5 >= 1 && i%5 <= 3 {
			drawn++
			epochs[r.value.Epoch] = true
		}
	}
	if len(epochs) != drawn || len(h.ledger.events()) != 64 {
		t.Errorf("%d epochs for %d, %d events", len(epochs), drawn, len(h.ledger.events()))
	}
	for _, g := range grants {
		if _, err := h.Refresh(t.Context(), g.RefreshToken, g.CSRFToken, request); err == nil {
			t.Error("a session lives on")
		}
	}
}

// TestOneClientIsRevokedByManyAtOnce: each finds its own epoch, none is told to come again.
func TestOneClientIsRevokedByManyAtOnce(t *testing.T) {
	h := start(t)
	if err := h.PutClient(t.Context(), broker.Client{ID: "c"}); err != nil {
		t.Fatal(err)
	}
	results := atOnce(64, func(int) (broker.Revoked, error) { return h.RevokeClient(context.Background(), "c", "", operator) })
	epochs := map[int64]bool{}
	for _, r := range results {
		if r.err != nil || !r.value.Changed {
			t.Errorf("%+v, %v", r.value, r.err)
		}
		epochs[r.value.Epoch] = true
	}
	if len(epochs) != 64 || len(h.ledger.events()) != 64 {
		t.Errorf("%d epochs, %d events", len(epochs), len(h.ledger.events()))
	}
}

// TestACallerThatGoesAwayTakesNobodyAlong: of several whose changes share a commit.
func TestACallerThatGoesAwayTakesNobodyAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &gated{}
		h := start(t, func(c *broker.Config) { disk.Store = c.Store; c.Store = disk })
		entered, open := disk.shut()
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := h.RevokeEverybody(ctx, "", operator)
			wantCode(t, err, broker.CodeUnavailable)
		})
		<-entered
		stays := make(chan error, 1)
		wg.Go(func() { _, err := h.RevokeUser(context.Background(), "ada", "", operator); stays <- err })
		cancel()
		gone, goneNow := context.WithCancel(t.Context())
		goneNow()
		if _, err := h.RevokeEverybody(gone, "", operator); err == nil {
			t.Error("one that went away before its turn succeeded")
		}
		synctest.Wait() // until the one that stays waits
		close(open)
		wg.Wait()
		if err := <-stays; err != nil {
			t.Error(err)
		}
		if events := h.ledger.events(); len(events) != 2 || events[0].Epoch >= events[1].Epoch {
			t.Errorf("events %+v", events)
		}
	})
}
