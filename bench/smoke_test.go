package bench

import (
	"os"
	"os/exec"
	"testing"

	"tokenbroker/internal/longtest"
)

// TestBenchesRun runs each benchmark of this package a few times, so that a broken one is noticed. It does
// not measure their speed. A benchmark that takes long to prepare uses smaller sizes under -short, which
// this test sets.
func TestBenchesRun(t *testing.T) {
	longtest.SkipShort(t, "runs every benchmark")
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run := exec.CommandContext(t.Context(), binary, "-test.run=^$", "-test.bench=.", "-test.benchtime=16x", "-test.short")
	if out, err := run.CombinedOutput(); err != nil {
		t.Errorf("running the benchmarks: %v\n%s", err, out)
	}
}
