package throttle_test

import (
	"fmt"
	"testing"
	"time"

	"tokenbroker/broker/throttle"
)

const away = "198.51.100.7"

// signIn makes addr a place where the account is known.
func signIn(t *testing.T, th *throttle.Throttle, account, addr string) {
	t.Helper()
	mustAllow(t, th, account, addr)
	th.Succeeded(account, addr)
}

// TestAGuesserCannotLockTheOwnerOut who signed in before: for a day one address takes every
// turn there is, and the owner, from another, is never refused.
func TestAGuesserCannotLockTheOwnerOut(t *testing.T) {
	th, clock := newThrottle(throttle.Config{})
	signIn(t, th, "ada", home)
	guesses := 0
	for range 24 * 60 * 60 {
		clock.now = clock.now.Add(time.Second)
		if _, ok := th.Allow("ada", away); ok {
			th.Failed("ada", away)
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
		t.Errorf("%d guesses, want no more than %d, nor far fewer", guesses, most)
	}
	if _, ok := th.Allow("ada", "203.0.113.5"); ok {
		t.Error("an owner somewhere new is let in while every turn is taken")
	}
}

func TestAKnownPlaceHasAnAllowanceOfItsOwn(t *testing.T) {
	th, clock := newThrottle(throttle.Config{})
	signIn(t, th, "ada", home)
	for range 10 {
		mustAllow(t, th, "ada", home)
		th.Failed("ada", home)
	}
	mustWait(t, th, "ada", home, time.Second)
	mustAllow(t, th, "ada", away) // those at home are not the account's
	th.Refund("ada", away)
	mustAllow(t, th, "eve", home) // nor another account's
	th.Refund("eve", home)
	clock.now = clock.now.Add(time.Second)
	mustAllow(t, th, "ada", home)
	th.Failed("ada", home)
	mustWait(t, th, "ada", home, 2*time.Second)
	clock.now = clock.now.Add(2 * time.Second)
	signIn(t, th, "ada", home) // forgets them
	mustAllow(t, th, "ada", home)
	th.Failed("ada", home)
	clock.now = clock.now.Add(time.Hour) // forgotten in time
	for range 9 {
		mustAllow(t, th, "ada", home)
		th.Failed("ada", home)
	}
	mustAllow(t, th, "ada", home)
}

// TestASuccessInAKnownPlaceBuysAGuesserNothing: it does not forget the account's failures.
func TestASuccessInAKnownPlaceBuysAGuesserNothing(t *testing.T) {
	th, _ := newThrottle(throttle.Config{})
	signIn(t, th, "ada", home)
	fail(th, "ada", 11)
	signIn(t, th, "ada", home)
	mustWait(t, th, "ada", away, 2*time.Second)
}

func TestAPlaceIsKnownForAWhile(t *testing.T) {
	th, clock := newThrottle(throttle.Config{})
	signIn(t, th, "ada", home)
	clock.now = clock.now.Add(30*24*time.Hour - time.Minute)
	fail(th, "ada", 11)
	mustAllow(t, th, "ada", home)
	th.Refund("ada", home)
	clock.now = clock.now.Add(time.Minute)
	fail(th, "ada", 1)
	mustWait(t, th, "ada", home, 4*time.Second)
}

func TestAnAccountIsKnownAtEightPlaces(t *testing.T) {
	th, _ := newThrottle(throttle.Config{})
	for i := range 9 {
		signIn(t, th, "ada", fmt.Sprintf("192.0.2.%d", i))
	}
	fail(th, "ada", 11)
	mustWait(t, th, "ada", "192.0.2.0", 2*time.Second)
	for i := 1; i < 9; i++ {
		mustAllow(t, th, "ada", fmt.Sprintf("192.0.2.%d", i))
	}
}

func TestWhatIsNoAddressIsNoPlace(t *testing.T) {
	th, _ := newThrottle(throttle.Config{})
	signIn(t, th, "ada", "")
	fail(th, "ada", 11)
	mustWait(t, th, "ada", "", 2*time.Second)
}

// TestAPlaceThatBecomesKnownMeanwhile: what was charged before is taken back all the same.
func TestAPlaceThatBecomesKnownMeanwhile(t *testing.T) {
	th, clock := newThrottle(throttle.Config{Account: throttle.Account{Free: 2}})
	mustAllow(t, th, "ada", home)
	mustAllow(t, th, "ada", home)
	th.Succeeded("ada", home)
	mustAllow(t, th, "ada", home) // known now: two under way, one for each payer
	th.Refund("ada", home)
	th.Refund("ada", home)
	for range 2 { // nothing is left of them, neither in that place nor elsewhere
		mustAllow(t, th, "ada", home)
		mustAllow(t, th, "ada", away)
	}
	mustWait(t, th, "ada", home, time.Second)
	mustWait(t, th, "ada", away, time.Second)
	clock.now = clock.now.Add(31 * 24 * time.Hour) // known no longer
	th.Failed("ada", home)
	th.Failed("ada", away)
	th.Failed("ada", home)
	th.Failed("ada", away)
	mustWait(t, th, "ada", home, 4*time.Second)
}

// TestNoAccount pays from the address's bucket alone, and pushes no account out.
func TestNoAccount(t *testing.T) {
	th, clock := newThrottle(throttle.Config{Size: 2, Address: throttle.Address{Burst: 50}})
	fail(th, "ada", 11)
	for range 49 {
		mustAllow(t, th, "", home)
		th.Failed("", home)
	}
	mustAllow(t, th, "", home)
	mustWait(t, th, "", home, time.Second) // one is under way
	th.Succeeded("", home)
	mustAllow(t, th, "", home)
	th.Refund("", home)
	mustAllow(t, th, "", home)
	th.Failed("", home)
	mustWait(t, th, "", home, time.Second)
	mustWait(t, th, "eve", home, time.Second)
	mustAllow(t, th, "", away)
	mustWait(t, th, "ada", away, 2*time.Second)
	clock.now = clock.now.Add(time.Second)
	mustAllow(t, th, "", home)
}
