package throttle_test

import (
	"fmt"
	"testing"
	"time"

	"tokenbroker/broker/throttle"
)

func TestPrefixesThatShareAnAllowance(t *testing.T) {
	v4 := func(bits int) throttle.Config {
		return throttle.Config{IPv4: []throttle.Level{{Bits: bits, Burst: 1, Refill: time.Second}}}
	}
	v6 := func(bits int) throttle.Config {
		return throttle.Config{IPv6: []throttle.Level{{Bits: bits, Burst: 1, Refill: time.Second}}}
	}
	for _, c := range []struct {
		name, a, b string
		cfg        throttle.Config
		shared     bool
	}{
		{"one IPv4 address", home, home, v4(32), true},
		{"two IPv4 addresses", home, "192.0.2.2", v4(32), false},
		{"a /24", home, "192.0.2.255", v4(24), true},
		{"two /24", home, "192.0.3.1", v4(24), false},
		{"IPv4 in IPv6", home, "::ffff:192.0.2.1", v4(32), true},
		{"two IPv4 in IPv6", "::ffff:192.0.2.1", "::ffff:192.0.2.2", v4(32), false},
		{"a /64", "2001:db8:0:1::1", "2001:db8:0:1:ffff::2", v6(64), true},
		{"two /64", "2001:db8:0:1::1", "2001:db8:0:2::1", v6(64), false},
		{"a /56", "2001:db8:0:1::1", "2001:db8:0:ff::1", v6(56), true},
		{"two /56", "2001:db8:0:1::1", "2001:db8:0:100::1", v6(56), false},
		{"a /48", "2001:db8:0:1::1", "2001:db8:0:ffff::1", v6(48), true},
		{"two /48", "2001:db8:0:1::1", "2001:db8:1:1::1", v6(48), false},
		{"a /32", "2001:db8:0:1::1", "2001:db8:ffff::1", v6(32), true},
		{"two /32", "2001:db8:0:1::1", "2001:db9:0:1::1", v6(32), false},
		{"zones", "fe80::1%eth0", "fe80::1%eth1", v6(64), true},
		{"what is not an address", "", "nonsense", v4(32), true},
		{"what is not an address, and one", "", home, v4(32), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			th, _ := newThrottle(c.cfg)
			th.Done("ada", c.a, throttle.Failed)
			if _, ok := th.Allow("admin", c.b); ok == c.shared {
				t.Errorf("after a failure from %q, %q is allowed: %v", c.a, c.b, ok)
			}
		})
	}
}

// guesses makes a try for another name from each address, and returns how many were allowed
// and failed, and how long the next one has to wait.
func guesses(th *throttle.Throttle, n int, addr func(i int) string) (allowed int, wait time.Duration) {
	for i := range n {
		if _, ok := th.Allow(fmt.Sprint("user", i), addr(i)); ok {
			th.Done(fmt.Sprint("user", i), addr(i), throttle.Failed)
			allowed++
		}
	}
	wait, _ = th.Allow("another", addr(n))
	return allowed, wait
}

func TestManyNetworksOfOnePrefixShareItsAllowance(t *testing.T) {
	for _, c := range []struct {
		name   string
		addr   func(i int) string
		allows int
		refill time.Duration
	}{
		{"one IPv4 address", func(int) string { return home }, 100, time.Second},
		{"a /24", func(i int) string { return fmt.Sprintf("192.0.2.%d", i%256) }, 500, 200 * time.Millisecond},
		{"one /64", func(i int) string { return fmt.Sprintf("2001:db8::%x", i) }, 50, 2 * time.Second},
		{"a /56", func(i int) string { return fmt.Sprintf("2001:db8:0:%x::1", i%256) }, 75, 1500 * time.Millisecond},
		{"a /48", func(i int) string { return fmt.Sprintf("2001:db8:0:%x::1", i*256%65536) }, 100, time.Second},
		{"a /32", func(i int) string { return fmt.Sprintf("2001:db8:%x::1", i) }, 1000, 100 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			th, clock := newThrottle(throttle.Config{})
			allowed, wait := guesses(th, 2000, c.addr)
			if allowed != c.allows || wait.Round(time.Millisecond) != c.refill {
				t.Errorf("%d guesses, then wait %v; want %d, then %v", allowed, wait, c.allows, c.refill)
			}
			clock.now = clock.now.Add(c.refill)
			if allowed, _ := guesses(th, 10, c.addr); allowed != 1 {
				t.Errorf("after %v %d guesses, want 1", c.refill, allowed)
			}
			clock.now = clock.now.Add(24 * time.Hour)
			if allowed, _ := guesses(th, 2000, c.addr); allowed != c.allows {
				t.Errorf("after a day %d guesses, want no more than %d", allowed, c.allows)
			}
		})
	}
}

