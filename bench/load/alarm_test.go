package load_test

import (
	"context"
	"testing"
	"time"

	"tokenbroker/bench/load"
)

// TestOpenLoopByTheMachinesClock checks that the default timer of the machine wakes an open loop at
// its rate, and never too early.
func TestOpenLoopByTheMachinesClock(t *testing.T) {
	const rate = 200
	got := load.Open{Rate: rate, Workers: 4, Duration: 250 * time.Millisecond}.Run(t.Context(), func(context.Context, int) error { return nil })
	if n := got.Latency.Count() + int64(got.Abandoned); n != rate/4 || got.Dropped > 0 {
		t.Errorf("%d arrivals in a quarter of a second at %d a second, %d dropped", n, rate, got.Dropped)
	}
}

func BenchmarkAlarm(b *testing.B) {
	result := load.NewResult()
	for b.Loop() {
		result.Merge(load.Open{Rate: 1000, Workers: 1, Duration: 100 * time.Millisecond}.Run(b.Context(), func(context.Context, int) error { return nil }))
	}
	b.ReportMetric(float64(result.Lag.Quantile(0.5).Microseconds()), "lag-p50-µs")
	b.ReportMetric(float64(result.Lag.Quantile(0.99).Microseconds()), "lag-p99-µs")
}
