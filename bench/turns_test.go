package bench

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// contender is an operation of nanoseconds or microseconds that alternates with others while it is
// measured.
type contender struct {
	name string
	// calls is the number of calls in a turn: enough that a turn takes far longer than reading the
	// clock, and few enough that the turn ends before the load of the machine changes.
	calls int
	// run makes n calls, the first of which has the number from, and returns their time. It may be called
	// by several workers at once.
	run func(from, calls int) (time.Duration, error)
}

// takeTurns runs own and the others in turns, each on all of GOMAXPROCS at once. It reports own's time per
// call as ns/op, and own's time in multiples of each other's as x-name; both are medians over the turns.
// b.N counts rounds of turns. It returns the number of own's calls.
func takeTurns(b *testing.B, own contender, others ...contender) (calls int) {
	b.Helper()
	workers := runtime.GOMAXPROCS(0)
	everyone := append([]contender{own}, others...)
	order := make([]int, len(everyone))
	for i := range order {
		order[i] = i
	}
	times, all := make([]float64, len(everyone)), make([][]float64, len(everyone))
	from := 0
	for b.Loop() {
		for _, i := range order {
			c := everyone[i]
			took, err := turn(c, workers, from)
			if err != nil {
				b.Fatalf("%s: %v", c.name, err)
			}
			times[i] = float64(took) / float64(c.calls)
			from += workers * c.calls // other tokens, because the processor's cache contains the same ones
		}
		slices.Reverse(order) // because the order affects the times
		all[0] = append(all[0], times[0])
		for i := 1; i < len(times); i++ {
			all[i] = append(all[i], times[0]/times[i])
		}
	}
	b.ReportMetric(median(all[0]), "ns/op")
	for i := 1; i < len(all); i++ {
		b.ReportMetric(median(all[i]), "x-"+everyone[i].name)
	}
	return b.N * workers * own.calls
}

// turn runs one turn on each of the workers and returns the average of their times.
func turn(c contender, workers, from int) (time.Duration, error) {
	if workers == 1 {
		return c.run(from, c.calls)
	}
	var (
		ready  atomic.Int64
		failed atomic.Pointer[error]
		total  atomic.Int64
		group  sync.WaitGroup
	)
	for worker := range workers {
		group.Go(func() {
			for ready.Add(1); ready.Load() < int64(workers); {
				runtime.Gosched() // the workers must start at the same time
			}
			took, err := c.run(from+worker*c.calls, c.calls)
			if err != nil {
				failed.Store(&err)
			}
			total.Add(int64(took))
		})
	}
	group.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return time.Duration(total.Load() / int64(workers)), nil
}

// reportAllocations reports the allocations of one call. The few allocations of other goroutines in the
// meantime disappear in the rounding.
func reportAllocations(b *testing.B, call func(i int) error) {
	b.Helper()
	var before, after runtime.MemStats
	var calls uint64
	runtime.ReadMemStats(&before)
	for began := time.Now(); calls < 1000 && time.Since(began) < 50*time.Millisecond; calls++ {
		if err := call(int(calls)); err != nil {
			b.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	b.ReportAllocs() // without it the metrics are not printed
	b.ReportMetric(float64((after.Mallocs-before.Mallocs)/calls), "allocs/op")
	b.ReportMetric(float64((after.TotalAlloc-before.TotalAlloc)/calls), "B/op")
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}
