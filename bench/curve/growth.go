// Package curve interprets measured curves: where a server's knee is ([Ramp], [Knee]),
// and how a cost grows with a size ([Fit]). Nothing in it measures.
package curve

import (
	"errors"
	"math"
)

// Sample is a cost at a size, both above 0.
type Sample struct{ Size, Cost float64 }

// Law is how a cost grows with the size.
type Law string

// The laws that Fit distinguishes.
const (
	Constant    Law = "O(1)"
	Logarithmic Law = "O(log n)"
	Linear      Law = "O(n)"
)

// Growth is the law fitted to samples.
type Growth struct {
	// Law is the one of the three that misses the samples least.
	Law Law
	// Exponent is the slope on log-log paper: 0 for a constant cost, 1 for a linear one.
	Exponent float64
	// Base makes the slope a line: cost = Base × size^Exponent.
	Base float64
	// Times is how much the line rises from the least to the greatest size.
	Times float64
}

// At is the cost on the line.
func (g Growth) At(size float64) float64 { return g.Base * math.Pow(size, g.Exponent) }

// log is the logarithm of the law's value, without its scale.
func (l Law) log(size float64) float64 {
	switch l {
	case Logarithmic:
		return math.Log(math.Log(size + 1)) // so that one has a cost
	case Linear:
		return math.Log(size)
	default:
		return 0
	}
}

// ErrFewSamples is the error of [Fit] without two different sizes.
var ErrFewSamples = errors.New("a growth law takes costs at two different sizes at least")

// Fit compares the samples with the laws by least squares of the logarithms: a cost that is
// 10 % off counts the same at each size. Where two laws fit about equally the slower one is
// chosen, so that noise is not taken for growth.
func Fit(samples []Sample) (Growth, error) {
	slope, intercept, ok := line(samples)
	if !ok {
		return Growth{}, ErrFewSamples
	}
	least, most := samples[0].Size, samples[0].Size
	for _, s := range samples {
		least, most = min(least, s.Size), max(most, s.Size)
	}
	g := Growth{Exponent: slope, Base: math.Exp(intercept), Times: math.Pow(most/least, slope)}
	best := math.Inf(1)
	for _, law := range []Law{Constant, Logarithmic, Linear} {
		misses := missedBy(samples, law)
		if misses < best*closeCall {
			best, g.Law = misses, law
		}
		if misses < negligible {
			break
		}
	}
	return g, nil
}

const (
	// closeCall is how much less a faster law has to miss.
	closeCall = 0.7
	// negligible is the mean square of the logarithm's error below which a law is good: 7 %.
	negligible = 0.005
)

// missedBy is the mean square by which the logarithms miss the law, times any number
// suits it best.
func missedBy(samples []Sample, law Law) float64 {
	offset, n := 0.0, float64(len(samples))
	for _, s := range samples {
		offset += (math.Log(s.Cost) - law.log(s.Size)) / n
	}
	misses := 0.0
	for _, s := range samples {
		miss := math.Log(s.Cost) - law.log(s.Size) - offset
		misses += miss * miss / n
	}
	return misses
}

// line fits log cost = slope × log size + intercept.
func line(samples []Sample) (slope, intercept float64, ok bool) {
	n := float64(len(samples))
	var x, y float64
	for _, s := range samples {
		x += math.Log(s.Size) / n
		y += math.Log(s.Cost) / n
	}
	var xx, xy float64
	for _, s := range samples {
		dx := math.Log(s.Size) - x
		xx += dx * dx
		xy += dx * (math.Log(s.Cost) - y)
	}
	if xx == 0 || len(samples) < 2 {
		return 0, 0, false
	}
	slope = xy / xx
	return slope, y - slope*x, true
}
