package throttle_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"tokenbroker/broker/throttle"
)

const away = "198.51.100.7"

// signIn makes addr a known address of the account.
func signIn(t *testing.T, th *throttle.Throttle, account, addr string) {
	t.Helper()
	mustAllow(t, th, account, addr)
	th.Done(account, addr, throttle.Succeeded)
}

// TestGuesserCannotLockOutTheOwner checks that an owner who signed in before is never refused while
// another address uses every possible attempt for a day.
func TestGuesserCannotLockOutTheOwner(t *testing.T) {
	th, clock := newThrottle(throttle.Config{})
	signIn(t, th, "ada", home)
	guesses := 0
	for range 24 * 60 * 60 {
		clock.now = clock.now.Add(time.Second)
		if _, ok := th.Allow("ada", away); ok {
			th.Done("ada", away, throttle.Failed)
			guesses++
		}
		if clock.now.Second()%7 == 0 {
			signIn(t, th, "ada", home)
		}
		if t.Failed() {
			t.Fatalf("at %s", clock.now)
		}
	}
	if most := 24*60 + throttle.DefaultFree + 10; guesses > most || guesses < most-60 {
		t.Errorf("%d guesses, want at most %d and not far fewer", guesses, most)
	}
	if _, ok := th.Allow("ada", "203.0.113.5"); ok {
		t.Error("an owner at a new address is allowed while every attempt is used")
	}
}

func TestKnownAddressHasASeparateAllowance(t *testing.T) {
	th, clock := newThrottle(throttle.Config{})
	signIn(t, th, "ada", home)
	for range 10 {
		mustAllow(t, th, "ada", home)
		th.Done("ada", home, throttle.Failed)
	}
	mustWait(t, th, "ada", home, time.Second)
	mustAllow(t, th, "ada", away) // failures at home do not count for the account elsewhere
	th.Done("ada", away, throttle.Undecided)
	mustAllow(t, th, "eve", home) // nor for another account
	th.Done("eve", home, throttle.Undecided)
	clock.now = clock.now.Add(time.Second)
	mustAllow(t, th, "ada", home)
	th.Done("ada", home, throttle.Failed)
	mustWait(t, th, "ada", home, 2*time.Second)
	clock.now = clock.now.Add(2 * time.Second)
	signIn(t, th, "ada", home) // forgets them
	mustAllow(t, th, "ada", home)
	th.Done("ada", home, throttle.Failed)
	clock.now = clock.now.Add(time.Hour) // forgotten in time
	for range 9 {
		mustAllow(t, th, "ada", home)
		th.Done("ada", home, throttle.Failed)
	}
	mustAllow(t, th, "ada", home)
}

// TestSuccessFromKnownAddressDoesNotHelpAGuesser checks that it does not forget the account's
// failures from elsewhere.
func TestSuccessFromKnownAddressDoesNotHelpAGuesser(t *testing.T) {
	th, _ := newThrottle(throttle.Config{})
	signIn(t, th, "ada", home)
	fail(th, "ada", 11)
	signIn(t, th, "ada", home)
	mustWait(t, th, "ada", away, 2*time.Second)
}

func TestAddressIsKnownForALimitedTime(t *testing.T) {
	th, clock := newThrottle(throttle.Config{})
	signIn(t, th, "ada", home)
	clock.now = clock.now.Add(30*24*time.Hour - time.Minute)
	fail(th, "ada", 11)
	mustAllow(t, th, "ada", home)
	th.Done("ada", home, throttle.Undecided)
	clock.now = clock.now.Add(time.Minute)
	fail(th, "ada", 1)
	mustWait(t, th, "ada", home, 4*time.Second)
}

