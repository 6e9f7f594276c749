package throttle_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"tokenbroker/broker/throttle"
)

// sharing returns a throttle that shares its limits among *brokers.
func sharing(brokers *int) (*throttle.Throttle, *clock) {
	return newThrottle(throttle.Config{Share: func() int { return *brokers }})
}

func TestEachBrokerAllowsItsShareOfAnAddress(t *testing.T) {
	for _, c := range []struct {
		brokers, allows int
		refill          time.Duration
	}{
		{-1, 100, time.Second}, {0, 100, time.Second}, {1, 100, time.Second},
		{2, 50, 2 * time.Second}, {3, 34, 3 * time.Second}, {1000, 1, 1000 * time.Second},
	} {
		t.Run(fmt.Sprint(c.brokers), func(t *testing.T) {
			th, clock := sharing(&c.brokers)
			at := func(int) string { return home }
			allowed, wait := guesses(th, 200, at)
			if allowed != c.allows || wait.Round(time.Millisecond) != c.refill {
				t.Errorf("%d guesses, then wait %v; want %d, then %v", allowed, wait, c.allows, c.refill)
			}
			clock.now = clock.now.Add(c.refill)
			if allowed, _ := guesses(th, 10, at); allowed != 1 {
				t.Errorf("after %v %d guesses, want 1", c.refill, allowed)
			}
		})
	}
}

func TestEachBrokerAllowsItsShareOfAnAccount(t *testing.T) {
	for _, c := range []struct{ brokers, free int }{{1, 10}, {2, 5}, {3, 4}, {10, 1}, {11, 1}} {
		t.Run(fmt.Sprint(c.brokers), func(t *testing.T) {
			th, clock := sharing(&c.brokers)
			free := 0
			for {
				addr := fmt.Sprintf("10.0.0.%d", free)
				if wait, ok := th.Allow("admin", addr); !ok {
					if want := time.Duration(c.brokers) * time.Second; wait != want {
						t.Errorf("the first pause is %v, want %v", wait, want)
					}
					break
				}
				th.Done("admin", addr, throttle.Failed)
				free++
			}
			if free != c.free {
				t.Errorf("%d free failures, want %d", free, c.free)
			}
			var last time.Duration
			for range 9 {
				wait, _ := th.Allow("admin", home)
				clock.now, last = clock.now.Add(wait), wait
				mustAllow(t, th, "admin", home)
				th.Done("admin", home, throttle.Failed)
			}
			if want := time.Duration(c.brokers) * time.Minute; last != want {
				t.Errorf("the longest pause is %v, want %v", last, want)
			}
		})
	}
}

func TestConcurrentTriesShareTheShare(t *testing.T) {
	brokers := 50
	th, _ := sharing(&brokers)
	mustAllow(t, th, "ada", home)
	mustAllow(t, th, "bob", home)
	mustWait(t, th, "eve", home, 50*time.Second)
	mustWait(t, th, "ada", "192.0.2.2", 50*time.Second)
}

func TestAnotherNumberOfBrokersCountsAtOnceAndKeepsFailures(t *testing.T) {
	brokers := 1
	th, clock := sharing(&brokers)
	at := func(int) string { return home }
	if allowed, _ := guesses(th, 60, at); allowed != 60 {
		t.Fatalf("%d guesses, want 60", allowed)
	}
	th.Done("another", home, throttle.Undecided) // the try with which guesses ends
	fail(th, "admin", 7)

	brokers = 2 // 50 failures of the address, 5 of the account
	mustWait(t, th, "ada", home, 22*time.Second)
	mustWait(t, th, "admin", "192.0.2.2", 8*time.Second)
	clock.now = clock.now.Add(22 * time.Second)
	mustAllow(t, th, "ada", home)
	mustWait(t, th, "bob", home, 2*time.Second)
	th.Done("ada", home, throttle.Undecided)

	brokers = 1 // 60 failures less those of 22 s
	if allowed, wait := guesses(th, 200, at); allowed != 62 || wait.Round(time.Millisecond) != time.Second {
		t.Errorf("%d guesses, then wait %v; want 62, then 1s", allowed, wait)
	}
	for range 3 {
		mustAllow(t, th, "admin", "192.0.2.2")
		th.Done("admin", "192.0.2.2", throttle.Failed)
	}
	mustWait(t, th, "admin", "192.0.2.2", time.Second)
}

// TestAllBrokersTogetherAllowWhatOneDoes spreads guesses evenly over brokers.
func TestAllBrokersTogetherAllowWhatOneDoes(t *testing.T) {
	total := func(brokers int) (allowed []int) {
		var all []*throttle.Throttle
		var clocks []*clock
		for range brokers {
			th, clock := sharing(&brokers)
			all, clocks = append(all, th), append(clocks, clock)
		}
		for range 3 { // a burst, then two of the rate
			n := 0
			for i := range 1200 {
				th := all[i%brokers]
				if _, ok := th.Allow(fmt.Sprint("user", i), home); ok {
					th.Done(fmt.Sprint("user", i), home, throttle.Failed)
					n++
				}
			}
			allowed = append(allowed, n)
			for _, clock := range clocks {
				clock.now = clock.now.Add(time.Minute)
			}
		}
		return allowed
	}
	for brokers, want := range map[int][]int{1: {100, 60, 60}, 2: {100, 60, 60}, 3: {102, 60, 60}, 4: {100, 60, 60}} {
		if got := total(brokers); !slices.Equal(got, want) {
			t.Errorf("%d brokers allow %v guesses, want %v", brokers, got, want)
		}
	}
}
