package commit_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/operator"
	"tokenbroker/broker/password"
	"tokenbroker/store"
)

// slowDisk delays each commit. It is for a synctest bubble.
type slowDisk struct {
	store.Store
	each time.Duration
}

func (s slowDisk) Commit(ctx context.Context, changes []store.Change, seal store.Seal) []error {
	time.Sleep(s.each)
	return s.Store.Commit(ctx, changes, seal)
}

// slowHashing delays each check of a password.
type slowHashing struct {
	brokertest.Passwords
	each time.Duration
}

func (s slowHashing) Verify(ctx context.Context, caller password.Caller, attempt, encoded string) (bool, bool, error) {
	time.Sleep(s.each)
	return s.Passwords.Verify(ctx, caller, attempt, encoded)
}

func (s slowHashing) VerifyUnknown(context.Context, password.Caller, string) error {
	time.Sleep(s.each)
	return nil
}

// TestOperatorsAreNotBlockedByAUserWhoKeepsSigningIn: a person who knows a password must not be able to prevent an
// operator from changing it.
func TestOperatorsAreNotBlockedByAUserWhoKeepsSigningIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := brokertest.Start(t, func(c *brokertest.Config) {
			c.Store = slowDisk{c.Store, 20 * time.Millisecond}
			c.Passwords = slowHashing{each: 40 * time.Millisecond}
		})
		ctx := t.Context()
		stop := make(chan struct{})
		var signingIn sync.WaitGroup
		opened := make([]int, 10)
		for i := range opened {
			signingIn.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if _, err := h.SignIn(ctx, "ada", "lovelace", brokertest.Request); err == nil {
						opened[i]++
					}
					time.Sleep(time.Duration(i) * time.Millisecond)
				}
			})
		}
		begun := time.Now()
		const rounds = 15
		for range rounds {
			time.Sleep(150 * time.Millisecond)
			for name, do := range map[string]func() error{
				"revoke":  func() error { _, err := h.RevokeUser(ctx, "ada", "", brokertest.Operator); return err },
				"disable": func() error { _, err := h.DisableUser(ctx, "ada", brokertest.Operator); return err },
				"passwd":  func() error { _, err := h.SetPassword(ctx, "ada", "lovelace", false, brokertest.Operator); return err },
				"keep":    func() error { _, err := h.SetPassword(ctx, "ada", "lovelace", true, brokertest.Operator); return err },
				"update": func() error {
					_, err := h.UpdateUser(ctx, "ada", operator.UserChange{Roles: []string{"r"}}, brokertest.Operator)
					return err
				},
				"enable": func() error { _, err := h.EnableUser(ctx, "ada", brokertest.Operator); return err },
			} {
				if err := do(); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			if _, err := h.EnableUser(ctx, "ada", brokertest.Operator); err != nil {
				t.Error(err)
			}
		}
		if took := time.Since(begun); took > rounds*(150+7*100)*time.Millisecond {
			t.Errorf("took %v", took)
		}
		close(stop)
		if _, err := h.RemoveUser(ctx, "ada", brokertest.Operator); err != nil {
			t.Errorf("remove: %v", err)
		}
		signingIn.Wait()
		total := 0
		for _, n := range opened {
			total += n
		}
		if total < 100 {
			t.Errorf("only %d sign-ins: the user was not busy", total)
		}
	})
}