// TestAccountHasEightKnownAddresses also checks that one valid account cannot make an unlimited
// number of addresses known.
func TestAccountHasEightKnownAddresses(t *testing.T) {
	th, clock := newThrottle(throttle.Config{})
	addr := func(i int) string { return fmt.Sprintf("192.0.2.%d", i) }
	wantKnown := func(want ...int) {
		t.Helper()
		var known []int
		for i := range 12 {
			if th.Known(addr(i)) {
				known = append(known, i)
			}
		}
		if !slices.Equal(known, want) {
			t.Errorf("known: %v, want %v", known, want)
		}
	}
	for i := range 10 {
		signIn(t, th, "ada", addr(i))
	}
	wantKnown(0, 1, 2, 3, 4, 5, 6, 7)
	signIn(t, th, "eve", addr(0))
	signIn(t, th, "eve", addr(8)) // another account has its own known addresses
	clock.now = clock.now.Add(24*time.Hour - 1)
	signIn(t, th, "ada", addr(9))
	signIn(t, th, "ada", addr(1)) // used again
	wantKnown(0, 1, 2, 3, 4, 5, 6, 7, 8)
	clock.now = clock.now.Add(1)
	signIn(t, th, "ada", addr(9)) // in the place of 0, which eve still has
	signIn(t, th, "ada", addr(10))
	wantKnown(0, 1, 3, 4, 5, 6, 7, 8, 9, 10)
	for i := 2; i < 8; i++ {
		signIn(t, th, "ada", addr(11))
		signIn(t, th, "ada", fmt.Sprintf("203.0.113.%d", i))
	}
	wantKnown(0, 1, 8, 9, 10, 11)
}

// TestKnownAddressesAreBounded by the number of accounts with known addresses.
func TestKnownAddressesAreBounded(t *testing.T) {
	th, _ := newThrottle(throttle.Config{Size: 2})
	signIn(t, th, "ada", home)
	signIn(t, th, "eve", home)
	signIn(t, th, "bob", away) // ada is the account that signed in longest ago
	if !th.Known(home) || !th.Known(away) {
		t.Error("an address of an account that is remembered is not known")
	}
	signIn(t, th, "joe", away)
	if th.Known(home) || !th.Known(away) {
		t.Error("an address is known though both of its accounts are forgotten, or one is not though none is")
	}
}

// TestAnswersDoNotRevealWhichAccountsExist checks that the same guesses for an existing account,
// whose owner signs in, and for a name that does not exist get the same answers, in any order of
// known and other addresses.
func TestAnswersDoNotRevealWhichAccountsExist(t *testing.T) {
	for seed := range uint64(200) {
		var waits [2][]time.Duration
		for i, name := range []string{"ada", "nobody"} {
			th, clock := newThrottle(throttle.Config{})
			signIn(t, th, "ada", home)
			random := rand.New(rand.NewPCG(seed, 0))
			favourite := random.IntN(3)
			for range 120 {
				from := [3]string{home, away, "203.0.113.9"}
				addr := from[random.IntN(3)]
				if random.IntN(2) == 0 {
					addr = from[favourite]
				}
				wait, ok := th.Allow(name, addr)
				waits[i] = append(waits[i], wait)
				if ok {
					th.Done(name, addr, throttle.Failed)
				}
				clock.now = clock.now.Add(time.Duration(random.IntN(1500)) * time.Millisecond)
				if random.IntN(20) == 0 { // the owner is at a new address, and an attempt may be available
					if _, ok := th.Allow("ada", "198.51.100.200"); ok {
						th.Done("ada", "198.51.100.200", throttle.Succeeded)
					}
				}
			}
		}
		if !slices.Equal(waits[0], waits[1]) {
			t.Fatalf("seed %d: guesses at an account wait\n%v\nand at a name that does not exist\n%v", seed, waits[0], waits[1])
		}
	}
}

// TestFailuresFromASharedAddressDoNotRevealAccounts uses all free failures at the shared address,
// then makes one try from another one, and the reverse.
func TestFailuresFromASharedAddressDoNotRevealAccounts(t *testing.T) {
	for _, order := range [][2]string{{home, away}, {away, home}} {
		th, _ := newThrottle(throttle.Config{})
		signIn(t, th, "ada", home)
		for _, name := range []string{"ada", "nobody"} {
			for range 10 {
				mustAllow(t, th, name, order[0])
				th.Done(name, order[0], throttle.Failed)
			}
			mustWait(t, th, name, order[0], time.Second)
			mustAllow(t, th, name, order[1])
			th.Done(name, order[1], throttle.Failed)
		}
	}
}

