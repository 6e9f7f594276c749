// Package report is the result of a benchmark: a [Report] with everything that was measured, as a
// table ([Report.WriteText]), as JSON (its members are stable, see docs/bench.md) and as a picture
// ([Report.Plot]).
package report

import (
	"math"
	"time"

	"tokenbroker/bench/curve"
	"tokenbroker/bench/load"
)

// Version is the value of the report's member v. It changes if the meaning of a member changes.
const Version = 1

// Report is the result of one benchmark. Times are in microseconds, rates per second.
type Report struct {
	V     int    `json:"v"`
	Bench string `json:"bench"` // validate, refresh, propagation, capacity or cluster
	// Interrupted reports that the benchmark was stopped. The runs were measured before.
	Interrupted bool      `json:"interrupted"`
	StartedAt   time.Time `json:"started_at"`
	TookS       float64   `json:"took_s"`
	Machine     Machine   `json:"machine"`
	Target      Target    `json:"target"`
	// Floor describes what the numbers are compared with: a short name, a colon, and a description.
	Floor string `json:"floor,omitempty"`
	// SizeOf names what the size of a run counts: tokens, sessions or subscribers.
	SizeOf string `json:"size_of,omitempty"`
	// Runs is never null.
	Runs []Run `json:"runs"`
	Knee *Knee `json:"knee,omitempty"`
	// Growth is the growth of the cost with the size of the runs that have one.
	Growth *Growth `json:"growth,omitempty"`
	// Cluster has the results of several brokers.
	Cluster *Cluster `json:"cluster,omitempty"`
	// Notes are what a reader must know to interpret the numbers.
	Notes []string `json:"notes,omitempty"`
}

// Machine is the machine that generated the load and, with the benchmark's own server, ran the
// server.
type Machine struct {
	CPU         string `json:"cpu"`
	Cores       int    `json:"cores"`
	GOMAXPROCS  int    `json:"gomaxprocs"`
	Go          string `json:"go"`
	Tokenbroker string `json:"tokenbroker"`
	Kernel      string `json:"kernel"`
	// FsyncUS is the median of appending 128 bytes and syncing them to the disk of FsyncDir. It is
	// 0 if that could not be measured.
	FsyncUS  float64 `json:"fsync_us"`
	FsyncDir string  `json:"fsync_dir"`
}

// Target is the measured server.
type Target struct {
	// Own reports that the benchmark started the server in its own process, on the same cores.
	Own bool   `json:"own"`
	URL string `json:"url"`
}

// Run is one measurement.
type Run struct {
	// Name is the measured operation, for example "refresh".
	Name string `json:"name"`
	// Loop is "closed" or "open". Open loops have OfferedPerS.
	Loop string `json:"loop"`
	// Concurrency is the number of concurrent clients or goroutines; in an open loop it is the
	// maximum number of concurrent requests.
	Concurrency int `json:"concurrency"`
	// Size is the number of tokens, sessions or subscribers.
	Size int `json:"size,omitempty"`
	Measured
	// Floor is the measurement of the floor, which alternated with this one.
	Floor *Measured `json:"floor,omitempty"`
	// OfFloor has this run's numbers divided by the floor's.
	OfFloor *Ratios `json:"of_floor,omitempty"`
	// Kept reports whether a level of a ramp kept the limits. If it did not, Broken is the reason.
	Kept   *bool  `json:"kept,omitempty"`
	Broken string `json:"broken,omitempty"`
	// Processor is the CPU time of a cluster's processes.
	Processor []Processor `json:"processor,omitempty"`
}

