package broker_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/store"
	"tokenbroker/store/storetest"
)

// racing returns a broker and a second one on its store, whose first write of a session
// (or of what prefix names) comes after do, though it was decided before.
func racing(t *testing.T, prefix string, do func(one *harness), change ...func(*broker.Config)) (one, other *harness) {
	t.Helper()
	one = start(t, change...)
	race := &between{Store: one.store, prefix: prefix}
	other = start(t, append(change, func(c *broker.Config) { c.Store = race; c.Clock = one.clock })...)
	race.do = func() { do(one) }
	return one, other
}

// The floor is where the refresh's exp is recorded, so the disable does not know of it.
func TestARefreshThatPassesADisableIsHitByItsEpoch(t *testing.T) {
	for _, prefix := range []string{"session.", "floor"} {
		t.Run("before its write of "+prefix, func(t *testing.T) { refreshBesideDisable(t, prefix) })
	}
}

func refreshBesideDisable(t *testing.T, prefix string) {
	t.Helper()
	var done broker.Revoked
	one, other := racing(t, prefix, func(one *harness) {
		var err error
		if done, err = one.DisableUser(context.Background(), "ada", operator); err != nil {
			t.Error(err)
		}
	})
	grant := one.signIn(t)
	one.clock.advance(time.Hour) // no token that is on record is alive
	got, err := other.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, request)
	if !done.Changed {
		t.Fatal("the race was not run")
	}
	if err == nil {
		claims := claimsOf(t, got.AccessToken)
		event := one.ledger.events()[0]
		if sep := int64(claims["sep"].(float64)); sep >= done.Epoch {
			t.Errorf("sep %d, epoch %d", sep, done.Epoch)
		}
		if exp := int64(claims["exp"].(float64)); event.ExpiresAt < exp+60 {
			t.Errorf("the event ends at %d, the token at %d", event.ExpiresAt, exp)
		}
		grant = got
	}
	_, err = one.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, request)
	wantCode(t, err, broker.CodeUserDisabled)
	if _, err = one.EnableUser(t.Context(), "ada", operator); err != nil {
		t.Fatal(err)
	}
	_, err = one.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, request)
	wantCode(t, err, broker.CodeSessionRevoked)
}

func TestASignInUnderWayOpensNoSession(t *testing.T) {
	for name, do := range map[string]func(*harness) error{
		"when the user is disabled": func(h *harness) error { _, err := h.DisableUser(context.Background(), "ada", operator); return err },
		"when the user is removed":  func(h *harness) error { _, err := h.RemoveUser(context.Background(), "ada", operator); return err },
		"when the password is replaced": func(h *harness) error {
			_, err := h.SetPassword(context.Background(), "ada", "a new one", false, operator)
			return err
		},
		"when it is, and sessions stay": func(h *harness) error {
			_, err := h.SetPassword(context.Background(), "ada", "a new one", true, operator)
			return err
		},
		"when it is set to the same one": func(h *harness) error {
			_, err := h.SetPassword(context.Background(), "ada", "lovelace", false, operator)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			one, other := racing(t, "", func(one *harness) {
				if err := do(one); err != nil {
					t.Error(err)
				}
			})
			_, err := other.SignIn(t.Context(), "ada", "lovelace", request)
			wantCode(t, err, broker.CodeInvalidCredentials)
			if left, err := one.store.List(t.Context(), "session.", "", 1); err != nil || len(left) != 0 {
				t.Errorf("%d sessions, %v", len(left), err)
			}
		})
	}
}

func TestARevokedUsersSignInUnderWayIsOfTheNewEpoch(t *testing.T) {
	var done broker.Revoked
	one, other := racing(t, "", func(one *harness) {
		var err error
		if done, err = one.RevokeUser(context.Background(), "ada", "", operator); err != nil {
			t.Error(err)
		}
	})
	grant, err := other.SignIn(t.Context(), "ada", "lovelace", request)
	if err != nil {
		t.Fatal(err)
	}
	if sep := int64(claimsOf(t, grant.AccessToken)["sep"].(float64)); sep != done.Epoch {
		t.Errorf("sep %d, epoch %d", sep, done.Epoch)
	}
	if _, err := one.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, request); err != nil {
		t.Error(err)
	}
}

