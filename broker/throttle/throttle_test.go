package throttle_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"tokenbroker/broker/throttle"
)

const home = "192.0.2.1"

// clock is a fake clock that tests move.
type clock struct{ now time.Time }

func newThrottle(cfg throttle.Config) (*throttle.Throttle, *clock) {
	c := &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	cfg.Now = func() time.Time { return c.now }
	return throttle.New(cfg), c
}

// fail makes n failures from addresses of their own, so that only the account is slowed.
func fail(t *throttle.Throttle, account string, n int) {
	for i := range n {
		t.Failed(account, fmt.Sprintf("10.0.0.%d", i))
	}
}

func mustAllow(t *testing.T, th *throttle.Throttle, account, addr string) {
	t.Helper()
	if wait, ok := th.Allow(account, addr); !ok || wait != 0 {
		t.Errorf("Allow(%s, %s) = %v, %v; want it allowed", account, addr, wait, ok)
	}
}

func mustWait(t *testing.T, th *throttle.Throttle, account, addr string, want time.Duration) {
	t.Helper()
	if wait, ok := th.Allow(account, addr); ok || wait.Round(time.Millisecond) != want {
		t.Errorf("Allow(%s, %s) = %v, %v; want to wait %v", account, addr, wait, ok, want)
	}
}

func TestGoodSignInsPassAtOnce(t *testing.T) {
	th, _ := newThrottle(throttle.Config{})
	for range 1000 {
		mustAllow(t, th, "admin", home)
		th.Succeeded("admin", home)
	}
}

func TestAccountHasFreeFailuresThenDelaysThatDouble(t *testing.T) {
	th, clock := newThrottle(throttle.Config{})
	for range 9 {
		mustAllow(t, th, "admin", home)
		th.Failed("admin", home)
	}
	mustAllow(t, th, "admin", home)
	th.Failed("admin", home) // the tenth

	var pauses []int
	for range 9 {
		wait, ok := th.Allow("admin", home)
		if ok {
			t.Fatal("allowed without a pause")
		}
		pauses = append(pauses, int(wait/time.Second))
		clock.now = clock.now.Add(wait - 1)
		mustWait(t, th, "admin", home, 0) // a nanosecond before: rounds to nothing, still refused
		clock.now = clock.now.Add(1)
		mustAllow(t, th, "admin", home)
		th.Failed("admin", home)
	}
	if want := []int{1, 2, 4, 8, 16, 32, 60, 60, 60}; !slices.Equal(pauses, want) {
		t.Errorf("pauses %v, want %v", pauses, want)
	}
	mustAllow(t, th, "ada", home)
}

func TestBeyondTheFreeFailuresOneAttemptAtATime(t *testing.T) {
	th, clock := newThrottle(throttle.Config{})
	fail(th, "admin", 10)
	clock.now = clock.now.Add(time.Second)
	mustAllow(t, th, "admin", home)
	mustWait(t, th, "admin", home, 2*time.Second) // a second one in parallel: as if the first had failed
	th.Failed("admin", home)
	mustWait(t, th, "admin", home, 2*time.Second)
}

func TestTriesAtOnceShareTheFreeFailures(t *testing.T) {
	th, clock := newThrottle(throttle.Config{})
	for i := range 10 {
		mustAllow(t, th, "admin", fmt.Sprintf("10.0.0.%d", i))
	}
	mustWait(t, th, "admin", home, time.Second)
	mustAllow(t, th, "ada", home)
	th.Refund("ada", home)
	th.Refund("admin", "10.0.0.0") // was not checked: another may
	mustAllow(t, th, "admin", home)
	mustWait(t, th, "admin", home, time.Second)
	clock.now = clock.now.Add(time.Second) // all are under way still: one beyond them
	mustAllow(t, th, "admin", "10.0.1.0")
	mustWait(t, th, "admin", "10.0.1.0", 2*time.Second)
	for i := 1; i < 10; i++ {
		th.Failed("admin", fmt.Sprintf("10.0.0.%d", i))
	}
	th.Failed("admin", home)
	th.Succeeded("admin", "10.0.1.0")
	mustAllow(t, th, "admin", home)
}

func TestTriesAtOnceShareTheAddressesBucket(t *testing.T) {
	th, _ := newThrottle(throttle.Config{Address: throttle.Address{Burst: 3}})
	for i := range 3 {
		mustAllow(t, th, fmt.Sprint("user", i), home)
	}
	mustWait(t, th, "another", home, time.Second)
	mustAllow(t, th, "another", "192.0.2.2")
	th.Failed("user0", home)
	th.Succeeded("user1", home)
	th.Refund("user2", home)
	mustAllow(t, th, "another", home)
	mustAllow(t, th, "one more", home)
	mustWait(t, th, "a third", home, time.Second)
}

func TestARefundGivesTheTurnBack(t *testing.T) {
	th, clock := newThrottle(throttle.Config{})
	fail(th, "admin", 12)
	clock.now = clock.now.Add(time.Minute)
	mustAllow(t, th, "admin", home)
	th.Refund("admin", home)
	mustAllow(t, th, "admin", home)
}

