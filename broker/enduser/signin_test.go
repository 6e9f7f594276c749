package enduser_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/password"
	"tokenbroker/broker/throttle"
)

// A disabled user's right password takes as long as a wrong one. A successful check may end after
// the first of a password's forms.
func TestADisabledUsersPasswordIsNotTried(t *testing.T) {
	passwords := &countedPasswords{}
	h := brokertest.Start(t, func(c *brokertest.Config) { c.Passwords = passwords })
	if _, err := h.DisableUser(t.Context(), "ada", brokertest.Operator); err != nil {
		t.Fatal(err)
	}
	for i, plain := range []string{"lovelace", "wrong"} {
		_, err := h.SignIn(t.Context(), "ada", plain, brokertest.Request)
		brokertest.WantCode(t, err, broker.CodeInvalidCredentials)
		if passwords.failing != i+1 || passwords.real != 0 {
			t.Errorf("password %q: %d checks that cannot succeed, %d that can", plain, passwords.failing, passwords.real)
		}
	}
}

// countedPasswords counts the checks of each kind.
type countedPasswords struct {
	brokertest.Passwords
	real, failing int
}

func (p *countedPasswords) Verify(ctx context.Context, caller password.Caller, attempt, encoded string) (ok, needsRehash bool, err error) {
	p.real++
	return p.Passwords.Verify(ctx, caller, attempt, encoded)
}

func (p *countedPasswords) VerifyUnknown(context.Context, password.Caller, string) error {
	p.failing++
	return nil
}

// TestConcurrentGuessesGetOnlyTheFreeFailures: none has failed yet when the last one starts.
func TestConcurrentGuessesGetOnlyTheFreeFailures(t *testing.T) {
	for _, name := range []string{"ada", "nobody"} {
		passwords := &brokertest.SlowPasswords{Let: make(chan struct{})}
		h := brokertest.Throttled(t, passwords)
		const guesses = 60
		answers := make(chan error, guesses)
		for range guesses {
			go func() {
				_, err := h.SignIn(context.Background(), name, "a guess", brokertest.Request)
				answers <- err
			}()
		}
		for range guesses - throttle.DefaultFree {
			if app := brokertest.WantCode(t, <-answers, broker.CodeTooManyAttempts); app.RetryAfter != time.Second {
				t.Errorf("Retry-After %s", app.RetryAfter)
			}
		}
		close(passwords.Let)
		for range throttle.DefaultFree {
			brokertest.WantCode(t, <-answers, broker.CodeInvalidCredentials)
		}
		if n := passwords.Checks.Load(); n != throttle.DefaultFree {
			t.Errorf("%s: %d passwords were checked, want %d", name, n, throttle.DefaultFree)
		}
		_, err := h.SignIn(t.Context(), name, "lovelace", brokertest.Request)
		brokertest.WantCode(t, err, broker.CodeTooManyAttempts)
		h.Clock.Advance(time.Second)
		if _, err := h.SignIn(t.Context(), name, "lovelace", brokertest.Request); err != nil && name == "ada" {
			t.Errorf("the owner, a pause later: %v", err)
		}
	}
}

// TestAnEmptyNameIsThrottledLikeOthers: the throttle itself does not treat an empty name as an account.
func TestAnEmptyNameIsThrottledLikeOthers(t *testing.T) {
	passwords := &brokertest.SlowPasswords{Let: make(chan struct{})}
	close(passwords.Let)
	h := brokertest.Throttled(t, passwords)
	for range throttle.DefaultFree {
		_, err := h.SignIn(t.Context(), "", "a guess", brokertest.Request)
		brokertest.WantCode(t, err, broker.CodeInvalidCredentials)
	}
	_, err := h.SignIn(t.Context(), "", "a guess", brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeTooManyAttempts)
}

// TestAnUncheckedPasswordCountsAgainstTheAddressOnly: the try counts if the queue was full or the caller
// left, and does not count if the broker failed.
func TestAnUncheckedPasswordCountsAgainstTheAddressOnly(t *testing.T) {
	const tries = 150 // more than the free failures of an account and of an address
	for _, c := range []struct {
		name    string
		err     error
		code    broker.Code
		charged bool
	}{
		{"a full queue", password.ErrBusy, broker.CodeBusy, true},
		{"the caller left", context.Canceled, broker.CodeUnavailable, true},
		{"an internal error", errors.New("out of order"), broker.CodeInternal, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			passwords := &brokertest.SlowPasswords{Let: make(chan struct{}), Failed: c.err}
			close(passwords.Let)
			h := brokertest.Throttled(t, passwords)
			checked := 0
			for range tries {
				_, err := h.SignIn(t.Context(), "ada", "lovelace", brokertest.Request)
				var refused *broker.Error
				if errors.As(err, &refused) && refused.Code == broker.CodeTooManyAttempts {
					continue
				}
				brokertest.WantCode(t, err, c.code)
				checked++
			}
			if want := map[bool]int{true: throttle.DefaultIPv4()[0].Burst, false: tries}[c.charged]; checked != want {
				t.Errorf("%d tries were let through, want %d", checked, want)
			}
			passwords.Failed = nil
			if _, err := h.SignIn(t.Context(), "ada", "lovelace", broker.Request{Addr: "198.51.100.1"}); err != nil {
				t.Errorf("the owner, from another address: %v", err)
			}
		})
	}
}
