package load_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/bench/load"
)

// server responds in a millisecond, except for one stall: from stallAt on it does not respond for
// stall. It uses the time of the test's bubble.
type server struct {
	began          time.Time
	stallAt, stall time.Duration
}

func (s *server) serve(context.Context, int) error {
	const usual = time.Millisecond
	now := time.Since(s.began)
	if now >= s.stallAt && now < s.stallAt+s.stall {
		time.Sleep(s.stallAt + s.stall - now)
	}
	time.Sleep(usual)
	return nil
}

// TestOpenLoopShowsAStall checks that an open loop measures a stall: of 10 s at 100 requests per
// second, with a stall of 1 s, a tenth of the requests arrive during the stall and wait up to 1 s.
func TestOpenLoopShowsAStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{began: time.Now(), stallAt: 5 * time.Second, stall: time.Second}
		// One worker is a client that waits for each response before it sends the next request.
		got := load.Open{Rate: 100, Workers: 1, Duration: 10 * time.Second, Sleep: time.Sleep}.Run(t.Context(), s.serve)
		if got.Latency.Count() != 1000 || got.Failed+got.Dropped+got.Abandoned != 0 {
			t.Fatalf("%d requests, %d failed, %d dropped, %d abandoned: want 1000 requests and no errors",
				got.Latency.Count(), got.Failed, got.Dropped, got.Abandoned)
		}
		if p99 := got.Latency.Quantile(0.99); p99 < 900*time.Millisecond || p99 > 1100*time.Millisecond {
			t.Errorf("p99 %v does not include the stall of 1 s", p99)
		}
		if p50 := got.Latency.Quantile(0.5); p50 > 2*time.Millisecond {
			t.Errorf("p50 %v, but the server responds in 1 ms", p50)
		}
		if p99 := got.Service.Quantile(0.99); p99 > 2*time.Millisecond {
			t.Errorf("p99 of the service time is %v, although only one request was in service during the stall", p99)
		}
	})
}

// TestClosedLoopMeasuresSomething checks that there is a result even if a request takes longer than
// warm-up and measurement.
func TestClosedLoopMeasuresSomething(t *testing.T) {
	for _, failure := range []error{nil, errors.New("refused")} {
		synctest.Test(t, func(t *testing.T) {
			got := load.Closed{Workers: 2, Warmup: time.Second, Duration: time.Second}.Run(t.Context(), func(context.Context, int) error {
				time.Sleep(time.Minute)
				return failure
			})
			if answered := got.Latency.Count(); answered+int64(got.Failed) != 2 || (got.Failed > 0) != (failure != nil) {
				t.Errorf("%d succeeded, %d failed, want one from each worker", answered, got.Failed)
			}
			if got.Rate() != 0 || got.Took != time.Second {
				t.Errorf("%v per second in %v, want 0: no response arrived in time", got.Rate(), got.Took)
			}
		})
	}
}

// TestClosedLoopHidesAStall shows why [Open] is needed.
func TestClosedLoopHidesAStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{began: time.Now(), stallAt: 5 * time.Second, stall: time.Second}
		got := load.Closed{Workers: 1, Duration: 10 * time.Second}.Run(t.Context(), s.serve)
		if p99 := got.Latency.Quantile(0.99); p99 > 2*time.Millisecond {
			t.Errorf("p99 %v", p99)
		}
		if longest := got.Latency.Max(); longest < 990*time.Millisecond {
			t.Errorf("max %v: the stall was not measured", longest)
		}
		if rate := got.Rate(); rate < 890 || rate > 910 {
			t.Errorf("%.0f responses per second: want 9,000 in 10 s", rate)
		}
	})
}

func TestOpenLoopKeepsItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var mu sync.Mutex
		var arrivals []time.Duration
		got := load.Open{Rate: 300, Workers: 8, Warmup: time.Second, Duration: 2 * time.Second, Sleep: time.Sleep}.Run(t.Context(),
			func(context.Context, int) error {
				mu.Lock()
				defer mu.Unlock()
				arrivals = append(arrivals, time.Since(began))
				return nil
			})
		if len(arrivals) != 900 {
			t.Fatalf("%d arrivals in 3 s at 300 per second", len(arrivals))
		}
		for i, at := range arrivals {
			meant := time.Duration(float64(i) / 300 * float64(time.Second))
			if at < meant || at > meant+time.Microsecond {
				t.Fatalf("arrival %d is at %v, want %v", i, at, meant)
			}
		}
		if got.Latency.Count() != 600 {
			t.Errorf("%d measured: the first second is the warm-up", got.Latency.Count())
		}
		if got.Rate() != 300 || got.Offered != 300 || got.Took != 2*time.Second {
			t.Errorf("rate %.1f of %.1f in %v", got.Rate(), got.Offered, got.Took)
		}
	})
}

// TestOpenLoopCountsRequestsThatItDoesNotSend checks that dropped and abandoned requests are counted.
func TestOpenLoopCountsRequestsThatItDoesNotSend(t *testing.T) {
	slow := func(context.Context, int) error { time.Sleep(time.Second); return nil }
	for _, c := range []struct {
		name               string
		backlog            int
		dropped, abandoned uint64
		answered           int64
	}{
		// 100 requests arrive in 1 s and the server responds to one per second: two are sent before
		// the end of the drain.
		{"room for all", 1000, 0, 98, 2},
		{"room for ten", 10, 89, 9, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got := load.Open{
					Rate: 100, Workers: 1, Backlog: c.backlog, Duration: time.Second, Drain: 500 * time.Millisecond, Sleep: time.Sleep,
				}.Run(t.Context(), slow)
				if got.Dropped != c.dropped || got.Abandoned != c.abandoned || got.Service.Count() != c.answered {
					t.Errorf("%d dropped, %d abandoned, %d answered; want %d, %d, %d",
						got.Dropped, got.Abandoned, got.Service.Count(), c.dropped, c.abandoned, c.answered)
				}
				if p50 := got.Latency.Quantile(0.5); p50 < 500*time.Millisecond {
					t.Errorf("p50 %v: the waiting time of abandoned requests is missing", p50)
				}
			})
		})
	}
}

func TestLoopsEndWithTheirContext(t *testing.T) {
	type loop interface {
		Run(ctx context.Context, work load.Work) *load.Result
	}
	for name, run := range map[string]loop{
		"closed": load.Closed{Workers: 4, Duration: time.Minute},
		"open":   load.Open{Rate: 50, Workers: 4, Duration: time.Minute, Sleep: time.Sleep},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				began := time.Now()
				got := run.Run(ctx, func(ctx context.Context, _ int) error {
					select {
					case <-time.After(100 * time.Millisecond):
						return nil
					case <-ctx.Done():
						return ctx.Err()
					}
				})
				if took := time.Since(began); took > 11*time.Second {
					t.Errorf("ended %v after the start", took)
				}
				if !got.Interrupted || got.Took < 9*time.Second || got.Took > 11*time.Second {
					t.Errorf("interrupted %v after %v", got.Interrupted, got.Took)
				}
				if got.Failed != 0 || got.Latency.Count() == 0 {
					t.Errorf("%d failed, %d answered: a request that the end cancelled is not a failure", got.Failed, got.Latency.Count())
				}
			})
		})
	}
}

func TestFailuresAreCountedAndNotTimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		got := load.Open{Rate: 10, Workers: 1, Duration: time.Second, Sleep: time.Sleep}.Run(t.Context(), func(context.Context, int) error {
			calls++
			if calls%2 == 0 {
				return errors.New("no")
			}
			return nil
		})
		if got.Failed != 5 || got.Latency.Count() != 5 || got.FirstError == nil || got.Rate() != 5 {
			t.Errorf("%d failed (%v), %d timed, %.0f per second", got.Failed, got.FirstError, got.Latency.Count(), got.Rate())
		}
	})
}
