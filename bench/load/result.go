package load

import (
	"math"
	"sync"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// Result is what became of a load. The zero value is not usable; see [NewResult].
type Result struct {
	// Offered is the arrivals a second of an open loop, 0 of a closed one.
	Offered float64
	// Took is how long was measured, without the warm-up.
	Took time.Duration
	// Latency counts from when a request was meant to be sent, Service from when it was sent
	// and Lag until then: how late the generator, or a free worker, was. In a closed loop
	// there is no lag. All three are of requests that were answered without an error, and
	// Latency also of those Abandoned, with the time they had waited.
	Latency, Service, Lag Histogram
	// InTime is how many were answered well within Took, whenever they were sent.
	InTime uint64
	// Failed is how many got an error, the first of which is FirstError.
	Failed     uint64
	FirstError error
	// Dropped arrivals found no room to wait in; Abandoned ones had not been sent when the
	// loop abandoned after its end.
	Dropped, Abandoned uint64
	// Interrupted says that the context ended first.
	Interrupted bool
}

// NewResult makes an empty one, to be merged into.
func NewResult() *Result {
	return &Result{Latency: NewHistogram(), Service: NewHistogram(), Lag: NewHistogram()}
}

// Rate is how many requests a second were answered well.
func (r *Result) Rate() float64 {
	if r.Took <= 0 {
		return 0
	}
	return float64(r.InTime) / r.Took.Seconds()
}

// Merge adds what another turn of the same load measured.
func (r *Result) Merge(more *Result) {
	r.Offered = more.Offered
	r.Took += more.Took
	r.Latency.Merge(more.Latency)
	r.Service.Merge(more.Service)
	r.Lag.Merge(more.Lag)
	r.InTime += more.InTime
	r.Failed += more.Failed
	if r.FirstError == nil {
		r.FirstError = more.FirstError
	}
	r.Dropped += more.Dropped
	r.Abandoned += more.Abandoned
	r.Interrupted = r.Interrupted || more.Interrupted
}

// recorder collects from several workers: each writes into one of a few stripes, so that
// they seldom wait for each other.
type recorder struct{ stripes [4]stripe }

type stripe struct {
	mu     sync.Mutex // guards result
	result *Result
}

func newRecorder() *recorder {
	r := new(recorder)
	for i := range r.stripes {
		r.stripes[i].result = NewResult()
	}
	return r
}

// sent is one request: when it was meant to be sent, was sent and was answered.
type sent struct {
	meant, began, ended time.Time
	err                 error
}

// record adds a request, of a load that is measured between the two times.
func (r *recorder) record(worker int, s sent, from, until time.Time) {
	to := &r.stripes[worker%len(r.stripes)]
	to.mu.Lock()
	defer to.mu.Unlock()
	if s.err == nil && !s.ended.Before(from) && !s.ended.After(until) {
		to.result.InTime++
	}
	if s.meant.Before(from) {
		return
	}
	if s.err != nil {
		to.result.Failed++
		if to.result.FirstError == nil {
			to.result.FirstError = s.err
		}
		return
	}
	to.result.Latency.Record(s.ended.Sub(s.meant))
	to.result.Service.Record(s.ended.Sub(s.began))
	to.result.Lag.Record(s.began.Sub(s.meant))
}

// abandon adds a request that was never sent, with the time that it waited.
func (r *recorder) abandon(worker int, waited time.Duration) {
	to := &r.stripes[worker%len(r.stripes)]
	to.mu.Lock()
	defer to.mu.Unlock()
	to.result.Latency.Record(waited)
	to.result.Abandoned++
}

// sum is called when all workers are done.
func (r *recorder) sum() *Result {
	all := NewResult()
	for i := range r.stripes {
		all.Merge(r.stripes[i].result)
	}
	return all
}

// The range and precision of a [Histogram]: from 1 ns to an hour, within 0.1 %.
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

// Curve returns the distribution, denser towards 1: five points for each halving of
// the remaining part. The last point is the longest duration, at 1.
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