// TestTyposDoNotLockOutOthersNearby checks an office behind one address and the customers of a
// mobile carrier.
func TestTyposDoNotLockOutOthersNearby(t *testing.T) {
	for name, addr := range map[string]func(i int) string{
		"an office":                   func(int) string { return home },
		"a carrier's /24":             func(i int) string { return fmt.Sprintf("192.0.2.%d", i%256) },
		"a carrier's networks of /64": func(i int) string { return fmt.Sprintf("2001:db8:0:%x::1", i*97) },
	} {
		th, clock := newThrottle(throttle.Config{})
		for minute := range 120 { // thirty typos a minute
			if allowed, wait := guesses(th, 30, func(i int) string { return addr(30*minute + i) }); allowed != 30 || wait != 0 {
				t.Fatalf("%s, minute %d: %d of 30 allowed, then wait %v", name, minute, allowed, wait)
			}
			th.Done("another", addr(30*minute+30), throttle.Undecided)
			clock.now = clock.now.Add(time.Minute)
		}
	}
}

func TestKnownAddressIsIndependentOfItsNeighbours(t *testing.T) {
	const office, neighbour = "2001:db8:0:aa::7", "2001:db8:0:bb::7"
	th, _ := newThrottle(throttle.Config{})
	signIn(t, th, "ada", office)
	guesses(th, 200, func(i int) string { return fmt.Sprintf("2001:db8:0:%x::1", i*256) })
	mustWait(t, th, "ada", neighbour, time.Second)
	mustWait(t, th, "", neighbour, time.Second)
	mustAllow(t, th, "ada", office)
	th.Done("ada", office, throttle.Undecided)
	allowed, wait := guesses(th, 200, func(int) string { return office })
	if allowed != 50 || wait != 2*time.Second {
		t.Errorf("%d guesses at a known address, then wait %v; want its own 50, then 2s", allowed, wait)
	}
}

func TestFailuresFromKnownAddressCountForItsPrefixes(t *testing.T) {
	th, _ := newThrottle(throttle.Config{})
	for i := range 3 {
		signIn(t, th, "ada", fmt.Sprintf("2001:db8:0:%x00::1", i))
	}
	for i := range 2 {
		guesses(th, 50, func(int) string { return fmt.Sprintf("2001:db8:0:%x00::1", i) })
	}
	mustWait(t, th, "ada", "2001:db8:0:ff00::1", time.Second)
	mustAllow(t, th, "ada", "2001:db8:0:200::1")
}

