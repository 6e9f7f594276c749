// Package curve interprets measured curves: it finds a server's knee ([Ramp], [Knee]) and the law by which
// a cost grows with a size ([Fit]). It does not measure.
package curve

import (
	"errors"
	"math"
)

// Sample is the cost at one size. Both are above 0.
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
	// Law is the law with the smallest error for the samples.
	Law Law
	// Exponent is the slope on log-log paper: 0 for a constant cost, 1 for a linear one.
	Exponent float64
	// Base makes the slope a line: cost = Base × size^Exponent.
	Base float64
	// Times is the line's cost at the largest size divided by its cost at the smallest one.
	Times float64
}

// At returns the cost that the line predicts for size.
func (g Growth) At(size float64) float64 { return g.Base * math.Pow(size, g.Exponent) }

// log returns the logarithm of the law's value, without its scale.
func (l Law) log(size float64) float64 {
	switch l {
	case Logarithmic:
		return math.Log(math.Log(size + 1)) // so that the size 1 has a cost above 0
	case Linear:
		return math.Log(size)
	default:
		return 0
	}
}

// ErrFewSamples is returned by [Fit] if there are fewer than two different sizes.
var ErrFewSamples = errors.New("fitting a growth law needs costs at two or more different sizes")

// Fit compares the samples with the laws by least squares of the logarithms: an error of 10 % has the same
// weight at each size. If two laws fit about equally well, the slower one is chosen, so that noise is not
// taken for growth.
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
	// closeCall is how much smaller the error of a faster law must be.
	closeCall = 0.7
	// negligible is the mean square error of the logarithm below which a law fits well: 7 %.
	negligible = 0.005
)

// missedBy returns the mean square error of the logarithms for the law with its best scale.
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

// line fits the line log cost = slope × log size + intercept.
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