func TestSuccessForgetsTheAccount(t *testing.T) {
	th, clock := newThrottle(throttle.Config{})
	fail(th, "admin", 12)
	clock.now = clock.now.Add(time.Minute)
	mustAllow(t, th, "admin", home)
	th.Succeeded("admin", home)
	for range 10 {
		mustAllow(t, th, "admin", home)
		th.Failed("admin", home)
	}
	mustWait(t, th, "admin", home, time.Second)
}

func TestFailuresAreForgottenInTime(t *testing.T) {
	th, clock := newThrottle(throttle.Config{})
	fail(th, "admin", 20)
	clock.now = clock.now.Add(time.Hour)
	fail(th, "admin", 9)
	mustAllow(t, th, "admin", home)
	fail(th, "admin", 1)
	mustWait(t, th, "admin", home, time.Second)
}

func TestAddressHasABucketOfFailures(t *testing.T) {
	th, clock := newThrottle(throttle.Config{})
	for i := range 100 {
		mustAllow(t, th, fmt.Sprint("user", i), home)
		th.Failed(fmt.Sprint("user", i), home)
	}
	mustWait(t, th, "another", home, time.Second)
	mustAllow(t, th, "another", "192.0.2.2")
	th.Succeeded("another", home)
	mustWait(t, th, "another", home, time.Second) // a good account buys nothing
	clock.now = clock.now.Add(time.Second)
	mustAllow(t, th, "another", home)
	th.Failed("another", home)
	mustWait(t, th, "another", home, time.Second)
	clock.now = clock.now.Add(time.Hour)
	for i := range 100 {
		mustAllow(t, th, fmt.Sprint("later", i), home)
		th.Failed(fmt.Sprint("later", i), home)
	}
	mustWait(t, th, "another", home, time.Second) // no more than the bucket holds
}

func TestTheLongerWaitIsTold(t *testing.T) {
	th, _ := newThrottle(throttle.Config{Address: throttle.Address{Burst: 1, Refill: time.Minute}})
	fail(th, "admin", 11)
	mustWait(t, th, "admin", "192.0.2.9", 2*time.Second)
	th.Failed("ada", home)
	mustWait(t, th, "ada", home, time.Minute)
	mustWait(t, th, "admin", home, time.Minute)
}

func TestAddressesThatShareABucket(t *testing.T) {
	for _, c := range []struct {
		name, a, b string
		shared     bool
	}{
		{"one IPv4 address", home, home, true},
		{"two IPv4 addresses", home, "192.0.2.2", false},
		{"IPv4 in IPv6", home, "::ffff:192.0.2.1", true},
		{"two IPv4 in IPv6", "::ffff:192.0.2.1", "::ffff:192.0.2.2", false},
		{"a /64", "2001:db8:0:1::1", "2001:db8:0:1:ffff::2", true},
		{"two /64", "2001:db8:0:1::1", "2001:db8:0:2::1", false},
		{"zones", "fe80::1%eth0", "fe80::1%eth1", true},
		{"what is no address", "", "nonsense", true},
		{"what is no address, and one", "", home, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			th, _ := newThrottle(throttle.Config{Address: throttle.Address{Burst: 1}})
			th.Failed("ada", c.a)
			if _, ok := th.Allow("admin", c.b); ok == c.shared {
				t.Errorf("after a failure from %q, %q is allowed: %v", c.a, c.b, ok)
			}
		})
	}
}

func TestMemoryIsBounded(t *testing.T) {
	th, _ := newThrottle(throttle.Config{Size: 2, Account: throttle.Account{Free: 1}, Address: throttle.Address{Burst: 1}})
	th.Failed("a", "10.0.0.1")
	th.Failed("b", "10.0.0.2")
	for i := range 100 { // those who did nothing wrong push nobody out
		mustAllow(t, th, fmt.Sprint("good", i), fmt.Sprintf("10.0.1.%d", i))
		th.Succeeded(fmt.Sprint("good", i), fmt.Sprintf("10.0.1.%d", i))
	}
	mustWait(t, th, "a", home, time.Second)
	th.Failed("c", "10.0.0.3") // b is the one not seen for longest
	mustAllow(t, th, "b", home)
	mustWait(t, th, "a", home, time.Second)
	mustWait(t, th, "c", home, time.Second)
}

func TestNewRefusesNegativeNumbers(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("New did not panic")
		}
	}()
	throttle.New(throttle.Config{Account: throttle.Account{Free: -1}})
}

func TestConcurrentUse(t *testing.T) {
	th := throttle.New(throttle.Config{Size: 4})
	done := make(chan struct{})
	for g := range 4 {
		go func() {
			defer func() { done <- struct{}{} }()
			for i := range 200 {
				name, addr := fmt.Sprint(i%7), fmt.Sprintf("10.0.0.%d", g)
				th.Allow(name, addr)
				th.Failed(name, addr)
				th.Succeeded(name, addr)
			}
		}()
	}
	for range 4 {
		<-done
	}
}
