package report

import (
	"fmt"
	"io"
)

// writeText prints the CPU times of the runs, the faults and the goals.
func (c *Cluster) writeText(w io.Writer, runs []Run) {
	if c.SignatureUS > 0 {
		_, _ = fmt.Fprintf(w, "\nCPU per refresh, in multiples of one ES256 signature (%s):\n", Time(c.SignatureUS))
		rows := [][]string{{"what", "at once", "all brokers", "leader", "each follower"}}
		for _, run := range runs {
			if len(run.Processor) > 0 {
				rows = append(rows, []string{run.Name, whole(float64(run.Concurrency)),
					run.processor(ProcessorBrokers), run.processor(ProcessorLeader), run.processor(ProcessorFollower)})
			}
		}
		writeRows(w, rows)
	}
	if len(c.Faults) > 0 {
		_, _ = fmt.Fprint(w, "\nfaults:\n")
		rows := [][]string{{"fault", "process", "longest gap", "before", "acknowledged", "no answer", "lost", "double", "stale reads", "late checks", "services' lag", "before", "back after"}}
		for _, f := range c.Faults {
			rows = append(rows, f.row())
		}
		if h := c.Final; h != nil {
			rows = append(rows, append([]string{"checks afterwards", "", "", ""}, append(h.cells(), "", "", "")...))
		}
		writeRows(w, rows)
	}
	if len(c.Goals) > 0 {
		_, _ = fmt.Fprint(w, "\ngoals:\n")
		rows := make([][]string, len(c.Goals))
		for i, g := range c.Goals {
			rows[i] = g.row()
		}
		writeRows(w, rows)
	}
}

func (run *Run) processor(of string) string {
	for _, p := range run.Processor {
		if p.Of == of {
			return fmt.Sprintf("%s × (%s)", ratio(p.OfSignature), Time(p.US))
		}
	}
	return ""
}

func (f *Fault) row() []string {
	if f.Skipped != "" {
		return []string{f.title(), "", "", "", "", "", "", "", "", "", "", "", "skipped: " + f.Skipped}
	}
	back := "stayed down"
	if f.BackS > 0 {
		back = seconds(f.BackS)
	}
	lag, before := "", ""
	if f.Validators > 0 {
		lag, before = seconds(f.LagS), seconds(f.UsualLagS)
		if f.Stale > 0 {
			lag += ", stale"
		}
	}
	row := append([]string{f.title(), f.Process, seconds(f.GapS), seconds(f.UsualGapS)}, f.cells()...)
	return append(row, lag, before, back)
}

func (h *History) cells() []string {
	count := func(n uint64) string { return fmt.Sprint(n) }
	return []string{count(h.Acknowledged), count(h.Unanswered), count(h.Lost), count(h.DoubleSuccessors), count(h.StaleReads), count(h.LateChecks)}
}

func (g *Goal) row() []string {
	bound, verdict := "at most", "reached"
	if g.AtLeast {
		bound = "at least"
	}
	if !g.Reached {
		verdict = "MISSED"
	}
	value, limit := or(ratio(g.Value), "0")+" "+g.Unit, ratio(g.Limit)
	switch g.Unit {
	case "":
		value, limit = fmt.Sprint(g.Value), fmt.Sprint(g.Limit)
	case "s":
		value, limit = seconds(g.Value), seconds(g.Limit)
	}
	return []string{g.What, value, bound + " " + limit, verdict}
}

// seconds formats a time in seconds.
func seconds(s float64) string { return or(Time(s*1e6), "0 s") }
