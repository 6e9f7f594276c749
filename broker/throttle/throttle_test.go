package throttle_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"tokenbroker/broker/throttle"
)

const home = "192.0.2.1"

// clock is a fake clock that tests advance.
type clock struct{ now time.Time }

func newThrottle(cfg throttle.Config) (*throttle.Throttle, *clock) {
	c := &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	cfg.Now = func() time.Time { return c.now }
	return throttle.New(cfg), c
}

// burst is the levels of IPv4 with a small allowance for one address.
func burst(n int, refill time.Duration) []throttle.Level {
	return []throttle.Level{{Bits: 32, Burst: n, Refill: refill}}
}

// fail makes n failures from different addresses, so that only the account is slowed down.
func fail(t *throttle.Throttle, account string, n int) {
	for i := range n {
		t.Done(account, fmt.Sprintf("10.0.0.%d", i), throttle.Failed)
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

func TestSuccessfulSignInsAreNotDelayed(t *testing.T) {
	th, _ := newThrottle(throttle.Config{})
	for range 1000 {
		mustAllow(t, th, "admin", home)
		th.Done("admin", home, throttle.Succeeded)
	}
}

func TestAccountHasFreeFailuresThenDelaysThatDouble(t *testing.T) {
	th, clock := newThrottle(throttle.Config{})
	for range 9 {
		mustAllow(t, th, "admin", home)
		th.Done("admin", home, throttle.Failed)
	}
	mustAllow(t, th, "admin", home)
	th.Done("admin", home, throttle.Failed) // the tenth

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
		th.Done("admin", home, throttle.Failed)
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
	th.Done("admin", home, throttle.Failed)
	mustWait(t, th, "admin", home, 2*time.Second)
}

func TestConcurrentTriesShareTheFreeFailures(t *testing.T) {
	th, clock := newThrottle(throttle.Config{})
	for i := range 10 {
		mustAllow(t, th, "admin", fmt.Sprintf("10.0.0.%d", i))
	}
	mustWait(t, th, "admin", home, time.Second)
	mustAllow(t, th, "ada", home)
	th.Done("ada", home, throttle.Undecided)
	th.Done("admin", "10.0.0.0", throttle.Undecided) // not checked: another try is allowed
	mustAllow(t, th, "admin", home)
	mustWait(t, th, "admin", home, time.Second)
	clock.now = clock.now.Add(time.Second) // all are still pending: one more is refused
	mustAllow(t, th, "admin", "10.0.1.0")
	mustWait(t, th, "admin", "10.0.1.0", 2*time.Second)
	for i := 1; i < 10; i++ {
		th.Done("admin", fmt.Sprintf("10.0.0.%d", i), throttle.Failed)
	}
	th.Done("admin", home, throttle.Failed)
	th.Done("admin", "10.0.1.0", throttle.Succeeded)
	mustWait(t, th, "admin", home, time.Second) // the ten failures stay
	mustAllow(t, th, "admin", "10.0.1.0")
}

func TestConcurrentTriesShareTheBucketOfTheAddress(t *testing.T) {
	th, _ := newThrottle(throttle.Config{IPv4: burst(3, time.Second)})
	for i := range 3 {
		mustAllow(t, th, fmt.Sprint("user", i), home)
	}
	mustWait(t, th, "another", home, time.Second)
	mustAllow(t, th, "another", "192.0.2.2")
	th.Done("user0", home, throttle.Failed)
	th.Done("user1", home, throttle.Succeeded)
	th.Done("user2", home, throttle.Undecided)
	mustAllow(t, th, "another", home)
	mustAllow(t, th, "one more", home)
	mustWait(t, th, "a third", home, time.Second)
}

func TestRefundRevertsTheCharge(t *testing.T) {
	th, clock := newThrottle(throttle.Config{})
	fail(th, "admin", 12)
	clock.now = clock.now.Add(time.Minute)
	mustAllow(t, th, "admin", home)
	th.Done("admin", home, throttle.Undecided)
	mustAllow(t, th, "admin", home)
}

func TestSuccessForgetsFailuresFromThatAddress(t *testing.T) {
	th, clock := newThrottle(throttle.Config{})
	fail(th, "admin", 12)
	clock.now = clock.now.Add(time.Minute)
	mustAllow(t, th, "admin", home)
	th.Done("admin", home, throttle.Succeeded)
	for range 10 {
		mustAllow(t, th, "admin", home)
		th.Done("admin", home, throttle.Failed)
	}
	mustWait(t, th, "admin", home, time.Second)
}

func TestFailuresExpire(t *testing.T) {
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
		th.Done(fmt.Sprint("user", i), home, throttle.Failed)
	}
	mustWait(t, th, "another", home, time.Second)
	mustAllow(t, th, "another", "192.0.2.2")
	th.Done("another", home, throttle.Succeeded)
	mustWait(t, th, "another", home, time.Second) // a success does not refill the bucket
	clock.now = clock.now.Add(time.Second)
	mustAllow(t, th, "another", home)
	th.Done("another", home, throttle.Failed)
	mustWait(t, th, "another", home, time.Second)
	clock.now = clock.now.Add(time.Hour)
	for i := range 100 {
		mustAllow(t, th, fmt.Sprint("later", i), home)
		th.Done(fmt.Sprint("later", i), home, throttle.Failed)
	}
	mustWait(t, th, "another", home, time.Second) // not more than the size of the bucket
}

func TestAllowReturnsTheLongestWait(t *testing.T) {
	th, _ := newThrottle(throttle.Config{IPv4: burst(1, time.Minute)})
	fail(th, "admin", 11)
	mustWait(t, th, "admin", "192.0.2.9", 2*time.Second)
	th.Done("ada", home, throttle.Failed)
	mustWait(t, th, "ada", home, time.Minute)
	mustWait(t, th, "admin", home, time.Minute)
}

func TestMemoryIsBounded(t *testing.T) {
	th, _ := newThrottle(throttle.Config{Size: 2, Account: throttle.Account{Free: 1}, IPv4: burst(1, time.Second)})
	th.Done("a", "10.0.0.1", throttle.Failed)
	th.Done("b", "10.0.0.2", throttle.Failed)
	for i := range 100 { // successful sign-ins evict no failures
		mustAllow(t, th, fmt.Sprint("good", i), fmt.Sprintf("10.0.1.%d", i))
		th.Done(fmt.Sprint("good", i), fmt.Sprintf("10.0.1.%d", i), throttle.Succeeded)
	}
	mustWait(t, th, "a", home, time.Second)
	th.Done("c", "10.0.0.3", throttle.Failed) // b is the least recently used entry
	mustAllow(t, th, "b", home)
	mustWait(t, th, "a", home, time.Second)
	mustWait(t, th, "c", home, time.Second)
}

func TestNewPanicsOnInvalidConfig(t *testing.T) {
	for name, cfg := range map[string]throttle.Config{
		"a negative number":   {Account: throttle.Account{Free: -1}},
		"no level":            {IPv4: []throttle.Level{}},
		"too many bits":       {IPv4: []throttle.Level{{Bits: 33, Burst: 1, Refill: 1}}},
		"negative bits":       {IPv6: []throttle.Level{{Bits: -1, Burst: 1, Refill: 1}}},
		"the same bits twice": {IPv6: []throttle.Level{{Bits: 64, Burst: 1, Refill: 1}, {Bits: 64, Burst: 1, Refill: 1}}},
		"no burst":            {IPv4: []throttle.Level{{Bits: 32, Refill: 1}}},
		"no refill":           {IPv4: []throttle.Level{{Bits: 32, Burst: 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("New did not panic")
				}
			}()
			throttle.New(cfg)
		})
	}
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
				th.Done(name, addr, throttle.Failed)
				th.Done(name, addr, throttle.Succeeded)
			}
		}()
	}
	for range 4 {
		<-done
	}
}
