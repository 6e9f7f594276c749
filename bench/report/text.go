package report

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"

	"tokenbroker/bench/curve"
)

// WriteText prints the report for people: the machine, a table, and conclusions.
func (r *Report) WriteText(w io.Writer) {
	m := r.Machine
	_, _ = fmt.Fprintf(w, "machine  %s, %d cores, GOMAXPROCS %d, %s, %s\n", m.CPU, m.Cores, m.GOMAXPROCS, m.Kernel, m.Go)
	if m.FsyncUS > 0 {
		_, _ = fmt.Fprintf(w, "disk     append and fdatasync %s (median), %s\n", Time(m.FsyncUS), m.FsyncDir)
	}
	_, _ = fmt.Fprintf(w, "binary   %s\n", m.Tokenbroker)
	server := r.Target.URL
	if r.Target.Own {
		server = "its own, in this process, on the same cores as the load"
	}
	_, _ = fmt.Fprintf(w, "server   %s\n", server)
	if r.Floor != "" {
		_, _ = fmt.Fprintf(w, "floor    %s\n", r.Floor)
	}
	_, _ = fmt.Fprintln(w)
	r.writeTable(w)
	if r.Cluster != nil {
		r.Cluster.writeText(w, r.Runs)
	}
	for _, line := range r.verdicts() {
		_, _ = fmt.Fprintf(w, "\n%s", line)
	}
	for _, note := range r.Notes {
		_, _ = fmt.Fprintf(w, "\nnote: %s", note)
	}
	if len(r.Notes)+len(r.verdicts()) > 0 {
		_, _ = fmt.Fprintln(w)
	}
}

// column is a column of the table. A cell is "" if it does not apply to a run. A column without
// cells is omitted.
type column struct {
	head string
	cell func(*Run) string
}

func (r *Report) columns() []column {
	columns := []column{
		{"what", func(run *Run) string { return run.Name }},
		{"loop", func(run *Run) string { return run.Loop }},
		{"at once", func(run *Run) string { return whole(float64(run.Concurrency)) }},
		{r.SizeOf, func(run *Run) string { return whole(float64(run.Size)) }},
		{"offered/s", func(run *Run) string { return whole(run.OfferedPerS) }},
		{"done/s", func(run *Run) string { return Rate(run.PerS) }},
	}
	columns = append(columns,
		column{"p50", func(run *Run) string { return Time(run.Latency.P50) }},
		column{"p99", func(run *Run) string { return Time(run.Latency.P99) }},
		column{"p99.9", func(run *Run) string { return Time(run.Latency.P999) }},
		column{"max", func(run *Run) string { return Time(run.Latency.Max) }})
	if r.Bench == "validate" { // calls without a queue, for which the median is enough
		columns = append(columns,
			column{"floor p50", ofFloor(func(run *Run) string { return Time(run.Floor.Latency.P50) })},
			column{"× floor", ofFloor(func(run *Run) string { return ratio(run.OfFloor.P50) })})
	} else {
		columns = append(columns,
			column{"floor/s", ofFloor(func(run *Run) string { return when(run.Loop == "closed", Rate(run.Floor.PerS)) })},
			column{"× floor", ofFloor(func(run *Run) string { return when(run.Loop == "closed", ratio(run.OfFloor.PerS)) })},
			column{"floor p50", ofFloor(func(run *Run) string { return when(run.Loop == "open", Time(run.Floor.Latency.P50)) })},
			column{"floor p99", ofFloor(func(run *Run) string { return Time(run.Floor.Latency.P99) })},
			column{"× p50", ofFloor(func(run *Run) string { return when(run.Loop == "open", ratio(run.OfFloor.P50)) })},
			column{"× p99", ofFloor(func(run *Run) string { return ratio(run.OfFloor.P99) })})
	}
	return append(columns,
		column{"errors", func(run *Run) string { return whole(float64(run.Errors)) }},
		column{"not sent", func(run *Run) string { return whole(float64(run.Dropped + run.Abandoned)) }},
		column{"limits", func(run *Run) string {
			if run.Kept != nil && *run.Kept {
				return "kept"
			}
			return run.Broken
		}})
}

func ofFloor(cell func(*Run) string) func(*Run) string {
	return func(run *Run) string {
		if run.Floor == nil || run.OfFloor == nil {
			return ""
		}
		return cell(run)
	}
}

