package password_test

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/broker/password"
)

const each = 25 * time.Millisecond

// slow is a hasher of which each hash takes a while, for use in a bubble of synctest.
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
				if h.VerifyUnknown(t.Context(), password.Low, "guess") == nil {
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

// TestHighPriorityIsServedDuringAFlood: with strangers who fill their part of the queue all the time, users
// and operators are never refused, and wait for no more than the hashes under way.
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
					err = h.VerifyUnknown(t.Context(), password.High, "correct horse")
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

// TestNeitherClassStarves: when more of both wait than can be served, Low gets a quarter.
func TestNeitherClassStarves(t *testing.T) {
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
					if err := h.VerifyUnknown(t.Context(), p, "guess"); err != nil {
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

// TestLowCannotTakeAllPlaces to wait in; High can.
func TestLowCannotTakeAllPlaces(t *testing.T) {
	for _, c := range []struct {
		first          password.Priority
		take, low, all int // of the first class, then how many Low and of both have a place
	}{
		{password.Low, 20, 6, 8},
		{password.High, 20, 0, 8},
		{password.High, 5, 3, 8},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := slow(1, 8, 0)
			release := h.Hold()
			var all sync.WaitGroup
			ask := func(p password.Priority, n int) int {
				before := h.Waiting()
				for range n {
					all.Go(func() {
						if err := h.VerifyUnknown(t.Context(), p, "x"); err != nil && !errors.Is(err, password.ErrBusy) {
							t.Error(err)
						}
					})
				}
				synctest.Wait()
				return h.Waiting() - before
			}
			low := 0
			if got := ask(c.first, c.take); c.first == password.Low {
				low = got
			}
			low += ask(password.Low, 20)
			ask(password.High, 20)
			if low != c.low || h.Waiting() != c.all {
				t.Errorf("%d of class %d first: %d Low of %d wait, want %d of %d", c.take, c.first, low, h.Waiting(), c.low, c.all)
			}
			release()
			all.Wait()
			if h.Waiting() != 0 {
				t.Errorf("%d still wait", h.Waiting())
			}
		})
	}
}

// TestASlotIsNotLost when callers leave, are late and are served at the same moments.
func TestASlotIsNotLost(t *testing.T) {
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
		if err := h.VerifyUnknown(t.Context(), password.High, "x"); !errors.Is(err, password.ErrBusy) {
			t.Errorf("with both slots held: %v, want ErrBusy: there are two", err)
		}
	})
}
