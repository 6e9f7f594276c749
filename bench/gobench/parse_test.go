package gobench_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/bench/gobench"
)

func TestParseReadsTheOutputOfGoTest(t *testing.T) {
	found, cpu, err := gobench.Parse(`goos: linux
goarch: amd64
pkg: tokenbroker/bench
cpu: Some Processor  
BenchmarkMint/ES256         	      18	     53629 ns/op	         1.190 x-raw	       0 allocs/op
BenchmarkMint/ES256         	      20	     50001 ns/op	         1.100 x-raw	       1 allocs/op
BenchmarkMint/ES256-2       	      20	     50001 ns/op	         1.300 x-raw
--- FAIL: BenchmarkOther
BenchmarkLogs
    some_test.go:1: a line that a bench logs
PASS
`)
	if err != nil {
		t.Fatal(err)
	}
	want := gobench.Results{
		"Mint/ES256":   {"ns/op": {53629, 50001}, "x-raw": {1.19, 1.1}, "allocs/op": {0, 1}},
		"Mint/ES256-2": {"ns/op": {50001}, "x-raw": {1.3}},
	}
	if diff := cmp.Diff(want, found); diff != "" || cpu != "Some Processor" {
		t.Errorf("processor %q, results (-want +got):\n%s", cpu, diff)
	}
}

func TestParseRefusesAnInvalidResult(t *testing.T) {
	for _, line := range []string{
		"BenchmarkMint 18 53629 ns/op 1.190",
		"BenchmarkMint 18 fast ns/op",
	} {
		if found, _, err := gobench.Parse(line); err == nil {
			t.Errorf("%q was read as %v", line, found)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, one := range []struct {
		values []float64
		want   float64
	}{{[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 9, 2}, 3}} {
		if got := gobench.Median(one.values); got != one.want {
			t.Errorf("median of %v is %v, want %v", one.values, got, one.want)
		}
	}
}
