package report

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
)

// maxLines is the maximum number of runs in a panel: more lines cannot be distinguished.
const maxLines = 6

// percentiles draws the latency of each run over the share of requests, on an axis that stretches
// the highest shares, and the latency of its floor as a dashed line.
func (r *Report) percentiles() ([]*plot.Plot, error) {
	p := r.newPlot("tokenbroker-bench "+r.Bench+": latency by percentile", "percentile", "latency")
	low, high, right, lines := math.Inf(1), 0.0, 1.0, 0
	draw := func(name string, points []Point, colour int, floor bool) error {
		var xys plotter.XYs
		for _, point := range points {
			if point.Quantile >= 1 || point.US <= 0 {
				continue
			}
			xys = append(xys, plotter.XY{X: nines(point.Quantile), Y: point.US})
			low, high, right = min(low, point.US), max(high, point.US), max(right, nines(point.Quantile))
		}
		if len(xys) < 2 {
			return nil // too few points to add anything to the table
		}
		lines++
		c := colours[colour%len(colours)]
		if floor && len(r.Runs) == 1 {
			c = floorColour
		}
		return lineOf(p, name, xys, c, floor, false)
	}
	for i, run := range r.Runs[:min(len(r.Runs), maxLines)] {
		if err := draw(r.label(run), run.Curve, i, false); err != nil {
			return nil, err
		}
		if run.Floor != nil {
			name := r.floorName()
			if i > 0 {
				name = "" // a dashed line in the run's colour; the legend names only the first one
			}
			if err := draw(name, run.Floor.Curve, i, true); err != nil {
				return nil, err
			}
		}
	}
	if high > 0 { // room for the legend, which has a line for each name
		const panelLines = 14
		high *= math.Pow(high/low, float64(lines)/panelLines)
	}
	logarithmic(&p.Y, low, high, duration)
	p.X.Min, p.X.Max = 0, math.Ceil(right)
	p.X.Tick.Marker = plot.ConstantTicks(percentileTicks())
	return []*plot.Plot{p}, nil
}

// floorName returns the name of the floor in a legend.
func (r *Report) floorName() string {
	name, _, _ := strings.Cut(r.Floor, ":")
	return "floor: " + name
}

// nines returns the position of a quantile on the axis: 0 is at 0, 0.9 at 1, 0.99 at 2.
func nines(quantile float64) float64 { return -math.Log10(1 - quantile) }

func percentileTicks() []plot.Tick {
	ticks := []plot.Tick{{Value: 0, Label: "0 %"}, {Value: nines(0.5), Label: "50 %"}}
	for _, label := range []string{"90 %", "99 %", "99.9 %", "99.99 %", "99.999 %"} {
		ticks = append(ticks, plot.Tick{Value: float64(len(ticks) - 1), Label: label})
	}
	return ticks
}

// label names a run by its difference from the other runs of its report.
func (r *Report) label(run Run) string {
	differ := func(of func(Run) float64) bool {
		return slices.ContainsFunc(r.Runs, func(other Run) bool { return of(other) != of(run) })
	}
	name := run.Name
	if r.SizeOf != "" && run.Size > 0 && differ(func(run Run) float64 { return float64(run.Size) }) {
		name += fmt.Sprintf(", %s: %s", r.SizeOf, count(float64(run.Size)))
	}
	if differ(byConcurrency) {
		name += fmt.Sprintf(", %d at once", run.Concurrency)
	}
	if run.OfferedPerS > 0 {
		name += fmt.Sprintf(", %s/s offered", count(run.OfferedPerS))
	}
	return name
}

// sweep returns the runs that differ only by their concurrency.
func (r *Report) sweep() []Run {
	var out []Run
	for _, run := range r.Runs {
		if run.Name == r.Runs[0].Name && run.Size == r.Runs[0].Size &&
			!slices.ContainsFunc(out, func(other Run) bool { return other.Concurrency == run.Concurrency }) {
			out = append(out, run)
		}
	}
	slices.SortFunc(out, func(a, b Run) int { return a.Concurrency - b.Concurrency })
	return out
}

// concurrency draws throughput and p99 over the number of clients.
func (r *Report) concurrency() ([]*plot.Plot, error) {
	runs := r.sweep()
	rate := r.newPlot("tokenbroker-bench "+r.Bench+": throughput by concurrency", "clients at once", "answers a second")
	late := r.newPlot("tokenbroker-bench "+r.Bench+": p99 by concurrency", "clients at once", "p99 of the latency")
	err := r.overX(rate, r.Runs[0].Name, runs, byConcurrency, func(m *Measured) float64 { return m.PerS }, false)
	if err == nil {
		err = r.overX(late, r.Runs[0].Name, runs, byConcurrency, func(m *Measured) float64 { return m.Latency.P99 }, true)
	}
	return []*plot.Plot{rate, late}, err
}

func byConcurrency(run Run) float64 { return float64(run.Concurrency) }

// overX draws a value of each run over x, and the value of its floor as a dashed line. A time is
// drawn on a logarithmic axis, other values on an axis that starts at 0.
func (r *Report) overX(p *plot.Plot, name string, runs []Run, x func(Run) float64, y func(*Measured) float64, isTime bool) error {
	var own, floor plotter.XYs
	low, high := math.Inf(1), 0.0
	for _, run := range runs {
		at := y(&run.Measured)
		own = append(own, plotter.XY{X: x(run), Y: at})
		low, high = min(low, at), max(high, at)
		if run.Floor != nil {
			at := y(run.Floor)
			floor = append(floor, plotter.XY{X: x(run), Y: at})
			low, high = min(low, at), max(high, at)
		}
	}
	if err := lineOf(p, name, own, colours[0], false, true); err != nil {
		return err
	}
	if len(floor) > 0 {
		if err := lineOf(p, r.floorName(), floor, floorColour, true, true); err != nil {
			return err
		}
	}
	first, last := x(runs[0]), x(runs[len(runs)-1])
	logarithmic(&p.X, first, last, count)
	p.X.Tick.Marker = ticksAt(own)
	if isTime {
		logarithmic(&p.Y, low, high, duration)
	} else {
		p.Y.Min, p.Y.Max = 0, high*1.25 // room for the legend
		p.Y.Tick.Marker = named{count}
	}
	return nil
}

