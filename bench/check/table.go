package main

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"text/tabwriter"
)

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

// number has three significant digits.
func number(v float64) string {
	if v != 0 && math.Abs(v) < 1000 {
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	return strconv.FormatFloat(v, 'f', 0, 64)
}