func when(ok bool, text string) string {
	if ok {
		return text
	}
	return ""
}

func (r *Report) writeTable(w io.Writer) {
	if len(r.Runs) == 0 {
		_, _ = fmt.Fprintln(w, "nothing was measured")
		return
	}
	var heads []string
	rows := make([][]string, len(r.Runs))
	for _, c := range r.columns() {
		cells := make([]string, len(r.Runs))
		used := false
		for i := range r.Runs {
			cells[i] = c.cell(&r.Runs[i])
			used = used || cells[i] != ""
		}
		if !used {
			continue
		}
		heads = append(heads, c.head)
		for i, cell := range cells {
			rows[i] = append(rows[i], cell)
		}
	}
	writeRows(w, append([][]string{heads}, rows...))
}

// writeRows prints a table. An empty cell is shown as "-".
func writeRows(w io.Writer, rows [][]string) {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			row[i] = or(cell, "-")
		}
		_, _ = fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	_ = tw.Flush() // writes to memory, which does not fail
}

func or(text, fallback string) string {
	if text == "" {
		return fallback
	}
	return text
}

// verdicts returns the sentences below the table.
func (r *Report) verdicts() []string {
	var out []string
	if r.Interrupted {
		out = append(out, "Interrupted: this is what was measured until then.")
	}
	if k := r.Knee; k != nil {
		limits := fmt.Sprintf("p99 within %s, no errors, and %.0f %% of what arrives answered in time", Time(k.SLOUS), 100*k.AchievedShare)
		switch {
		case !k.Found:
			out = append(out, "No rate that was tried kept the limits ("+limits+"): begin lower with --from.")
		case k.Highest:
			out = append(out, fmt.Sprintf("The knee is above %s/s, the highest rate that was tried (p99 %s): raise --to. Limits: %s.", Rate(k.PerS), Time(k.P99US), limits))
		default:
			out = append(out, fmt.Sprintf("The knee is at %s/s (p99 %s): the highest rate that kept the limits, which are %s.", Rate(k.PerS), Time(k.P99US), limits))
		}
		if k.Found && k.OfFloor > 0 {
			out = append(out, fmt.Sprintf("That is %s × the floor's rate in a closed loop.", ratio(k.OfFloor)))
		}
	}
	if g := r.Growth; g != nil {
		of := map[curve.Law]string{curve.Constant: "does not grow with", curve.Logarithmic: "grows with the logarithm of", curve.Linear: "grows in proportion to"}[g.Law]
		out = append(out, fmt.Sprintf("%s: the cost %s the number of %s: %s (exponent %.2f; × %.2f from the least to the greatest number).", g.Run, of, r.SizeOf, g.Law, g.Exponent, g.Times))
	}
	if c := r.Cluster; c != nil {
		if n, first := c.Broken(); n > 0 {
			out = append(out, fmt.Sprintf("%d times a broker broke what it had acknowledged, first: %s", n, first))
		}
	}
	for _, run := range r.Runs {
		if run.FirstError != "" {
			out = append(out, fmt.Sprintf("First error of %s: %s", run.Name, run.FirstError))
			break
		}
	}
	return out
}

// Time formats a time in microseconds with a suitable unit and three digits.
func Time(us float64) string {
	switch {
	case us == 0:
		return ""
	case us < 1:
		return digits(us*1000) + " ns"
	case us < 1000:
		return digits(us) + " µs"
	case us < 1e6:
		return digits(us/1000) + " ms"
	}
	return digits(us/1e6) + " s"
}

// Rate formats a rate per second, with k and M from ten thousand on.
func Rate(perS float64) string {
	switch {
	case perS == 0:
		return ""
	case perS >= 1e6:
		return digits(perS/1e6) + " M"
	case perS >= 1e4:
		return digits(perS/1000) + " k"
	}
	return digits(perS)
}

func ratio(x float64) string {
	if x == 0 {
		return ""
	}
	return digits(x)
}

// digits formats three significant digits without an exponent.
func digits(x float64) string {
	if x == 0 || math.IsInf(x, 0) || math.IsNaN(x) {
		return "0"
	}
	decimals := 2 - int(math.Floor(math.Log10(math.Abs(x))))
	return fmt.Sprintf("%.*f", max(0, decimals), x)
}

func whole(x float64) string {
	if x == 0 {
		return ""
	}
	return fmt.Sprintf("%.0f", x)
}
