package enduser_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/password"
	"tokenbroker/broker/throttle"
)

// queuedPasswords counts the checks of each priority, delays them, and refuses those of
// Low priority while too many are in progress, like a hasher with a full queue.
type queuedPasswords struct {
	brokertest.Passwords
	mu     sync.Mutex
	under  int // of Low priority
	checks [2]int
	busy   int
}

func (p *queuedPasswords) begin(priority password.Priority) (end func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if priority == password.High {
		p.checks[priority]++
		return func() {}, nil
	}
	if p.under == 5 {
		p.busy++
		return nil, password.ErrBusy
	}
	p.under++
	p.checks[priority]++
	return func() { p.mu.Lock(); p.under--; p.mu.Unlock() }, nil
}

func (p *queuedPasswords) Verify(ctx context.Context, caller password.Caller, attempt, encoded string) (ok, needsRehash bool, err error) {
	end, err := p.begin(caller.Priority)
	if err != nil {
		return false, false, err
	}
	defer end()
	time.Sleep(25 * time.Millisecond)
	return p.Passwords.Verify(ctx, caller, attempt, encoded)
}

func (p *queuedPasswords) VerifyUnknown(_ context.Context, caller password.Caller, _ string) error {
	end, err := p.begin(caller.Priority)
	if err == nil {
		time.Sleep(25 * time.Millisecond)
		end()
	}
	return err
}

// TestAUserAtAKnownAddressCanSignInDuringAFlood: the flood comes from thousands of networks, of the user's own
// /48 and of many others. The /48 gets only its allowance of checks and refusals by a full queue.
func TestAUserAtAKnownAddressCanSignInDuringAFlood(t *testing.T) {
	for name, c := range map[string]struct {
		addr func(i int) string
		most int // tries that reach the queue
	}{
		"of the same /48": {func(i int) string { return fmt.Sprintf("2001:db8:0:%x::1", i) }, 100},
		"of many /32":     {func(i int) string { return fmt.Sprintf("2a%02x:%x::1", i%256, i) }, 6000},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				passwords := &queuedPasswords{}
				h := brokertest.Start(t, func(c *brokertest.Config) {
					c.Passwords = passwords
					c.Throttle = throttle.New(throttle.Config{})
				})
				home := broker.Request{Addr: "2001:db8:0:aaaa::1", ID: "r1"}
				if _, err := h.SignIn(t.Context(), "ada", "lovelace", home); err != nil {
					t.Fatal(err)
				}
				*passwords = queuedPasswords{}
				const seconds, each = 10, 600
				var strangers sync.WaitGroup
				for i := range seconds * each {
					strangers.Go(func() {
						time.Sleep(time.Duration(i) * time.Second / each)
						name := []string{"ada", fmt.Sprint("user", i)}[i%2]
						_, err := h.SignIn(t.Context(), name, "a guess", broker.Request{Addr: c.addr(i), ID: "r2"})
						var refused *broker.Error
						if !errors.As(err, &refused) {
							t.Errorf("a stranger: %v", err)
						}
					})
				}
				for range 4 * seconds {
					if _, err := h.SignIn(t.Context(), "ada", "lovelace", home); err != nil {
						t.Errorf("ada at home: %v", err)
					}
					time.Sleep(time.Second / 4)
				}
				strangers.Wait()
				low := passwords.checks[password.Low] + passwords.busy
				if high := passwords.checks[password.High]; high != 4*seconds || low > c.most+seconds || low < c.most/3 {
					t.Errorf("%d tries at home and %d of strangers reached the queue, want %d, and at most %d", high, low, 4*seconds, c.most+seconds)
				}
				if c.most > 100 && passwords.busy == 0 {
					t.Error("the flood did not fill the queue")
				}
			})
		})
	}
}
