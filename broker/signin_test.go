package broker_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/password"
	"tokenbroker/broker/throttle"
)

// slowPasswords counts the checks and keeps each under way until it is let go.
type slowPasswords struct {
	fakePasswords
	checks atomic.Int32
	let    chan struct{}
	err    error
}

func (p *slowPasswords) Verify(ctx context.Context, caller password.Caller, attempt, encoded string) (ok, needsRehash bool, err error) {
	p.checks.Add(1)
	<-p.let
	if p.err != nil {
		return false, false, p.err
	}
	return p.fakePasswords.Verify(ctx, caller, attempt, encoded)
}

func (p *slowPasswords) VerifyUnknown(context.Context, password.Caller, string) error {
	p.checks.Add(1)
	<-p.let
	return p.err
}

// A disabled user's right password takes as long as a wrong one: a check that succeeds can end after
// the first of a password's forms.
func TestADisabledUsersPasswordIsNotTried(t *testing.T) {
	passwords := &countedPasswords{}
	h := start(t, func(c *broker.Config) { c.Passwords = passwords })
	if _, err := h.DisableUser(t.Context(), "ada", operator); err != nil {
		t.Fatal(err)
	}
	for i, plain := range []string{"lovelace", "wrong"} {
		_, err := h.SignIn(t.Context(), "ada", plain, request)
		wantCode(t, err, broker.CodeInvalidCredentials)
		if passwords.failing != i+1 || passwords.real != 0 {
			t.Errorf("password %q: %d checks that cannot succeed, %d that can", plain, passwords.failing, passwords.real)
		}
	}
}

// countedPasswords counts the checks of each kind.
type countedPasswords struct {
	fakePasswords
	real, failing int
}

func (p *countedPasswords) Verify(ctx context.Context, caller password.Caller, attempt, encoded string) (ok, needsRehash bool, err error) {
	p.real++
	return p.fakePasswords.Verify(ctx, caller, attempt, encoded)
}

func (p *countedPasswords) VerifyUnknown(context.Context, password.Caller, string) error {
	p.failing++
	return nil
}

// throttled is a broker with these passwords and a real throttle.
func throttled(t *testing.T, passwords *slowPasswords) *harness {
	t.Helper()
	return start(t, func(c *broker.Config) {
		c.Passwords = passwords
		c.Throttle = throttle.New(throttle.Config{Now: c.Clock.Now})
	})
}

// TestParallelGuessesGetNoMoreThanTheFreeOnes: none has failed yet when the last begins.
func TestParallelGuessesGetNoMoreThanTheFreeOnes(t *testing.T) {
	for _, name := range []string{"ada", "nobody"} {
		passwords := &slowPasswords{let: make(chan struct{})}
		h := throttled(t, passwords)
		const guesses = 60
		answers := make(chan error, guesses)
		for range guesses {
			go func() {
				_, err := h.SignIn(context.Background(), name, "a guess", request)
				answers <- err
			}()
		}
		for range guesses - throttle.DefaultFree {
			if app := wantCode(t, <-answers, broker.CodeTooManyAttempts); app.RetryAfter != time.Second {
				t.Errorf("Retry-After %s", app.RetryAfter)
			}
		}
		close(passwords.let)
		for range throttle.DefaultFree {
			wantCode(t, <-answers, broker.CodeInvalidCredentials)
		}
		if n := passwords.checks.Load(); n != throttle.DefaultFree {
			t.Errorf("%s: %d passwords were checked, want %d", name, n, throttle.DefaultFree)
		}
		_, err := h.SignIn(t.Context(), name, "lovelace", request)
		wantCode(t, err, broker.CodeTooManyAttempts)
		h.clock.advance(time.Second)
		if _, err := h.SignIn(t.Context(), name, "lovelace", request); err != nil && name == "ada" {
			t.Errorf("the owner, a pause later: %v", err)
		}
	}
}

// TestAnEmptyNameIsThrottledLikeAnyOther, though to the throttle it would be no account.
func TestAnEmptyNameIsThrottledLikeAnyOther(t *testing.T) {
	passwords := &slowPasswords{let: make(chan struct{})}
	close(passwords.let)
	h := throttled(t, passwords)
	for range throttle.DefaultFree {
		_, err := h.SignIn(t.Context(), "", "a guess", request)
		wantCode(t, err, broker.CodeInvalidCredentials)
	}
	_, err := h.SignIn(t.Context(), "", "a guess", request)
	wantCode(t, err, broker.CodeTooManyAttempts)
}

// TestATryThatWasNotCheckedCostsTheAddressAndNotTheAccount, when the queue was full or the caller
// left it; one that the broker could not check through its own trouble costs nothing.
func TestATryThatWasNotCheckedCostsTheAddressAndNotTheAccount(t *testing.T) {
	const tries = 150 // more than an account's free failures, and than an address's
	for _, c := range []struct {
		name    string
		err     error
		code    broker.Code
		charged bool
	}{
		{"a full queue", password.ErrBusy, broker.CodeBusy, true},
		{"the caller left", context.Canceled, broker.CodeUnavailable, true},
		{"trouble inside", errors.New("out of order"), broker.CodeInternal, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			passwords := &slowPasswords{let: make(chan struct{}), err: c.err}
			close(passwords.let)
			h := throttled(t, passwords)
			checked := 0
			for range tries {
				_, err := h.SignIn(t.Context(), "ada", "lovelace", request)
				var refused *broker.Error
				if errors.As(err, &refused) && refused.Code == broker.CodeTooManyAttempts {
					continue
				}
				wantCode(t, err, c.code)
				checked++
			}
			if want := map[bool]int{true: throttle.DefaultIPv4()[0].Burst, false: tries}[c.charged]; checked != want {
				t.Errorf("%d tries were let through, want %d", checked, want)
			}
			passwords.err = nil
			if _, err := h.SignIn(t.Context(), "ada", "lovelace", broker.Request{Addr: "198.51.100.1"}); err != nil {
				t.Errorf("the owner, from another address: %v", err)
			}
		})
	}
}