func TestRemovingAUserBesideTheFirstLoginOfTheAccount(t *testing.T) {
	p := &fakeProvider{identity: broker.Identity{
		Issuer: "https://idp.test", Subject: "sub-1", Username: "eve", TokenHash: "t1", Proven: true, ExpiresAt: time.Unix(1_800_003_600, 0),
	}}
	one, other := racing(t, "", func(one *harness) {
		page, err := one.ListUsers(context.Background(), broker.UserQuery{Match: "eve"})
		if err != nil || len(page.Users) != 1 {
			t.Errorf("%+v, %v", page, err)
			return
		}
		if _, err := one.RemoveUser(context.Background(), page.Users[0].UID, operator); err != nil {
			t.Error(err)
		}
	}, func(c *broker.Config) { c.Providers = map[string]broker.IdentityProvider{"cognito": p} })
	if _, err := other.ExchangeTokens(t.Context(), "cognito", broker.UpstreamTokens{}, request); err == nil {
		t.Error("a removed user was signed in")
	}
	grant, err := other.ExchangeTokens(t.Context(), "cognito", broker.UpstreamTokens{}, request)
	if err != nil {
		t.Fatalf("the account is locked out: %v", err)
	}
	if info, err := one.User(t.Context(), grant.UID); err != nil || len(info.Accounts) != 1 {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestOfTwoAtOnceOneDisablesTheUser(t *testing.T) {
	var conflicts *storetest.Conflicts
	h := start(t, func(c *broker.Config) {
		conflicts = storetest.Conflicting(c.Store, storetest.Times(5))
		c.Store = conflicts
	})
	results := atOnce(16, func(int) (broker.Revoked, error) { return h.DisableUser(context.Background(), "ada", operator) })
	changed := 0
	for _, r := range results {
		if r.err != nil || !r.value.Broadcast {
			t.Errorf("%+v, %v", r.value, r.err)
		}
		if r.value.Changed {
			changed++
		}
	}
	if changed != 1 || len(h.ledger.events()) != 1 || conflicts.Injected() != 5 {
		t.Errorf("%d changed, %d events, %d conflicts", changed, len(h.ledger.events()), conflicts.Injected())
	}
}

func TestEpochsDrawnAtOnceAreDistinct(t *testing.T) {
	h := start(t)
	const users = 64
	for i := range users {
		if _, err := h.AddUser(t.Context(), broker.NewUser{Username: fmt.Sprint("u", i), Password: "a pass phrase"}, operator); err != nil {
			t.Fatal(err)
		}
	}
	results := atOnce(users, func(i int) (broker.Revoked, error) {
		return h.RevokeUser(context.Background(), fmt.Sprint("u", i), "", operator)
	})
	epochs := map[int64]bool{}
	for _, r := range results {
		if r.err != nil {
			t.Error(r.err)
		}
		epochs[r.value.Epoch] = true
	}
	if len(epochs) != users {
		t.Errorf("%d epochs for %d users", len(epochs), users)
	}
}

// TestNothingOutlivesADisableWhateverRunsBesideIt: sign-ins, refreshes, passwords and
// revocations beside it, under conflicts.
func TestNothingOutlivesADisableWhateverRunsBesideIt(t *testing.T) {
	h := start(t, func(c *broker.Config) {
		n := 0
		c.Store = storetest.Conflicting(c.Store, func(store.Change) bool { n++; return n%5 == 0 })
	})
	grants := make([]*broker.Grant, 8)
	for i := range grants {
		grants[i] = h.signIn(t)
	}
	ctx := context.Background()
	results := atOnce(32, func(i int) (*broker.Grant, error) {
		switch i % 4 {
		case 0:
			return h.SignIn(ctx, "ada", "lovelace", request)
		case 1:
			return h.Refresh(ctx, grants[i/4].RefreshToken, grants[i/4].CSRFToken, request)
		case 2:
			_, err := h.SetPassword(ctx, "ada", "lovelace", i%8 == 2, operator)
			return nil, err
		default:
			_, err := h.DisableUser(ctx, "ada", operator)
			return nil, err
		}
	})
	for _, r := range results {
		var app *broker.Error
		if r.err != nil && (!errors.As(r.err, &app) || app.Code == broker.CodeInternal) {
			t.Error(r.err)
		}
	}
	info, err := h.User(ctx, "ada")
	if err != nil || !info.Disabled {
		t.Fatalf("%+v, %v", info, err)
	}
	if page, err := h.ListSessions(ctx, broker.SessionQuery{}); err != nil || len(page.Sessions) != 0 {
		t.Errorf("sessions live on: %+v, %v", page.Sessions, err)
	}
	if _, err := h.EnableUser(ctx, "ada", operator); err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.value == nil {
			continue
		}
		if sep := int64(claimsOf(t, r.value.AccessToken)["sep"].(float64)); sep >= info.Epoch {
			t.Errorf("a token of epoch %d, the user is at %d", sep, info.Epoch)
		}
		if _, err := h.Refresh(ctx, r.value.RefreshToken, r.value.CSRFToken, request); err == nil {
			t.Error("a session came back with the user")
		}
	}
}

type outcome[T any] struct {
	value T
	err   error
}

// atOnce runs do n times side by side.
func atOnce[T any](n int, do func(i int) (T, error)) []outcome[T] {
	results := make([]outcome[T], n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { results[i].value, results[i].err = do(i) })
	}
	wg.Wait()
	return results
}
