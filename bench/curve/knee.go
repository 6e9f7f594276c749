package curve

import (
	"fmt"
	"time"
)

// Level is the result of a load at one rate.
type Level struct {
	// Offered and Achieved are in requests per second.
	Offered, Achieved float64
	P99               time.Duration
	// Failed is the number of requests with an error, and Dropped the number that was not sent.
	Failed, Dropped uint64
}

// Limits are the conditions that a level has to keep.
type Limits struct {
	// P99 is the maximum 99th percentile of the latency.
	P99 time.Duration
	// Achieved is the minimum share of the offered rate, 0 to 1.
	Achieved float64
}

// Kept reports whether the level keeps the limits, and otherwise which limit it breaks.
func (l Limits) Kept(level Level) (broken string, ok bool) {
	switch {
	case level.Failed > 0:
		return fmt.Sprintf("%d errors", level.Failed), false
	case level.Dropped > 0:
		return fmt.Sprintf("%d never sent", level.Dropped), false
	case level.Achieved < l.Achieved*level.Offered:
		return fmt.Sprintf("achieved %.0f %% of the rate", 100*level.Achieved/level.Offered), false
	case level.P99 > l.P99:
		return "p99 over " + l.P99.String(), false
	}
	return "", true
}

// Knee returns the level with the highest rate that keeps the limits. The result is false if no
// level does.
func Knee(levels []Level, limits Limits) (knee Level, ok bool) {
	for _, level := range levels {
		if _, kept := limits.Kept(level); kept && level.Offered > knee.Offered {
			knee, ok = level, true
		}
	}
	return knee, ok
}

// Ramp returns the rates to try, one after the other: it raises the rate from From to To until one
// breaks the limits, and then searches between that rate and the last one that kept them.
type Ramp struct {
	// From and To are in requests per second. To bounds the search.
	From, To float64
	// Step is added to the rate each time. If 0, the rate doubles.
	Step float64
	// Halvings is how often the gap around the knee is halved.
	Halvings int

	kept, broken float64 // the highest rate that kept the limits, and the lowest one above it that did not; 0 if none
	halved       int
}

// Next returns the next rate, or false when the search is over. Its arguments are the last rate and
// whether it kept the limits; in the first call the rate is 0.
func (r *Ramp) Next(tried float64, kept bool) (rate float64, ok bool) {
	switch {
	case tried == 0:
		return r.From, r.From <= r.To
	case kept:
		r.kept = max(r.kept, tried)
	case r.broken == 0 || tried < r.broken:
		r.broken = tried
	}
	if r.broken > 0 {
		if r.kept == 0 || r.halved >= r.Halvings {
			return 0, false
		}
		r.halved++
		return (r.kept + r.broken) / 2, true
	}
	if tried >= r.To {
		return 0, false
	}
	if r.Step > 0 {
		return min(tried+r.Step, r.To), true
	}
	return min(2*tried, r.To), true
}
