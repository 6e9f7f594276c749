package load_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"tokenbroker/bench/load"
)

// TestHistogramAgainstSorting compares the quantiles with those of a sorted list of all durations.
func TestHistogramAgainstSorting(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	parts := []load.Histogram{load.NewHistogram(), load.NewHistogram(), load.NewHistogram()}
	var all []time.Duration
	for range 20_000 {
		d := time.Duration(random.ExpFloat64() * float64(3*time.Millisecond))
		all = append(all, d)
		parts[random.IntN(len(parts))].Record(d)
	}
	merged := load.NewHistogram()
	for _, part := range parts {
		merged.Merge(part)
	}
	slices.Sort(all)
	if merged.Count() != int64(len(all)) {
		t.Fatalf("%d merged of %d", merged.Count(), len(all))
	}
	for _, q := range []float64{0.01, 0.5, 0.9, 0.99, 0.999, 1} {
		want := all[max(0, int(q*float64(len(all)))-1)]
		if got := merged.Quantile(q); got < want-want/500 || got > want+want/500+time.Nanosecond {
			t.Errorf("quantile %v: %v, by sorting %v", q, got, want)
		}
	}
}

func TestHistogramAcceptsValuesOutOfRange(t *testing.T) {
	h := load.NewHistogram()
	h.Record(-time.Second)
	h.Record(100 * time.Hour)
	if h.Count() != 2 || h.Quantile(0.5) != 0 || h.Max() != time.Hour {
		t.Errorf("%d recorded, median %v, max %v", h.Count(), h.Quantile(0.5), h.Max())
	}
	if empty := load.NewHistogram(); empty.Quantile(0.99) != 0 || empty.Mean() != 0 || empty.Curve() != nil {
		t.Error("an empty histogram returns values")
	}
}

func TestCurveEndsAtTheLongest(t *testing.T) {
	h := load.NewHistogram()
	for i := range 1000 {
		h.Record(time.Duration(i+1) * time.Millisecond)
	}
	curve := h.Curve()
	last := curve[len(curve)-1]
	if last.Quantile != 1 || last.Duration != h.Max() {
		t.Errorf("the last point is %+v, the longest duration is %v", last, h.Max())
	}
	if !slices.IsSortedFunc(curve, func(a, b load.Point) int { return int(a.Duration - b.Duration) }) {
		t.Error("the curve decreases")
	}
}