// Measured is the result of a load.
type Measured struct {
	OfferedPerS float64 `json:"offered_per_s,omitempty"`
	PerS        float64 `json:"per_s"`
	Operations  uint64  `json:"operations"`
	Errors      uint64  `json:"errors"`
	FirstError  string  `json:"first_error,omitempty"`
	// Dropped is the number of arrivals of an open loop for which the queue was full. Abandoned is
	// the number of those that were not sent in time after the end.
	Dropped   uint64  `json:"dropped"`
	Abandoned uint64  `json:"abandoned"`
	TookS     float64 `json:"took_s"`
	// Latency counts from the time at which a request was meant to be sent. In open loops, Service
	// counts from the time at which it was sent, and Lag is the difference.
	Latency Quantiles  `json:"latency_us"`
	Service *Quantiles `json:"service_us,omitempty"`
	Lag     *Quantiles `json:"lag_us,omitempty"`
	// Curve is the distribution of the latency.
	Curve []Point `json:"curve,omitempty"`
}

// Quantiles has quantiles of a duration, in microseconds.
type Quantiles struct {
	Mean float64 `json:"mean"`
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p99_9"`
	Max  float64 `json:"max"`
}

// Point means that the share Quantile (0 to 1) took at most US microseconds.
type Point struct {
	Quantile float64 `json:"quantile"`
	US       float64 `json:"us"`
}

// Ratios are the numbers of a run divided by those of its floor. For rates more is better, for the
// others less.
type Ratios struct {
	PerS float64 `json:"per_s,omitempty"`
	Mean float64 `json:"mean,omitempty"`
	P50  float64 `json:"p50,omitempty"`
	P99  float64 `json:"p99,omitempty"`
}

// Knee is the highest rate that kept the limits.
type Knee struct {
	// Found is false if no level kept the limits: the other members, except the limits, are then 0.
	Found bool    `json:"found"`
	PerS  float64 `json:"per_s"`
	P99US float64 `json:"p99_us"`
	// SLOUS is the limit of the p99, AchievedShare that of the achieved share of the offered rate.
	SLOUS         float64 `json:"slo_us"`
	AchievedShare float64 `json:"achieved_share"`
	// OfFloor is PerS divided by the floor's rate in a closed loop, or 0 without a floor.
	OfFloor float64 `json:"of_floor,omitempty"`
	// Highest reports that the highest tried rate was kept: the knee is above it.
	Highest bool `json:"highest"`
}

// Growth is the growth of the cost with the size. For one operation at a time the cost is the
// median, for several at once it is the time between two responses.
type Growth struct {
	Law      curve.Law `json:"law"`
	Exponent float64   `json:"exponent"`
	// Times is the fitted cost at the largest size divided by the cost at the smallest one.
	Times float64 `json:"times"`
	// Run is the name of the runs that were fitted.
	Run string `json:"run"`

	fitted curve.Growth
}

// US returns a duration in microseconds.
func US(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

// From converts a result of package load.
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

// QuantilesOf returns the quantiles of a histogram.
func QuantilesOf(h load.Histogram) Quantiles {
	return Quantiles{
		Mean: US(h.Mean()), P50: US(h.Quantile(0.5)), P90: US(h.Quantile(0.9)),
		P99: US(h.Quantile(0.99)), P999: US(h.Quantile(0.999)), Max: US(h.Max()),
	}
}

// CurveOf returns the distribution of a histogram.
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

// FitGrowth fits the cost of the runs with the given name at their lowest concurrency, if they have
// at least two sizes. A cost is corrected by the speed of the machine, which is known from the
// floor that alternated with the run.
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
		return // growth needs two sizes
	}
	r.Growth = &Growth{Law: fitted.Law, Exponent: fitted.Exponent, Times: fitted.Times, Run: name, fitted: fitted}
}

// meanFloor returns the geometric mean of the costs of the floors, or 0 if a run has none.
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

// sized returns the runs with the given name and the lowest concurrency, which differ only in their
// size. It omits runs without a measurement.
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

// cost returns the cost of one operation in microseconds. With one operation at a time it is the
// median, on which other load on the machine has little effect. With several at once it is the time
// between two responses, because their latency is mostly the wait for each other.
func (r *Run) cost(m *Measured) float64 {
	if r.Concurrency == 1 {
		return m.Latency.P50
	}
	return over(1e6, m.PerS)
}
