package load

import (
	"math"
	"sync"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// Result is the result of a load. The zero value is not usable; see [NewResult].
type Result struct {
	// Offered is the arrivals per second of an open loop. In a closed loop it is 0.
	Offered float64
	// Took is the measured time, without the warm-up.
	Took time.Duration
	// Latency counts from the time at which a request was meant to be sent, and Service from the
	// time at which it was sent. Lag is the difference: the delay of the generator, or the wait for
	// a free worker. In a closed loop there is no lag. All three contain successful requests, and
	// Latency also contains abandoned ones, with the time that they waited.
	Latency, Service, Lag Histogram
	// InTime is the number of requests that succeeded within Took, regardless of when they were
	// sent.
	InTime uint64
	// Failed is the number of requests with an error, and FirstError is the first error.
	Failed     uint64
	FirstError error
	// Dropped is the number of arrivals for which the queue was full. Abandoned is the number that
	// was not sent when the loop stopped sending after its end.
	Dropped, Abandoned uint64
	// Interrupted reports that the context ended before the load.
	Interrupted bool
}

// NewResult returns an empty result, into which others can be merged.
func NewResult() *Result {
	return &Result{Latency: NewHistogram(), Service: NewHistogram(), Lag: NewHistogram()}
}

// Rate returns the number of successful requests per second.
func (r *Result) Rate() float64 {
	if r.Took <= 0 {
		return 0
	}
	return float64(r.InTime) / r.Took.Seconds()
}

// Merge adds the result of another turn of the same load.
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

// recorder collects the results of several workers. Each writes into one of a few stripes, so that
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

// sent is one request, with the times at which it was meant to be sent, was sent and had its
// response.
type sent struct {
	meant, began, ended time.Time
	err                 error
}

// record adds a request of a load that is measured between the two times.
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

// sum returns the total. It must be called after all workers have ended.
func (r *recorder) sum() *Result {
	all := NewResult()
	for i := range r.stripes {
		all.Merge(r.stripes[i].result)
	}
	return all
}

// The range and precision of a [Histogram]: 1 ns to 1 h, within 0.1 %.
const (
	longest = time.Hour
	digits  = 3
)

// Histogram is a distribution of durations. The zero value is not usable; it is not safe for
// concurrent use.
type Histogram struct{ h *hdr.Histogram }

// NewHistogram returns an empty histogram, which takes about 280 KB.
func NewHistogram() Histogram { return Histogram{hdr.New(1, int64(longest), digits)} }

// Record adds a duration. A negative duration counts as zero, and one of more than an hour as an
// hour.
func (h Histogram) Record(d time.Duration) { h.RecordMany(d, 1) }

// RecordMany adds a duration n times.
func (h Histogram) RecordMany(d time.Duration, n int64) {
	_ = h.h.RecordValues(int64(min(max(d, 0), longest)), n) // within the range
}

// Merge adds all durations of other.
func (h Histogram) Merge(other Histogram) { h.h.Merge(other.h) }

// Count returns the number of recorded durations.
func (h Histogram) Count() int64 { return h.h.TotalCount() }

// Quantile returns the duration that a share q (0 to 1) of all durations does not exceed, or 0 if
// the histogram is empty.
func (h Histogram) Quantile(q float64) time.Duration {
	if h.Count() == 0 {
		return 0
	}
	return min(time.Duration(h.h.ValueAtPercentile(q*100)), h.Max())
}

// Max returns the longest duration, within 0.1 %.
func (h Histogram) Max() time.Duration { return min(time.Duration(h.h.Max()), longest) }

// Mean returns the mean duration, or 0 if the histogram is empty.
func (h Histogram) Mean() time.Duration {
	mean := h.h.Mean()
	if math.IsNaN(mean) {
		return 0
	}
	return time.Duration(math.Round(mean))
}

// Point is a point of a distribution: the share Quantile of all requests took at most this long.
type Point struct {
	Quantile float64
	Duration time.Duration
}

// Curve returns the points of the distribution, which are denser towards 1: five for each halving
// of the remaining share. The last point, at 1, is the longest duration.
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
