package password_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/broker/password"
)

const each = 25 * time.Millisecond

// slow returns a hasher whose hashes take the given time, for use in a synctest bubble.
func slow(concurrency, queue int, wait time.Duration) *password.Hasher {
	h := password.New(weak, concurrency, queue, wait)
	h.Slow(each)
	return h
}

// flood keeps n callers of Low priority asking again and again, at once when they are refused, until
// stop is called, which returns how many hashes they got.
func flood(t *testing.T, h *password.Hasher, n int) (stop func() int) {
	t.Helper()
	end, answers := make(chan struct{}), make([]int, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
				}
				if h.VerifyUnknown(t.Context(), password.Caller{}, "guess") == nil {
					answers[i]++
				}
				time.Sleep(10 * time.Millisecond) // the way to the server
			}
		})
	}
	return func() int {
		close(end)
		all.Wait()
		sum := 0
		for _, n := range answers {
			sum += n
		}
		return sum
	}
}

// TestHighPriorityIsServedDuringAFlood checks that users and operators are never refused, and wait
// only for the current hashes, while strangers keep their part of the queue full.
func TestHighPriorityIsServedDuringAFlood(t *testing.T) {
	for _, slots := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			h := slow(slots, 32, 2*time.Second)
			stop := flood(t, h, 100)
			time.Sleep(time.Second)
			began := time.Now()
			for i := range 50 {
				asked := time.Now()
				var err error
				if i%2 == 0 {
					err = h.VerifyUnknown(t.Context(), password.Caller{Priority: password.High}, "correct horse")
				} else {
					_, err = h.Hash(t.Context(), "correct horse")
				}
				if took := time.Since(asked); err != nil || took > 2*each {
					t.Errorf("%d slots, caller %d: %v after %v, want an answer within %v", slots, i, err, took, 2*each)
				}
			}
			took := time.Since(began)
			guesses := stop()
			if most := int(time.Since(began.Add(-time.Second))/each) * slots; guesses < (most-50)*9/10 {
				t.Errorf("%d slots: the flood got %d hashes in %v, want most of the %d that there was time for", slots, guesses, took, most-50)
			}
		})
	}
}

// TestNeitherPriorityStarves checks that Low gets a quarter of the slots if more callers of both
// priorities wait than can be served.
func TestNeitherPriorityStarves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := slow(1, 100, 0)
		release := h.Hold()
		var (
			mu    sync.Mutex
			order []password.Priority
			all   sync.WaitGroup
		)
		for range 12 {
			for _, p := range []password.Priority{password.Low, password.High} {
				all.Go(func() {
					if err := h.VerifyUnknown(t.Context(), password.Caller{Priority: p}, "guess"); err != nil {
						t.Error(err)
					}
					mu.Lock()
					defer mu.Unlock()
					order = append(order, p)
				})
			}
		}
		synctest.Wait()
		release()
		all.Wait()
		const lo, hi = password.Low, password.High
		turns := slices.Repeat([]password.Priority{hi, hi, hi, lo}, 4)
		if want := append(turns, slices.Repeat([]password.Priority{lo}, 8)...); !slices.Equal(order, want) {
			t.Errorf("served %v, want %v", order, want)
		}
	})
}

var servedMu sync.Mutex // held during each call of an ask's served

// ask makes n callers wait, each for a hash, and returns once each of them waits or has an answer.
// served is called for those that get a hash, one call at a time; the others have to get ErrBusy.
func ask(t *testing.T, h *password.Hasher, all *sync.WaitGroup, n int, c password.Caller, served func()) {
	t.Helper()
	for range n {
		all.Go(func() {
			switch err := h.VerifyUnknown(t.Context(), c, "x"); {
			case err == nil:
				servedMu.Lock()
				defer servedMu.Unlock()
				served()
			case !errors.Is(err, password.ErrBusy):
				t.Error(err)
			}
		})
		synctest.Wait() // they come in this order
	}
}

// TestEachPriorityHasReservedPlaces checks that each priority has a quarter of the places, and High
// gets the rest before Low.
func TestEachPriorityHasReservedPlaces(t *testing.T) {
	type step struct {
		p         password.Priority
		ask       int
		low, high int // wait then
	}
	const low, high = password.Low, password.High
	for _, steps := range [][]step{
		{{low, 20, 6, 0}, {high, 1, 6, 1}, {high, 20, 2, 6}, {low, 20, 2, 6}},
		{{high, 20, 0, 8}, {low, 1, 1, 7}, {low, 20, 2, 6}, {high, 20, 2, 6}},
		{{high, 5, 0, 5}, {low, 20, 3, 5}},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := slow(1, 8, 0)
			release := h.Hold()
			var all sync.WaitGroup
			for i, s := range steps {
				ask(t, h, &all, s.ask, password.Caller{Priority: s.p}, func() {})
				if low, high := h.WaitingOf(low), h.WaitingOf(high); low != s.low || high != s.high {
					t.Errorf("%+v: after step %d %d of Low and %d of High wait", steps, i, low, high)
				}
			}
			release()
			all.Wait()
			if h.Waiting() != 0 {
				t.Errorf("%d still wait", h.Waiting())
			}
		})
	}
}