// TestMessagesAfterATerminationInABatchHaveItsEpoch: refreshes and sign-ins in one batch with a
// revocation of their user are decided in order.
func TestMessagesAfterATerminationInABatchHaveItsEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := brokertest.Start(t, func(c *brokertest.Config) { c.Store, c.Shards = slowDisk{c.Store, 20 * time.Millisecond}, 1 })
		first, second := h.MustSignIn(t), h.MustSignIn(t)
		ctx := t.Context()
		var (
			calls               sync.WaitGroup
			kept                *broker.Grant
			ended               [2]operator.Revoked
			between, last       *broker.Grant
			errs                [6]error
			refused, refusedNow error
		)
		for i, do := range []func(){
			func() { _, errs[0] = h.SignIn(ctx, "ada", "lovelace", brokertest.Request) }, // the others wait for its commit
			func() { kept, errs[1] = h.Refresh(ctx, first.RefreshToken, first.CSRFToken, brokertest.Request) },
			func() { ended[0], errs[2] = h.RevokeUser(ctx, "ada", "", brokertest.Operator) },
			func() { _, refused = h.Refresh(ctx, second.RefreshToken, second.CSRFToken, brokertest.Request) },
			func() { between, errs[3] = h.SignIn(ctx, "ada", "lovelace", brokertest.Request) },
			func() { ended[1], errs[4] = h.RevokeUser(ctx, "ada", "", brokertest.Operator) },
			func() { last, errs[5] = h.SignIn(ctx, "ada", "lovelace", brokertest.Request) },
		} {
			calls.Go(func() { time.Sleep(time.Duration(i) * time.Millisecond); do() })
		}
		calls.Wait()
		for i, err := range errs {
			if err != nil {
				t.Fatalf("%d: %v", i, err)
			}
		}
		brokertest.WantCode(t, refused, broker.CodeSessionRevoked)
		if ended[0].Epoch >= ended[1].Epoch || len(h.Ledger.Events()) != 2 {
			t.Fatalf("%+v, events %+v", ended, h.Ledger.Events())
		}
		for sep, grant := range map[int64]*broker.Grant{0: kept, ended[0].Epoch: between, ended[1].Epoch: last} {
			if got := int64(brokertest.Claims(t, grant.AccessToken)["sep"].(float64)); got != sep {
				t.Errorf("sep %d, want %d", got, sep)
			}
		}
		for _, grant := range []*broker.Grant{kept, between} {
			_, refusedNow = h.Refresh(ctx, grant.RefreshToken, grant.CSRFToken, brokertest.Request)
			brokertest.WantCode(t, refusedNow, broker.CodeSessionRevoked)
		}
		if _, err := h.Refresh(ctx, last.RefreshToken, last.CSRFToken, brokertest.Request); err != nil {
			t.Error(err)
		}
	})
}

// slowHead is a ledger whose events are in the own denylist some time before its head moves.
type slowHead struct {
	*brokertest.Ledger
	each    time.Duration
	flushed []uint64 // the sequence numbers that were waited for
}

func (l *slowHead) Committed() uint64 {
	l.Mu.Lock()
	for _, e := range l.Pending {
		l.Denied[e.Value] = true
	}
	l.Mu.Unlock()
	time.Sleep(l.each)
	return l.Ledger.Committed()
}

func (l *slowHead) Flushed(_ context.Context, _ string, seq uint64) bool {
	l.Mu.Lock()
	defer l.Mu.Unlock()
	l.flushed = append(l.flushed, seq)
	return true
}

// TestASecondRevocationIsAnsweredOnceTheFirstIsInForce: the second finds nothing to do while the first one's change is on
// disk, but neither in the own denylist nor below the head.
func TestASecondRevocationIsAnsweredOnceTheFirstIsInForce(t *testing.T) {
	const jti = "01890000-0000-7000-8000-000000000001"
	for name, do := range map[string]func(context.Context, *brokertest.Harness, *broker.Grant) (bool, error){
		"disabling a user": func(ctx context.Context, h *brokertest.Harness, _ *broker.Grant) (bool, error) {
			done, err := h.DisableUser(ctx, "ada", brokertest.Operator)
			return done.Broadcast, err
		},
		"revoking a session": func(ctx context.Context, h *brokertest.Harness, g *broker.Grant) (bool, error) {
			done, err := h.RevokeSession(ctx, g.SID, "", brokertest.Operator)
			return done.Broadcast, err
		},
		"revoking a token": func(ctx context.Context, h *brokertest.Harness, _ *broker.Grant) (bool, error) {
			done, err := h.RevokeToken(ctx, jti, "", brokertest.Operator)
			return done.Broadcast, err
		},
		"logging off": func(ctx context.Context, h *brokertest.Harness, g *broker.Grant) (bool, error) {
			done, err := h.LogOff(ctx, g.RefreshToken, g.CSRFToken, brokertest.Request)
			return done.Broadcast && done.Ended, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				slow := &slowHead{each: 100 * time.Millisecond}
				h := brokertest.Start(t, func(c *brokertest.Config) {
					slow.Ledger = c.Ledger.(*brokertest.Ledger)
					c.Ledger, c.Broadcast = slow, slow
				})
				grant := h.MustSignIn(t)
				begun := time.Now()
				results := brokertest.AtOnce(2, func(i int) (bool, error) {
					time.Sleep(time.Duration(i) * 50 * time.Millisecond)
					return do(t.Context(), h, grant)
				})
				for i, r := range results {
					if r.Err != nil || !r.Value {
						t.Errorf("%d: %t, %v", i, r.Value, r.Err)
					}
				}
				// The shard may wait a short time for more messages before it decides the second.
				if took := time.Since(begun); took < slow.each || took > slow.each+2*time.Millisecond || len(h.Ledger.Events()) != 1 {
					t.Errorf("answered after %v, %d events", took, len(h.Ledger.Events()))
				}
				if len(slow.flushed) != 2 || slow.flushed[0] != 1 || slow.flushed[1] != 1 {
					t.Errorf("waited for %v, want the batch of the first revocation", slow.flushed)
				}
			})
		})
	}
}
