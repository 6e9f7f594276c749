// Package report is what a bench says: a [Report] with everything that was measured, as a
// table ([Report.WriteText]), as JSON (its members are stable; docs/bench.md) and as a
// picture ([Report.Plot]).
package report

import (
	"math"
	"time"

	"tokenbroker/bench/curve"
	"tokenbroker/bench/load"
)

// Version is the report's v: it changes when a member changes its meaning.
const Version = 1

// Report is one bench's outcome. Times are in microseconds, rates a second.
type Report struct {
	V     int    `json:"v"`
	Bench string `json:"bench"` // validate, refresh, propagation or capacity
	// Interrupted says that the bench was stopped: the runs were measured before.
	Interrupted bool      `json:"interrupted"`
	StartedAt   time.Time `json:"started_at"`
	TookS       float64   `json:"took_s"`
	Machine     Machine   `json:"machine"`
	Target      Target    `json:"target"`
	// Floor says what the numbers are compared with: a short name, a colon, and what it is.
	Floor string `json:"floor,omitempty"`
	// SizeOf names what a run's size counts: tokens, sessions or subscribers.
	SizeOf string `json:"size_of,omitempty"`
	// Runs is never null.
	Runs []Run `json:"runs"`
	Knee *Knee `json:"knee,omitempty"`
	// Growth is how the cost grows with the size of the runs that have one.
	Growth *Growth `json:"growth,omitempty"`
	// Notes are what a reader has to know to judge the numbers.
	Notes []string `json:"notes,omitempty"`
}

// Machine is where the load came from and, with a server of the bench's own, where it ran.
type Machine struct {
	CPU         string `json:"cpu"`
	Cores       int    `json:"cores"`
	GOMAXPROCS  int    `json:"gomaxprocs"`
	Go          string `json:"go"`
	Tokenbroker string `json:"tokenbroker"`
	Kernel      string `json:"kernel"`
	// FsyncUS is the median of appending 128 bytes and syncing them to the disk that FsyncDir
	// is on; 0 when that could not be measured.
	FsyncUS  float64 `json:"fsync_us"`
	FsyncDir string  `json:"fsync_dir"`
}

// Target is the server.
type Target struct {
	// Own says that the bench started the server in its own process, on the same cores.
	Own bool   `json:"own"`
	URL string `json:"url"`
}

// Run is one measurement.
type Run struct {
	// Name is the measured operation, for example "refresh".
	Name string `json:"name"`
	// Loop is "closed" or "open"; open ones have OfferedPerS.
	Loop string `json:"loop"`
	// Concurrency is the clients, or goroutines, at once; in an open loop the bound on them.
	Concurrency int `json:"concurrency"`
	// Size is how many tokens, sessions or subscribers there were.
	Size int `json:"size,omitempty"`
	Measured
	// Floor is the peer's measurement in the same run, taking turns with this one.
	Floor *Measured `json:"floor,omitempty"`
	// OfFloor are this run's numbers divided by the floor's.
	OfFloor *Ratios `json:"of_floor,omitempty"`
	// Kept says whether a level of a ramp kept the limits; Broken says otherwise why not.
	Kept   *bool  `json:"kept,omitempty"`
	Broken string `json:"broken,omitempty"`
}

// Measured is what a load did.
type Measured struct {
	OfferedPerS float64 `json:"offered_per_s,omitempty"`
	PerS        float64 `json:"per_s"`
	Operations  uint64  `json:"operations"`
	Errors      uint64  `json:"errors"`
	FirstError  string  `json:"first_error,omitempty"`
	// Dropped arrivals of an open loop found no room to wait, Abandoned ones were not sent
	// in time after the end.
	Dropped   uint64  `json:"dropped"`
	Abandoned uint64  `json:"abandoned"`
	TookS     float64 `json:"took_s"`
	// Latency counts from when a request was meant to be sent; Service, only of open loops,
	// from when it was sent, and Lag until then.
	Latency Quantiles  `json:"latency_us"`
	Service *Quantiles `json:"service_us,omitempty"`
	Lag     *Quantiles `json:"lag_us,omitempty"`
	// Curve is the latency's distribution.
	Curve []Point `json:"curve,omitempty"`
}

// Quantiles of a duration, in microseconds.
type Quantiles struct {
	Mean float64 `json:"mean"`
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p99_9"`
	Max  float64 `json:"max"`
}

// Point says that a share Quantile (0 to 1) took no longer than US microseconds.
type Point struct {
	Quantile float64 `json:"quantile"`
	US       float64 `json:"us"`
}

// Ratios are a run's numbers divided by its floor's. Of rates more is better, of the others
// less.
type Ratios struct {
	PerS float64 `json:"per_s,omitempty"`
	Mean float64 `json:"mean,omitempty"`
	P50  float64 `json:"p50,omitempty"`
	P99  float64 `json:"p99,omitempty"`
}

