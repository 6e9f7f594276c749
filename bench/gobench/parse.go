// Package gobench parses the output of go test -bench.
package gobench

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Results are the measured values by benchmark and unit.
type Results map[string]map[string][]float64

// Parse parses the output of go test -bench and returns the results and the name of the processor.
// Benchmark names lose their prefix "Benchmark" and keep the number of processors at their end.
func Parse(output string) (found Results, cpu string, err error) {
	found = make(Results)
	for line := range strings.Lines(output) {
		if name, ok := strings.CutPrefix(line, "cpu:"); ok {
			cpu = strings.TrimSpace(name)
		}
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		if _, err := strconv.Atoi(fields[1]); err != nil {
			continue // a failed benchmark, or a log line
		}
		if len(fields)%2 != 0 {
			return nil, "", fmt.Errorf("not a benchmark result: %q", strings.TrimSpace(line))
		}
		name := strings.TrimPrefix(fields[0], "Benchmark")
		if found[name] == nil {
			found[name] = make(map[string][]float64)
		}
		for i := 2; i < len(fields); i += 2 {
			value, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, "", fmt.Errorf("not a benchmark result: %q", strings.TrimSpace(line))
			}
			found[name][fields[i+1]] = append(found[name][fields[i+1]], value)
		}
	}
	return found, cpu, nil
}

// Median returns the median of values, of which there is at least one.
func Median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	if n := len(sorted); n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[len(sorted)/2]
}
