package load

import (
	"math"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// What a [Histogram] can tell apart: from 1 ns to an hour, within 0.1 %.
const (
	longest = time.Hour
	digits  = 3
)

// Histogram is a distribution of durations. The zero value is not usable; it is not safe for
// concurrent use.
type Histogram struct{ h *hdr.Histogram }

// NewHistogram makes an empty one, of about 280 KB.
func NewHistogram() Histogram { return Histogram{hdr.New(1, int64(longest), digits)} }

// Record adds a duration; one below zero counts as zero, one of more than an hour as an hour.
func (h Histogram) Record(d time.Duration) { h.RecordMany(d, 1) }

// RecordMany adds a duration n times.
func (h Histogram) RecordMany(d time.Duration, n int64) {
	_ = h.h.RecordValues(int64(min(max(d, 0), longest)), n) // within the range
}

// Merge adds all that other holds.
func (h Histogram) Merge(other Histogram) { h.h.Merge(other.h) }

// Count is how many durations were recorded.
func (h Histogram) Count() int64 { return h.h.TotalCount() }

// Quantile is the duration that a share q (0 to 1) of all does not exceed; 0 when empty.
func (h Histogram) Quantile(q float64) time.Duration {
	if h.Count() == 0 {
		return 0
	}
	return min(time.Duration(h.h.ValueAtPercentile(q*100)), h.Max())
}

// Max is the longest, within 0.1 %.
func (h Histogram) Max() time.Duration { return min(time.Duration(h.h.Max()), longest) }

// Mean is the mean; 0 when empty.
func (h Histogram) Mean() time.Duration {
	mean := h.h.Mean()
	if math.IsNaN(mean) {
		return 0
	}
	return time.Duration(math.Round(mean))
}

// Point is a place on a distribution's curve: a share Quantile of all took no longer.
type Point struct {
	Quantile float64
	Duration time.Duration
}

// Curve gives the distribution, closer together towards 1: five points for each halving of
// what is left. The last point is the longest duration, at 1.
func (h Histogram) Curve() []Point {
	const ticks = 5
	if h.Count() == 0 {
		return nil
	}
	brackets := h.h.CumulativeDistributionWithTicks(ticks)
	points := make([]Point, 0, len(brackets))
	for _, b := range brackets {
		points = append(points, Point{b.Quantile / 100, min(time.Duration(b.ValueAt), h.Max())})
	}
	return points
}