// Knee is the highest rate that kept the limits.
type Knee struct {
	// Found is false when no level kept them: the rest is 0 then, but for the limits.
	Found bool    `json:"found"`
	PerS  float64 `json:"per_s"`
	P99US float64 `json:"p99_us"`
	// SLOUS is the limit of the p99, AchievedShare that of answers to arrivals.
	SLOUS         float64 `json:"slo_us"`
	AchievedShare float64 `json:"achieved_share"`
	// OfFloor is PerS divided by the floor's rate in a closed loop; 0 without a floor.
	OfFloor float64 `json:"of_floor,omitempty"`
	// Highest says that the highest rate that was tried was kept: the knee is above it.
	Highest bool `json:"highest"`
}

// Growth is how the cost grows with the size: of one at a time the median, of several at once
// the time between two answers.
type Growth struct {
	Law      curve.Law `json:"law"`
	Exponent float64   `json:"exponent"`
	// Times is the fitted cost at the greatest size divided by that at the least.
	Times float64 `json:"times"`
	// Run is the name of the runs that were fitted.
	Run string `json:"run"`

	fitted curve.Growth
}

// US is a duration in microseconds.
func US(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

// From takes a result of package load over.
func From(r *load.Result) Measured {
	m := Measured{
		OfferedPerS: r.Offered, PerS: r.Rate(), Operations: uint64(r.Service.Count()), Errors: r.Failed,
		Dropped: r.Dropped, Abandoned: r.Abandoned, TookS: r.Took.Seconds(),
		Latency: QuantilesOf(r.Latency), Curve: CurveOf(r.Latency),
	}
	if r.FirstError != nil {
		m.FirstError = r.FirstError.Error()
	}
	if r.Offered > 0 {
		service, lag := QuantilesOf(r.Service), QuantilesOf(r.Lag)
		m.Service, m.Lag = &service, &lag
	}
	return m
}

// QuantilesOf takes a histogram's over.
func QuantilesOf(h load.Histogram) Quantiles {
	return Quantiles{
		Mean: US(h.Mean()), P50: US(h.Quantile(0.5)), P90: US(h.Quantile(0.9)),
		P99: US(h.Quantile(0.99)), P999: US(h.Quantile(0.999)), Max: US(h.Max()),
	}
}

// CurveOf takes a histogram's distribution over.
func CurveOf(h load.Histogram) []Point {
	points := h.Curve()
	out := make([]Point, len(points))
	for i, p := range points {
		out[i] = Point{p.Quantile, US(p.Duration)}
	}
	return out
}

// Against sets the floor of the run.
func (r *Run) Against(floor Measured) {
	r.Floor = &floor
	r.OfFloor = &Ratios{
		PerS: over(r.PerS, floor.PerS), Mean: over(r.Latency.Mean, floor.Latency.Mean),
		P50: over(r.Latency.P50, floor.Latency.P50), P99: over(r.Latency.P99, floor.Latency.P99),
	}
}

func over(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// FitGrowth fits the cost of the runs of that name, where there are two sizes at least, at
// the least concurrency that they have. Where the machine was slower, as the floors say that
// took turns with the runs, a cost counts for as much less.
func (r *Report) FitGrowth(name string) {
	runs := sized(r.Runs, name)
	mean := meanFloor(runs)
	var samples []curve.Sample
	for _, run := range runs {
		cost := run.cost(&run.Measured)
		if mean > 0 {
			cost *= mean / run.cost(run.Floor)
		}
		samples = append(samples, curve.Sample{Size: float64(run.Size), Cost: cost})
	}
	fitted, err := curve.Fit(samples)
	if err != nil {
		return // one size has no growth
	}
	r.Growth = &Growth{Law: fitted.Law, Exponent: fitted.Exponent, Times: fitted.Times, Run: name, fitted: fitted}
}

// meanFloor is the geometric mean of what the floors took, 0 where one of the runs has none.
func meanFloor(runs []Run) float64 {
	sum := 0.0
	for _, run := range runs {
		if run.Floor == nil || run.cost(run.Floor) <= 0 {
			return 0
		}
		sum += math.Log(run.cost(run.Floor)) / float64(len(runs))
	}
	return math.Exp(sum)
}

// sized returns the runs with that name that differ only by their size: those at the least
// concurrency. What measured nothing is left out.
func sized(runs []Run, name string) []Run {
	var out []Run
	for _, run := range runs {
		if run.Name != name || run.Size == 0 || run.PerS == 0 || run.Latency.P50 == 0 {
			continue
		}
		if len(out) > 0 && run.Concurrency < out[0].Concurrency {
			out = nil
		}
		if len(out) == 0 || run.Concurrency == out[0].Concurrency {
			out = append(out, run)
		}
	}
	return out
}

// cost is what one operation takes, in microseconds. One at a time: the median, which a busy
// neighbour hardly moves. Several at once: the time between two answers, as their own
// latency is mostly waiting for each other.
func (r *Run) cost(m *Measured) float64 {
	if r.Concurrency == 1 {
		return m.Latency.P50
	}
	return over(1e6, m.PerS)
}
