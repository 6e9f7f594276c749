// Package report is what a bench says: a [Report] with everything that was measured, as a
// table ([Report.WriteText]), as JSON (its members are stable; docs/bench.md) and as a
// picture ([Report.Plot]).
package report
