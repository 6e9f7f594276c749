package operator_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/operator"
	"tokenbroker/store"
	"tokenbroker/store/storetest"
)

// racing returns a broker and a second one on its store. The second one's first write of a session,
// or of a record with prefix, is decided before do and committed after it.
func racing(t *testing.T, prefix string, do func(one *brokertest.Harness), change ...func(*brokertest.Config)) (one, other *brokertest.Harness) {
	t.Helper()
	one = brokertest.Start(t, change...)
	race := &brokertest.Between{Store: one.Store, Prefix: prefix}
	other = brokertest.Start(t, append(change, func(c *brokertest.Config) { c.Store = race; c.Clock = one.Clock })...)
	race.Do = func() { do(one) }
	return one, other
}

// The refresh's exp is recorded only in the floor, so that the disable does not read it from the session.
func TestARefreshConcurrentWithADisableIsEndedByItsEpoch(t *testing.T) {
	for _, prefix := range []string{"session.", "floor"} {
		t.Run("before its write of "+prefix, func(t *testing.T) { refreshBesideDisable(t, prefix) })
	}
}

func refreshBesideDisable(t *testing.T, prefix string) {
	t.Helper()
	var done operator.Revoked
	one, other := racing(t, prefix, func(one *brokertest.Harness) {
		var err error
		if done, err = one.DisableUser(context.Background(), "ada", brokertest.Operator); err != nil {
			t.Error(err)
		}
	})
	grant := one.MustSignIn(t)
	one.Clock.Advance(time.Hour) // every recorded token has expired
	got, err := other.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, brokertest.Request)
	if !done.Changed {
		t.Fatal("the race was not run")
	}
	if err == nil {
		claims := brokertest.Claims(t, got.AccessToken)
		event := one.Ledger.Events()[0]
		if sep := int64(claims["sep"].(float64)); sep >= done.Epoch {
			t.Errorf("sep %d, epoch %d", sep, done.Epoch)
		}
		if exp := int64(claims["exp"].(float64)); event.ExpiresAt < exp+60 {
			t.Errorf("the event ends at %d, the token at %d", event.ExpiresAt, exp)
		}
		grant = got
	}
	_, err = one.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeUserDisabled)
	if _, err = one.EnableUser(t.Context(), "ada", brokertest.Operator); err != nil {
		t.Fatal(err)
	}
	_, err = one.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeSessionRevoked)
}

func TestASignInWithAReplacedPasswordOpensNoSession(t *testing.T) {
	for name, do := range map[string]func(*brokertest.Harness) error{
		"when the user is disabled": func(h *brokertest.Harness) error {
			_, err := h.DisableUser(context.Background(), "ada", brokertest.Operator)
			return err
		},
		"when the user is removed": func(h *brokertest.Harness) error {
			_, err := h.RemoveUser(context.Background(), "ada", brokertest.Operator)
			return err
		},
		"when the password is replaced": func(h *brokertest.Harness) error {
			_, err := h.SetPassword(context.Background(), "ada", "a new one", false, brokertest.Operator)
			return err
		},
		"when the password is replaced and sessions are kept": func(h *brokertest.Harness) error {
			_, err := h.SetPassword(context.Background(), "ada", "a new one", true, brokertest.Operator)
			return err
		},
		"when the password is set to the same one": func(h *brokertest.Harness) error {
			_, err := h.SetPassword(context.Background(), "ada", "lovelace", false, brokertest.Operator)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			one, other := racing(t, "", func(one *brokertest.Harness) {
				if err := do(one); err != nil {
					t.Error(err)
				}
			})
			_, err := other.SignIn(t.Context(), "ada", "lovelace", brokertest.Request)
			brokertest.WantCode(t, err, broker.CodeInvalidCredentials)
			if left, err := one.Store.List(t.Context(), "session.", "", 1); err != nil || len(left) != 0 {
				t.Errorf("%d sessions, %v", len(left), err)
			}
		})
	}
}

func TestASignInConcurrentWithARevocationHasTheNewEpoch(t *testing.T) {
	var done operator.Revoked
	one, other := racing(t, "", func(one *brokertest.Harness) {
		var err error
		if done, err = one.RevokeUser(context.Background(), "ada", "", brokertest.Operator); err != nil {
			t.Error(err)
		}
	})
	grant, err := other.SignIn(t.Context(), "ada", "lovelace", brokertest.Request)
	if err != nil {
		t.Fatal(err)
	}
	if sep := int64(brokertest.Claims(t, grant.AccessToken)["sep"].(float64)); sep != done.Epoch {
		t.Errorf("sep %d, epoch %d", sep, done.Epoch)
	}
	if _, err := one.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, brokertest.Request); err != nil {
		t.Error(err)
	}
}