// TestKnownAddressesOfOnePrefixShareAnAllowance checks that accounts that make many addresses of a
// prefix known get no more guesses from them than one account has at its 8 addresses, sequentially
// or concurrently.
func TestKnownAddressesOfOnePrefixShareAnAllowance(t *testing.T) {
	for _, c := range []struct {
		name   string
		addr   func(i int) string
		allows int
		refill time.Duration
	}{
		{"a /56", func(i int) string { return fmt.Sprintf("2001:db8:0:%x::1", i) }, 8 * 50, 250 * time.Millisecond},
		{"a /48", func(i int) string { return fmt.Sprintf("2001:db8:0:%x::1", 256*i) }, 8 * 50, 250 * time.Millisecond},
		{"a /32", func(i int) string { return fmt.Sprintf("2001:db8:%x::1", i) }, 1000, 100 * time.Millisecond},
		{"a /24", func(i int) string { return fmt.Sprintf("192.0.2.%d", i) }, 8 * 100, 125 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			th, clock := newThrottle(throttle.Config{})
			const places = 8 * 20
			for i := range places {
				signIn(t, th, fmt.Sprint("mallory", i/8), c.addr(i))
			}
			addr := func(i int) string { return c.addr(i % places) }
			under := 0
			for i := range 5000 {
				if _, ok := th.Allow(fmt.Sprint("user", i), addr(i)); ok {
					under++
				}
			}
			if under != c.allows {
				t.Errorf("%d guesses at once, want %d", under, c.allows)
			}
			for i := range under {
				th.Done(fmt.Sprint("user", i), addr(i), throttle.Undecided)
			}
			allowed, wait := guesses(th, 5000, addr)
			if allowed != c.allows || wait.Round(time.Millisecond) != c.refill {
				t.Errorf("%d guesses, then wait %v; want %d, then %v", allowed, wait, c.allows, c.refill)
			}
			clock.now = clock.now.Add(c.refill)
			if allowed, _ := guesses(th, 10, addr); allowed != 1 {
				t.Errorf("after %v %d guesses, want 1", c.refill, allowed)
			}
		})
	}
}

// TestOneAccountDoesNotUseUpAllowanceOfKnownNeighbours uses wrong passwords at all addresses that
// an account can make known in the neighbour's prefix.
func TestOneAccountDoesNotUseUpAllowanceOfKnownNeighbours(t *testing.T) {
	for _, pattern := range []string{"2001:db8:0:%x::1", "192.0.2.%d"} {
		th, clock := newThrottle(throttle.Config{})
		addr := func(i int) string { return fmt.Sprintf(pattern, i%8) }
		for i := range 8 {
			signIn(t, th, "mallory", addr(i))
		}
		home := fmt.Sprintf(pattern, 99)
		signIn(t, th, "ada", home)
		guesses(th, 1000, addr)
		for range 120 {
			guesses(th, 20, addr)
			clock.now = clock.now.Add(time.Second)
			signIn(t, th, "ada", home)
		}
	}
}

func TestPendingTriesCountAtEachLevel(t *testing.T) {
	th, _ := newThrottle(throttle.Config{})
	addr := func(i int) string { return fmt.Sprintf("2001:db8:0:%x00::1", i) }
	for i := range 100 {
		mustAllow(t, th, fmt.Sprint("user", i), addr(i))
	}
	mustWait(t, th, "another", addr(100), time.Second)
	for i := range 100 {
		th.Done(fmt.Sprint("user", i), addr(i), throttle.Undecided)
	}
	if allowed, _ := guesses(th, 200, addr); allowed != 100 {
		t.Errorf("%d guesses after refunds, want 100", allowed)
	}
}

// TestAbandonedTryCountsForTheAddress checks that an abandoned try counts at every level of the
// address, and not for the account.
func TestAbandonedTryCountsForTheAddress(t *testing.T) {
	th, _ := newThrottle(throttle.Config{})
	addr := func(i int) string { return fmt.Sprintf("2001:db8:0:%x00::1", i) }
	for i := range 100 {
		mustAllow(t, th, "ada", addr(i))
		th.Done("ada", addr(i), throttle.Abandoned)
	}
	mustWait(t, th, "ada", addr(100), time.Second)
	for range 10 {
		mustAllow(t, th, "ada", home)
		th.Done("ada", home, throttle.Failed)
	}
	mustWait(t, th, "ada", home, time.Second)
}

// TestFloodOfNetworksDoesNotEvictLargerPrefixes checks that each level has its own entries.
func TestFloodOfNetworksDoesNotEvictLargerPrefixes(t *testing.T) {
	th, _ := newThrottle(throttle.Config{Size: 2})
	guesses(th, 200, func(i int) string { return fmt.Sprintf("2001:db8:0:%x00::1", i) })
	mustWait(t, th, "another", "2001:db8:0:ffff::1", time.Second)
}