func TestInvalidAddressIsNeverKnown(t *testing.T) {
	th, _ := newThrottle(throttle.Config{})
	signIn(t, th, "ada", "")
	fail(th, "ada", 11)
	mustWait(t, th, "ada", "", 2*time.Second)
}

// TestAddressThatBecomesKnownDuringATry checks that the charge of an earlier Allow is reverted.
func TestAddressThatBecomesKnownDuringATry(t *testing.T) {
	th, clock := newThrottle(throttle.Config{Account: throttle.Account{Free: 2}})
	mustAllow(t, th, "ada", home)
	mustAllow(t, th, "ada", home)
	th.Done("ada", home, throttle.Succeeded)
	mustAllow(t, th, "ada", home) // known now: two pending tries, one charged as known and one as unknown
	th.Done("ada", home, throttle.Undecided)
	th.Done("ada", home, throttle.Undecided)
	for range 2 { // no charge is left, neither at that address nor elsewhere
		mustAllow(t, th, "ada", home)
		mustAllow(t, th, "ada", away)
	}
	mustWait(t, th, "ada", home, time.Second)
	mustWait(t, th, "ada", away, time.Second)
	clock.now = clock.now.Add(31 * 24 * time.Hour) // known no longer
	th.Done("ada", home, throttle.Failed)
	th.Done("ada", away, throttle.Failed)
	th.Done("ada", home, throttle.Failed)
	th.Done("ada", away, throttle.Failed)
	mustWait(t, th, "ada", home, 4*time.Second)
}

// TestEndedTriesLeaveNoCharge checks all levels, also for addresses that become known or unknown
// during a try.
func TestEndedTriesLeaveNoCharge(t *testing.T) {
	th, clock := newThrottle(throttle.Config{})
	mustAllow(t, th, "", home)
	mustAllow(t, th, "ada", home)
	mustAllow(t, th, "eve", home)
	th.Done("ada", home, throttle.Succeeded)
	mustAllow(t, th, "ada", home) // as a known address
	mustAllow(t, th, "", home)
	mustAllow(t, th, "bob", home)
	th.Done("", home, throttle.Undecided)
	clock.now = clock.now.Add(31 * 24 * time.Hour) // known no longer
	mustAllow(t, th, "joe", home)
	th.Done("joe", home, throttle.Abandoned)
	th.Done("eve", home, throttle.Failed)
	th.Done("bob", home, throttle.Undecided)
	th.Done("ada", home, throttle.Undecided)
	th.Done("", home, throttle.Undecided)
	if n := th.UnderWay(); n != 0 {
		t.Errorf("%d charges are left, want none", n)
	}
}

// TestEmptyNameIsNotAnAccount checks that tries without a name are charged only to the address's
// bucket, and evict no account.
func TestEmptyNameIsNotAnAccount(t *testing.T) {
	th, clock := newThrottle(throttle.Config{Size: 2, IPv4: burst(50, time.Second)})
	fail(th, "ada", 11)
	for range 49 {
		mustAllow(t, th, "", home)
		th.Done("", home, throttle.Failed)
	}
	mustAllow(t, th, "", home)
	mustWait(t, th, "", home, time.Second) // one try is pending
	th.Done("", home, throttle.Succeeded)
	mustAllow(t, th, "", home)
	th.Done("", home, throttle.Undecided)
	mustAllow(t, th, "", home)
	th.Done("", home, throttle.Failed)
	mustWait(t, th, "", home, time.Second)
	mustWait(t, th, "eve", home, time.Second)
	mustAllow(t, th, "", away)
	mustWait(t, th, "ada", away, 2*time.Second)
	clock.now = clock.now.Add(time.Second)
	mustAllow(t, th, "", home)
}
