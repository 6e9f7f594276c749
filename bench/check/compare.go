package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"text/tabwriter"

	"tokenbroker/bench/gobench"
)

type verdict string

const (
	good    verdict = "ok"
	better  verdict = "better" // by more than the tolerance, so it should be recorded
	worse   verdict = "WORSE"
	missing verdict = "MISSING" // recorded, but no longer measured
	unknown verdict = "new"     // measured, but not recorded
)

// finding is the result for one metric of one benchmark.
type finding struct {
	bench, unit string
	was, is     float64
	// change is how much worse the metric is, as a share of the recorded value. It is negative if
	// the metric is better.
	change  float64
	verdict verdict
}

func (f finding) bad() bool { return f.verdict == worse || f.verdict == missing }

// compare compares the medians of a suite's results with its record.
func compare(s suite, recorded recordedSuite, found gobench.Results, tolerance float64) []finding {
	var all []finding
	for name, metrics := range recorded.Benches {
		for unit, was := range metrics {
			f := finding{bench: name, unit: unit, was: was.Value, verdict: missing}
			if values := found[name][unit]; len(values) > 0 {
				f.is = gobench.Median(values)
				f.judge(was.Better, tolerance)
			}
			all = append(all, f)
		}
	}
	for name, metrics := range found {
		for unit, values := range metrics {
			_, compared := s.better(unit)
			if _, known := recorded.Benches[name][unit]; compared && !known {
				all = append(all, finding{bench: name, unit: unit, is: gobench.Median(values), verdict: unknown})
			}
		}
	}
	slices.SortFunc(all, func(a, b finding) int { return cmp.Or(cmp.Compare(a.bench, b.bench), cmp.Compare(a.unit, b.unit)) })
	return all
}

// dropped returns findings for the suites that are recorded but no longer exist.
func dropped(all []suite, recorded record) []finding {
	var found []finding
	for name, r := range recorded.Suites {
		if !slices.ContainsFunc(all, func(s suite) bool { return s.name == name }) {
			found = append(found, compare(suite{}, r, nil, 0)...)
		}
	}
	return found
}

func (f *finding) judge(direction direction, tolerance float64) {
	by := f.is - f.was // positive if it is worse
	if direction == larger {
		by = -by
	}
	switch {
	case by == 0:
	case f.was == 0:
		f.change = math.Copysign(math.Inf(1), by)
	default:
		f.change = by / f.was
	}
	allowed := max(tolerance*f.was, slack(f.unit))
	switch {
	case by > allowed:
		f.verdict = worse
	case by < -allowed:
		f.verdict = better
	default:
		f.verdict = good
	}
}

// milder returns for each metric the better finding of two attempts, because other load on the
// machine can make a measurement worse without a change of the code.
func milder(first, second []finding) []finding {
	merged := slices.Clone(first)
	for i, f := range merged {
		at := slices.IndexFunc(second, func(g finding) bool { return g.bench == f.bench && g.unit == f.unit })
		if at >= 0 && f.bad() && (f.verdict == missing || second[at].change < f.change) {
			merged[i] = second[at]
		}
	}
	return merged
}

// printTable writes the findings as a table.
func printTable(w io.Writer, all []finding) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "bench\tmetric\trecorded\tnow\tchange\t")
	for _, f := range all {
		was, is, change := number(f.was), number(f.is), ""
		switch {
		case f.verdict == unknown:
			was = "-"
		case f.verdict == missing:
			is = "-"
		case math.IsInf(f.change, 0):
			change = "from nothing"
		case f.change >= 0.005:
			change = fmt.Sprintf("%.0f %% worse", 100*f.change)
		case f.change <= -0.005:
			change = fmt.Sprintf("%.0f %% better", -100*f.change)
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", f.bench, f.unit, was, is, change, f.verdict)
	}
	return table.Flush()
}

// number formats three significant digits.
func number(v float64) string {
	if v != 0 && math.Abs(v) < 1000 {
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	return strconv.FormatFloat(v, 'f', 0, 64)
}