// ticksAt returns ticks at the measured points.
func ticksAt(xys plotter.XYs) plot.Ticker {
	var ticks plot.ConstantTicks
	for _, xy := range xys {
		ticks = append(ticks, plot.Tick{Value: xy.X, Label: count(xy.X)})
	}
	return ticks
}

// named has the usual ticks of a linear axis with other labels.
type named struct{ label func(float64) string }

// Ticks implements [plot.Ticker].
func (n named) Ticks(low, high float64) []plot.Tick {
	ticks := plot.DefaultTicks{}.Ticks(low, high)
	for i := range ticks {
		if !ticks[i].IsMinor() {
			ticks[i].Label = n.label(ticks[i].Value)
		}
	}
	return ticks
}

// ramp draws p99 and throughput over the offered rate, with the limit and the knee.
func (r *Report) ramp() ([]*plot.Plot, error) {
	runs := slices.Clone(r.Runs)
	slices.SortFunc(runs, func(a, b Run) int { return int(a.OfferedPerS - b.OfferedPerS) })
	name := runs[0].Name
	late := r.newPlot("tokenbroker-bench capacity: p99 by the rate of arrivals", name+" offered a second", "p99, from when it was meant to be sent")
	done := r.newPlot("tokenbroker-bench capacity: answers by the rate of arrivals", name+" offered a second", "answers a second")
	var p99, achieved plotter.XYs
	low, high := r.Knee.SLOUS, r.Knee.SLOUS
	most := 0.0
	for _, run := range runs {
		p99 = append(p99, plotter.XY{X: run.OfferedPerS, Y: run.Latency.P99})
		achieved = append(achieved, plotter.XY{X: run.OfferedPerS, Y: run.PerS})
		low, high, most = min(low, run.Latency.P99), max(high, run.Latency.P99), max(most, run.PerS)
	}
	last := runs[len(runs)-1].OfferedPerS
	for _, step := range []func() error{
		func() error { return lineOf(late, "p99", p99, colours[0], false, true) },
		func() error { return level(late, "limit "+duration(r.Knee.SLOUS), r.Knee.SLOUS, 0, last, limitColour) },
		func() error { return lineOf(done, "answered", achieved, colours[0], false, true) },
		func() error {
			return lineOf(done, "all that was offered", plotter.XYs{{}, {X: last, Y: last}}, floorColour, true, false)
		},
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	logarithmic(&late.Y, low, high, duration)
	most = max(most, r.Knee.PerS) * 1.25
	done.Y.Min, done.Y.Max = 0, min(most, last*1.25)
	for _, p := range []*plot.Plot{late, done} {
		p.X.Min, p.X.Max = 0, last*1.02
		p.X.Tick.Marker = named{count}
		if !r.Knee.Found {
			continue
		}
		knee := plotter.XYs{{X: r.Knee.PerS, Y: p.Y.Min}, {X: r.Knee.PerS, Y: p.Y.Max}}
		if err := lineOf(p, "knee "+Rate(r.Knee.PerS)+"/s", knee, colours[2], true, false); err != nil {
			return nil, err
		}
	}
	done.Y.Tick.Marker = named{count}
	return []*plot.Plot{late, done}, nil
}

// growth draws the cost over the size, the fitted law and the floor.
func (r *Report) growth() ([]*plot.Plot, error) {
	g := r.Growth
	title := fmt.Sprintf("tokenbroker-bench %s: cost over the number of %s: %s", r.Bench, r.SizeOf, g.Law)
	runs := sized(r.Runs, g.Run)
	y := "time between two answers"
	if runs[0].Concurrency == 1 {
		y = "time of one, median"
	}
	p := r.newPlot(title, r.SizeOf, y)
	var own, floor, law plotter.XYs
	low, high := math.Inf(1), 0.0
	for _, run := range runs {
		cost := run.cost(&run.Measured)
		own = append(own, plotter.XY{X: float64(run.Size), Y: cost})
		low, high = min(low, cost), max(high, cost)
		if run.Floor != nil {
			cost := run.cost(run.Floor)
			floor = append(floor, plotter.XY{X: float64(run.Size), Y: cost})
			low, high = min(low, cost), max(high, cost)
		}
	}
	first, last := float64(runs[0].Size), float64(runs[len(runs)-1].Size)
	for _, size := range []float64{first, last} {
		law = append(law, plotter.XY{X: size, Y: g.fitted.At(size)})
		low, high = min(low, g.fitted.At(size)), max(high, g.fitted.At(size))
	}
	if err := lineOf(p, g.Run, own, colours[0], false, true); err != nil {
		return nil, err
	}
	if err := lineOf(p, fmt.Sprintf("fitted: exponent %.2f, %s", g.Exponent, g.Law), law, colours[1], true, false); err != nil {
		return nil, err
	}
	if len(floor) > 0 {
		if err := lineOf(p, r.floorName(), floor, floorColour, true, true); err != nil {
			return nil, err
		}
	}
	logarithmic(&p.X, first, last, count)
	p.X.Tick.Marker = ticksAt(own)
	logarithmic(&p.Y, low, high*2, duration) // room for the legend
	return []*plot.Plot{p}, nil
}
