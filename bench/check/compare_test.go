package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/bench/gobench"
)

func TestCompareJudgesByDirectionAndTolerance(t *testing.T) {
	for _, one := range []struct {
		name   string
		unit   string
		better direction
		was    float64
		is     []float64
		want   verdict
	}{
		{"the same", "x-raw", smaller, 1.2, []float64{1.2}, good},
		{"a quarter larger", "x-raw", smaller, 1, []float64{1.25}, good},
		{"more than a quarter larger", "x-raw", smaller, 1, []float64{1.26}, worse},
		{"more than a quarter smaller", "x-raw", smaller, 1, []float64{0.74}, better},
		{"a quarter less of a rate", "x-gin", larger, 1, []float64{0.75}, good},
		{"more than a quarter less of a rate", "x-gin", larger, 1, []float64{0.74}, worse},
		{"more of a rate", "x-gin", larger, 1, []float64{1.3}, better},
		{"the median counts", "x-raw", smaller, 1, []float64{9, 1, 1.1}, good},
		{"an allocation instead of none", "allocs/op", smaller, 0, []float64{1}, worse},
		{"an allocation in one of three runs", "allocs/op", smaller, 0, []float64{0, 0, 1}, good},
		{"a few bytes instead of none", "B/op", smaller, 0, []float64{16}, good},
		{"bytes instead of none", "B/op", smaller, 0, []float64{100}, worse},
		{"no longer measured", "x-raw", smaller, 1, nil, missing},
	} {
		t.Run(one.name, func(t *testing.T) {
			recorded := recordedSuite{Benches: map[string]map[string]recordedValue{"B": {one.unit: {one.was, one.better}}}}
			found := compare(suite{ratios: one.better}, recorded, gobench.Results{"B": {one.unit: one.is}}, 0.25)
			if len(found) != 1 || found[0].verdict != one.want {
				t.Errorf("found %+v, want %s", found, one.want)
			}
		})
	}
}

func TestCompareReportsNewMetricsButNotTimes(t *testing.T) {
	found := compare(suite{ratios: smaller}, recordedSuite{}, gobench.Results{"B": {"x-raw": {1}, "ns/op": {80}, "p99-ms": {3}, "ops/s": {9}}}, 0.25)
	want := []finding{{bench: "B", unit: "x-raw", is: 1, verdict: unknown}}
	if diff := cmp.Diff(want, found, cmp.AllowUnexported(finding{})); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
	if found[0].bad() {
		t.Error("a new benchmark is a failure")
	}
}

func TestUnsteadyMetricIsNotCompared(t *testing.T) {
	s := suite{ratios: smaller, unsteady: "x-map"}
	if found := compare(s, recordedSuite{}, gobench.Results{"B": {"x-map": {1}}}, 0.25); len(found) > 0 {
		t.Errorf("found %+v", found)
	}
	if kept := newRecordedSuite(s, gobench.Results{"B": {"x-map": {1}}}).Benches; len(kept) > 0 {
		t.Errorf("recorded %v", kept)
	}
}

func TestRemovedSuiteIsReportedAsMissing(t *testing.T) {
	recorded := record{Suites: map[string]recordedSuite{
		"gone": {Benches: map[string]map[string]recordedValue{"B": {"x-raw": {1, smaller}}}},
		"here": {Benches: map[string]map[string]recordedValue{"C": {"x-raw": {1, smaller}}}},
	}}
	found := dropped([]suite{{name: "here"}}, recorded)
	want := []finding{{bench: "B", unit: "x-raw", was: 1, verdict: missing}}
	if diff := cmp.Diff(want, found, cmp.AllowUnexported(finding{})); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}
