package bench

import (
	"os"
	"os/exec"
	"testing"

	"tokenbroker/internal/longtest"
)

// TestBenchesRun has this test binary run each of its benches a few times, so that one that
// no longer works is noticed without measuring. It says nothing of speed. A bench that needs
// long to prepare makes itself small under -short, which this test sets.
func TestBenchesRun(t *testing.T) {
	longtest.SkipShort(t, "runs every bench")
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run := exec.CommandContext(t.Context(), binary, "-test.run=^$", "-test.bench=.", "-test.benchtime=16x", "-test.short")
	if out, err := run.CombinedOutput(); err != nil {
		t.Errorf("running the benches: %v\n%s", err, out)
	}
}
