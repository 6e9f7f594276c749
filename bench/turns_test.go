package bench

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// contender is work of nanoseconds or microseconds that takes turns with others.
type contender struct {
	name string
	// calls is how many make a turn: so many that a turn is far longer than reading the
	// clock, and over before the machine does something else.
	calls int
	// run makes so many calls, the first of them number from, and returns their time. More
	// than one worker may do so at once.
	run func(from, calls int) (time.Duration, error)
}

// takeTurns lets own and the others run by turns, each on all of GOMAXPROCS at once. It
// reports own's time for a call as ns/op, and as x-name own's time in multiples of each
// other's: medians over the turns. b.N counts rounds of turns. It returns own's calls.
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
			from += workers * c.calls // not the same tokens: they would be in the processor's cache
		}
		slices.Reverse(order) // who comes after whom matters
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

// turn lets so many workers make one turn each, and returns the average of their times.
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
				runtime.Gosched() // all of them run at once, otherwise it is not a turn
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

// reportAllocations reports what one call allocates: what little others allocate in the meantime
// is lost in the rounding.
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
	b.ReportAllocs() // or what is reported is not shown
	b.ReportMetric(float64((after.Mallocs-before.Mallocs)/calls), "allocs/op")
	b.ReportMetric(float64((after.TotalAlloc-before.TotalAlloc)/calls), "B/op")
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}
