package load

import (
	"sync"
	"time"
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
	// loop gave up after its end.
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
