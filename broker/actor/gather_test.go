package actor_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/broker/actor"
)

// slow is a handler that takes 3 ms for each batch. It records the size of each batch and the time
// of its start.
type slow struct {
	start time.Time
	began []time.Duration
	sizes []int
}

func (s *slow) handler() actor.Handler[int, int] {
	s.start = time.Now()
	return func(_ context.Context, batch []int) []actor.Result[int] {
		s.began, s.sizes = append(s.began, time.Since(s.start)), append(s.sizes, len(batch))
		time.Sleep(3 * time.Millisecond)
		return make([]actor.Result[int], len(batch))
	}
}

// TestBatchesGatherMessages runs scripts of the times, in µs, at which messages arrive, with a
// handler that takes 3 ms.
func TestBatchesGatherMessages(t *testing.T) {
	for name, tt := range map[string]struct {
		limit time.Duration
		asks  []int
		began []int
		sizes []int
	}{
		"single messages are not delayed": {
			limit: time.Hour, asks: []int{0, 3500, 9000}, began: []int{0, 3500, 9000}, sizes: []int{1, 1, 1},
		},
		"without a limit batches do not wait": {
			asks: []int{0, 100, 6100}, began: []int{0, 3000, 6100}, sizes: []int{1, 1, 1},
		},
		"a batch waits for the caller that was just answered": { // with one message in the batch and one waiting
			limit: time.Hour, asks: []int{0, 100, 3400}, began: []int{0, 3400}, sizes: []int{1, 2},
		},
		"a batch waits for all callers of the last batch": {
			limit: time.Hour, asks: []int{0, 100, 3400, 6500, 7100}, began: []int{0, 3400, 7100}, sizes: []int{1, 2, 2},
		},
		"a batch waits at most a third of the time of the last batch": {
			limit: time.Hour, asks: []int{0, 100, 4500}, began: []int{0, 4000, 8000}, sizes: []int{1, 1, 1},
		},
		"a batch waits at most the limit": {
			limit: 300 * time.Microsecond, asks: []int{0, 100, 4500}, began: []int{0, 3300, 6600}, sizes: []int{1, 1, 1},
		},
		"a single message long after the last batch is not delayed": {
			limit: time.Hour, asks: []int{0, 100, 200, 10100}, began: []int{0, 4000, 10100}, sizes: []int{1, 2, 1},
		},
		"a message without companions does not delay the next": {
			limit: time.Hour, asks: []int{0, 100, 9000}, began: []int{0, 4000, 9000}, sizes: []int{1, 1, 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var s slow
				a := start(t, actor.Config[int, int]{New: s.handler, Gather: tt.limit})
				synctest.Wait() // the handler is made
				for _, at := range tt.asks {
					time.Sleep(time.Until(s.start.Add(time.Duration(at) * time.Microsecond)))
					ask(t.Context(), a, 1)
					synctest.Wait()
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				began := make([]int, len(s.began))
				for i, d := range s.began {
					began[i] = int(d.Microseconds())
				}
				if !slices.Equal(began, tt.began) || !slices.Equal(s.sizes, tt.sizes) {
					t.Errorf("batches of %v at %v µs, want %v at %v", s.sizes, began, tt.sizes, tt.began)
				}
			})
		})
	}
}

// TestStopEndsGathering checks that accepted messages are answered at once when the actor is
// stopped.
func TestStopEndsGathering(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGated()
		a := start(t, actor.Config[int, int]{New: g.handler, Gather: time.Hour})
		ask(t.Context(), a, 1)
		synctest.Wait()
		ask(t.Context(), a, 2)
		time.Sleep(time.Minute) // the batch takes a minute, so the next may wait as long
		close(g.gate)
		synctest.Wait()
		began := time.Now()
		if err := a.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("Stop took %v", took)
		}
		if s := a.Stats(); s.Messages != 2 {
			t.Errorf("Stats = %+v", s)
		}
	})
}
