package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/bench/gobench"
)

var one = suite{name: "mint", bench: "^BenchmarkMint$", count: 3, ratios: smaller}

// scripted returns prepared measurements, one for each attempt.
type scripted struct {
	ratios []float64
	err    error // returned instead, if not nil
	counts []int
}

func (s *scripted) measure(_ context.Context, _ suite, count int) (string, error) {
	s.counts = append(s.counts, count)
	if s.err != nil {
		return "", s.err
	}
	ratio := s.ratios[0]
	s.ratios = s.ratios[1:]
	return strings.Repeat(fmt.Sprintf("BenchmarkMint/ES256 10 500 ns/op %g x-raw\n", ratio), count), nil
}

func recordOf(ratio float64) record {
	return record{Suites: map[string]recordedSuite{"mint": {Benches: map[string]map[string]recordedValue{
		"Mint/ES256": {"x-raw": {ratio, smaller}},
	}}}}
}

func TestWorseResultsAreMeasuredAgainAndLonger(t *testing.T) {
	for _, c := range []struct {
		name   string
		ratios []float64
		want   verdict
		counts []int
	}{
		{"good at once", []float64{1.1}, good, []int{3}},
		{"disturbed once", []float64{2, 1.1}, good, []int{3, 6}},
		{"disturbed twice", []float64{2, 3, 1.1}, good, []int{3, 6, 6}},
		{"worse each time", []float64{1.9, 1.8, 2}, worse, []int{3, 6, 6}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &scripted{ratios: c.ratios}
			found, err := checker{measure: s.measure, tolerance: 0.25, attempts: 3, progress: io.Discard}.check(t.Context(), []suite{one}, recordOf(1))
			if err != nil {
				t.Fatal(err)
			}
			if len(found) != 1 || found[0].verdict != c.want || !slices.Equal(s.counts, c.counts) {
				t.Errorf("got %+v after runs of %v, want %s after %v", found, s.counts, c.want, c.counts)
			}
		})
	}
}

func TestBenchmarkThatCannotRunIsAnError(t *testing.T) {
	broken := errors.New("exit status 1")
	s := &scripted{err: broken}
	c := checker{measure: s.measure, tolerance: 0.25, attempts: 3, progress: io.Discard}
	if _, err := c.check(t.Context(), []suite{one}, recordOf(1)); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	nothing := func(context.Context, suite, int) (string, error) { return "PASS\n", nil }
	c.measure = nothing
	if _, err := c.check(t.Context(), []suite{one}, recordOf(1)); err == nil {
		t.Error("a suite without benchmarks passed")
	}
}

func TestRecordReplacesOnlyTheChosenSuites(t *testing.T) {
	into := recordOf(9)
	into.Suites["other"] = recordedSuite{Date: "2001-01-01"}
	s := &scripted{ratios: []float64{1.5}}
	if err := (checker{measure: s.measure, progress: io.Discard}).record(t.Context(), []suite{one}, &into, "2026-01-02"); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "recorded.json")
	if err := into.write(path); err != nil {
		t.Fatal(err)
	}
	got, err := readRecord(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(into, got); diff != "" {
		t.Errorf("the record that was read (-want +got):\n%s", diff)
	}
	mint := got.Suites["mint"]
	want := map[string]map[string]recordedValue{"Mint/ES256": {"x-raw": {1.5, smaller}}}
	if diff := cmp.Diff(want, mint.Benches); diff != "" || mint.Date != "2026-01-02" || mint.Machine == "" || mint.Go == "" {
		t.Errorf("recorded %+v (-want +got):\n%s", mint, diff)
	}
	if got.Suites["other"].Date != "2001-01-01" {
		t.Error("the record of another suite was lost")
	}
}

func TestTableNamesWorseMetrics(t *testing.T) {
	var out strings.Builder
	found := compare(one, recordOf(1).Suites["mint"], gobench.Results{"Mint/ES256": {"x-raw": {1.5}}}, 0.25)
	if err := printTable(&out, found); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if got := strings.Join(strings.Fields(lines[len(lines)-1]), " "); got != "Mint/ES256 x-raw 1 1.5 50 % worse WORSE" {
		t.Errorf("the table:\n%s", out.String())
	}
}