func TestRemovingAUserDuringTheAccountsFirstLogin(t *testing.T) {
	p := &brokertest.Provider{Identity: broker.Identity{
		Issuer: "https://idp.test", Subject: "sub-1", Username: "eve", TokenHash: "t1", Proven: true, ExpiresAt: time.Unix(1_800_003_600, 0),
	}}
	one, other := racing(t, "", func(one *brokertest.Harness) {
		page, err := one.ListUsers(context.Background(), operator.UserQuery{Match: "eve"})
		if err != nil || len(page.Users) != 1 {
			t.Errorf("%+v, %v", page, err)
			return
		}
		if _, err := one.RemoveUser(context.Background(), page.Users[0].UID, brokertest.Operator); err != nil {
			t.Error(err)
		}
	}, func(c *brokertest.Config) { c.Providers = map[string]broker.IdentityProvider{"cognito": p} })
	if _, err := other.ExchangeTokens(t.Context(), "cognito", broker.UpstreamTokens{}, brokertest.Request); err == nil {
		t.Error("a removed user was signed in")
	}
	grant, err := other.ExchangeTokens(t.Context(), "cognito", broker.UpstreamTokens{}, brokertest.Request)
	if err != nil {
		t.Fatalf("the account cannot sign in: %v", err)
	}
	if info, err := one.User(t.Context(), grant.UID); err != nil || len(info.Accounts) != 1 {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestOneOfTwoConcurrentCallsDisablesTheUser(t *testing.T) {
	var conflicts *storetest.Conflicts
	h := brokertest.Start(t, func(c *brokertest.Config) {
		conflicts = storetest.Conflicting(c.Store, storetest.Times(5))
		c.Store = conflicts
	})
	results := brokertest.AtOnce(16, func(int) (operator.Revoked, error) {
		return h.DisableUser(context.Background(), "ada", brokertest.Operator)
	})
	changed := 0
	for _, r := range results {
		if r.Err != nil || !r.Value.Broadcast {
			t.Errorf("%+v, %v", r.Value, r.Err)
		}
		if r.Value.Changed {
			changed++
		}
	}
	if changed != 1 || len(h.Ledger.Events()) != 1 || conflicts.Injected() != 5 {
		t.Errorf("%d changed, %d events, %d conflicts", changed, len(h.Ledger.Events()), conflicts.Injected())
	}
}

func TestEpochsDrawnConcurrentlyAreDistinct(t *testing.T) {
	h := brokertest.Start(t)
	const users = 64
	for i := range users {
		if _, err := h.AddUser(t.Context(), operator.NewUser{Username: fmt.Sprint("u", i), Password: "a pass phrase"}, brokertest.Operator); err != nil {
			t.Fatal(err)
		}
	}
	results := brokertest.AtOnce(users, func(i int) (operator.Revoked, error) {
		return h.RevokeUser(context.Background(), fmt.Sprint("u", i), "", brokertest.Operator)
	})
	epochs := map[int64]bool{}
	for _, r := range results {
		if r.Err != nil {
			t.Error(r.Err)
		}
		epochs[r.Value.Epoch] = true
	}
	if len(epochs) != users {
		t.Errorf("%d epochs for %d users", len(epochs), users)
	}
}

// TestNothingOutlivesAConcurrentDisable: concurrent sign-ins, refreshes, changes of passwords and
// revocations, under conflicts.
func TestNothingOutlivesAConcurrentDisable(t *testing.T) {
	h := brokertest.Start(t, func(c *brokertest.Config) {
		n := 0
		c.Store = storetest.Conflicting(c.Store, func(store.Change) bool { n++; return n%5 == 0 })
	})
	grants := make([]*broker.Grant, 8)
	for i := range grants {
		grants[i] = h.MustSignIn(t)
	}
	ctx := context.Background()
	results := brokertest.AtOnce(32, func(i int) (*broker.Grant, error) {
		switch i % 4 {
		case 0:
			return h.SignIn(ctx, "ada", "lovelace", brokertest.Request)
		case 1:
			return h.Refresh(ctx, grants[i/4].RefreshToken, grants[i/4].CSRFToken, brokertest.Request)
		case 2:
			_, err := h.SetPassword(ctx, "ada", "lovelace", i%8 == 2, brokertest.Operator)
			return nil, err
		default:
			_, err := h.DisableUser(ctx, "ada", brokertest.Operator)
			return nil, err
		}
	})
	for _, r := range results {
		var app *broker.Error
		if r.Err != nil && (!errors.As(r.Err, &app) || app.Code == broker.CodeInternal) {
			t.Error(r.Err)
		}
	}
	info, err := h.User(ctx, "ada")
	if err != nil || !info.Disabled {
		t.Fatalf("%+v, %v", info, err)
	}
	if page, err := h.ListSessions(ctx, operator.SessionQuery{}); err != nil || len(page.Sessions) != 0 {
		t.Errorf("sessions are still active: %+v, %v", page.Sessions, err)
	}
	if _, err := h.EnableUser(ctx, "ada", brokertest.Operator); err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Value == nil {
			continue
		}
		if sep := int64(brokertest.Claims(t, r.Value.AccessToken)["sep"].(float64)); sep >= info.Epoch {
			t.Errorf("a token of epoch %d, the user is at %d", sep, info.Epoch)
		}
		if _, err := h.Refresh(ctx, r.Value.RefreshToken, r.Value.CSRFToken, brokertest.Request); err == nil {
			t.Error("enabling the user revived a session")
		}
	}
}
