package curve_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"tokenbroker/bench/curve"
)

func TestFit(t *testing.T) {
	for _, c := range []struct {
		name     string
		cost     func(n float64) float64
		law      curve.Law
		exponent float64
	}{
		{"constant", func(float64) float64 { return 70 }, curve.Constant, 0},
		{"falling", func(n float64) float64 { return 100 * math.Pow(n, -0.02) }, curve.Constant, -0.02},
		{"logarithm", func(n float64) float64 { return 10 * math.Log(n) }, curve.Logarithmic, 0.1},
		{"linear", func(n float64) float64 { return 0.5 * n }, curve.Linear, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var samples []curve.Sample
			for _, n := range []float64{1e3, 1e4, 1e5, 1e6} {
				samples = append(samples, curve.Sample{Size: n, Cost: c.cost(n)})
			}
			got, err := curve.Fit(samples)
			if err != nil {
				t.Fatal(err)
			}
			if got.Law != c.law || math.Abs(got.Exponent-c.exponent) > 0.02 {
				t.Errorf("%s with exponent %.3f, want %s with %.2f", got.Law, got.Exponent, c.law, c.exponent)
			}
			if at := got.At(1e4); math.Abs(at/c.cost(1e4)-1) > 0.1 {
				t.Errorf("the line's cost at 10,000 is %.1f, the sample's %.1f", at, c.cost(1e4))
			}
		})
	}
}

// TestFitThroughNoise checks that Fit does not report noise of 5 % as growth, and finds growth despite the noise.
func TestFitThroughNoise(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	for _, c := range []struct {
		law  curve.Law
		cost func(n float64) float64
	}{
		{curve.Constant, func(float64) float64 { return 1 }},
		{curve.Logarithmic, math.Log},
		{curve.Linear, func(n float64) float64 { return n }},
	} {
		for range 200 {
			var samples []curve.Sample
			for _, n := range []float64{1e3, 1e4, 1e5} {
				samples = append(samples, curve.Sample{Size: n, Cost: c.cost(n) * (0.95 + 0.1*random.Float64())})
			}
			if got, err := curve.Fit(samples); err != nil || got.Law != c.law {
				t.Fatalf("%v is %s, error %v; want %s", samples, got.Law, err, c.law)
			}
		}
	}
}

func TestFitNeedsTwoSizes(t *testing.T) {
	for _, samples := range [][]curve.Sample{nil, {{Size: 1, Cost: 1}}, {{Size: 5, Cost: 1}, {Size: 5, Cost: 2}}} {
		if _, err := curve.Fit(samples); err == nil {
			t.Errorf("%v was fitted", samples)
		}
	}
}

var limits = curve.Limits{P99: 15 * time.Millisecond, Achieved: 0.98}

func TestKnee(t *testing.T) {
	level := func(change func(*curve.Level)) curve.Level {
		l := curve.Level{Offered: 100, Achieved: 100, P99: 15 * time.Millisecond}
		change(&l)
		return l
	}
	for _, c := range []struct {
		name  string
		level curve.Level
		kept  bool
	}{
		{"within all limits", level(func(*curve.Level) {}), true},
		{"98 %", level(func(l *curve.Level) { l.Achieved = 98 }), true},
		{"97 %", level(func(l *curve.Level) { l.Achieved = 97 }), false},
		{"late", level(func(l *curve.Level) { l.P99++ }), false},
		{"an error", level(func(l *curve.Level) { l.Failed = 1 }), false},
		{"one request not sent", level(func(l *curve.Level) { l.Dropped = 1 }), false},
	} {
		if broken, kept := limits.Kept(c.level); kept != c.kept || kept == (broken != "") {
			t.Errorf("%s: kept %v (%s)", c.name, kept, broken)
		}
		if _, ok := curve.Knee([]curve.Level{c.level}, limits); ok != c.kept {
			t.Errorf("%s: Knee returned %v", c.name, ok)
		}
	}
}

// TestRampFindsTheKnee runs a ramp against a simulated server whose knee is known.
func TestRampFindsTheKnee(t *testing.T) {
	server := func(rate float64) curve.Level { // saturates at 10,000 requests per second; the latency rises before
		p99 := time.Duration(float64(time.Millisecond) / max(0.001, 1-rate/10_000))
		return curve.Level{Offered: rate, Achieved: min(rate, 10_000), P99: p99}
	}
	const knee = 10_000 * (1 - 1.0/15) // 1 ms / (1 - x) is 15 ms
	for _, c := range []struct {
		name    string
		ramp    curve.Ramp
		nearest float64 // lowest accepted rate; at most the knee
		found   bool
	}{
		{"doubling", curve.Ramp{From: 500, To: 100_000}, 8000, true},
		{"doubling and halving the gap", curve.Ramp{From: 500, To: 100_000, Halvings: 5}, knee - 8000.0/32, true},
		{"steps", curve.Ramp{From: 1000, To: 20_000, Step: 1000}, 9000, true},
		{"too low", curve.Ramp{From: 500, To: 4000}, 4000, true},
		{"too high", curve.Ramp{From: 20_000, To: 40_000, Halvings: 3}, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var levels []curve.Level
			rate, ok := c.ramp.Next(0, false)
			for ok {
				level := server(rate)
				levels = append(levels, level)
				if len(levels) > 30 {
					t.Fatal("the ramp does not end")
				}
				_, kept := limits.Kept(level)
				rate, ok = c.ramp.Next(rate, kept)
			}
			got, found := curve.Knee(levels, limits)
			if found != c.found || got.Offered < c.nearest || got.Offered > knee {
				t.Errorf("knee at %.0f (%v), want %.0f to %.0f", got.Offered, found, c.nearest, float64(knee))
			}
		})
	}
}