// TestNetworksTakeTurns checks that a network that fills the queue, once or repeatedly, delays only
// its own callers. Callers of other networks are served in their turn, and are not refused because
// the queue is full.
func TestNetworksTakeTurns(t *testing.T) {
	const noisy = "2001:db8:1:1::1"
	for _, c := range []struct {
		name   string
		addr   string
		served int // among how many of the first slots its two callers are
	}{
		{"another /48", "2001:db8:2::1", 4},
		{"another /64 of the /48", "2001:db8:1:2::1", 4},
		{"an IPv4 address", "192.0.2.1", 4},
		{"no address", "", 4},
		{"the same /64", "2001:db8:1:1::2", 16},
	} {
		for _, p := range []password.Priority{password.Low, password.High} {
			t.Run(c.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := slow(1, 20, 0)
					release := h.Hold()
					var (
						all   sync.WaitGroup
						order []string // one hash at a time
					)
					from := func(addr string, n int) {
						ask(t, h, &all, n, password.Caller{Priority: p, Addr: addr}, func() { order = append(order, addr) })
					}
					from(noisy, 13)
					from(c.addr, 2)
					from(noisy, 100)
					release()
					all.Wait()
					last := -1
					for i, addr := range order {
						if addr == c.addr {
							last = i
						}
					}
					if n := slices.Index(order, c.addr); n < 0 || last == n || last >= c.served {
						t.Errorf("served in the order %q, want both callers of %q among the first %d", order, c.addr, c.served)
					}
					if h.Waiting() != 0 {
						t.Errorf("%d still wait", h.Waiting())
					}
				})
			})
		}
	}
}

// TestNetworksOfOneSiteShareItsTurn checks that a /48 with a caller in each of many /64 networks,
// and a /24 with a caller at each address, get no more turns than a single caller in another
// network, and lose their places first.
func TestNetworksOfOneSiteShareItsTurn(t *testing.T) {
	for _, pattern := range []string{"2001:db8:1:%x::1", "192.0.2.%d"} {
		synctest.Test(t, func(t *testing.T) {
			h := slow(1, 20, 0)
			release := h.Hold()
			var (
				all   sync.WaitGroup
				order []string
			)
			for i := range 200 {
				ask(t, h, &all, 1, password.Caller{Addr: fmt.Sprintf(pattern, i)}, func() { order = append(order, "site") })
			}
			ask(t, h, &all, 2, password.Caller{Addr: "2001:db8:2::1"}, func() { order = append(order, "user") })
			release()
			all.Wait()
			if want := append([]string{"site", "user", "site", "user"}, slices.Repeat([]string{"site"}, 11)...); !slices.Equal(order, want) {
				t.Errorf("%s: served %q, want %q", pattern, order, want)
			}
		})
	}
}

// TestWaiterDoesNotLoseItsPlaceToAnEqualNetwork checks that a queue with a caller of each network
// is full for another network.
func TestWaiterDoesNotLoseItsPlaceToAnEqualNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := slow(1, 4, 0)
		release := h.Hold()
		var (
			all   sync.WaitGroup
			order []int
		)
		for i := range 5 {
			ask(t, h, &all, 1, password.Caller{Addr: fmt.Sprintf("192.0.%d.1", i)}, func() { order = append(order, i) })
		}
		release()
		all.Wait()
		if want := []int{0, 1, 2}; !slices.Equal(order, want) {
			t.Errorf("served %v, want %v", order, want)
		}
	})
}

// TestSlotsAreNotLost checks that slots are not lost when callers leave, time out and are served at
// the same moments.
func TestSlotsAreNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := slow(2, 40, each) // late just when a slot becomes free
		stop := flood(t, h, 100)
		time.Sleep(5 * time.Second)
		stop()
		if h.Waiting() != 0 {
			t.Errorf("%d still wait", h.Waiting())
		}
		defer h.Hold()()
		defer h.Hold()()
		if err := h.VerifyUnknown(t.Context(), password.Caller{Priority: password.High}, "x"); !errors.Is(err, password.ErrBusy) {
			t.Errorf("with both slots held: %v, want ErrBusy: there are two", err)
		}
	})
}
