package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gonum.org/v1/plot/plotter"

	"tokenbroker/bench/gobench"
)

const measured = `cpu: Some Processor
BenchmarkValidateSeenBefore/live=1000/warm 10 120 ns/op 0.5 x-map 3 x-time-since
BenchmarkValidateSeenBefore/live=1000/warm 10 100 ns/op 0.5 x-map 3 x-time-since
BenchmarkValidateSeenBefore/live=1000/warm 10 90 ns/op 0.5 x-map 3 x-time-since
BenchmarkValidateSeenBefore/live=1000/warm-2 10 999 ns/op 0.5 x-map 3 x-time-since
BenchmarkValidateSeenBefore/live=1/warm 10 60 ns/op 0.6 x-map 2 x-time-since
BenchmarkPropagation/subscribers=10-2 10 5 p50-ms
`

func TestLineHasTheMedianOfEachSize(t *testing.T) {
	found, _, err := gobench.Parse(measured)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]plotter.XYs)
	for _, f := range figures {
		for _, c := range f.curves(found) {
			got[c.name] = c.points
		}
	}
	want := map[string]plotter.XYs{
		"validator":                          {{X: 1, Y: 60}, {X: 1000, Y: 100}},
		"map under a RWMutex, no revocation": {{X: 1, Y: 100}, {X: 1000, Y: 200}},
		"one time.Since":                     {{X: 1, Y: 30}, {X: 1000, Y: 100.0 / 3}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestPlotDrawsTheMeasurements(t *testing.T) {
	dir := t.TempDir()
	var out, complaint strings.Builder
	if code := run([]string{"-o", dir}, strings.NewReader(measured), &out, &complaint); code != 0 {
		t.Fatalf("exit code %d: %s", code, complaint.String())
	}
	file := filepath.Join(dir, "validate-seen-before.svg")
	if strings.TrimSpace(out.String()) != file {
		t.Errorf("the output is %q", out.String())
	}
	picture, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"<svg", "live tokens", "one time.Since", "Some Processor"} {
		if !strings.Contains(string(picture), text) {
			t.Errorf("the figure lacks %q", text)
		}
	}
}

func TestExitCodes(t *testing.T) {
	for name, c := range map[string]struct {
		args  []string
		input string
		want  int
	}{
		"nothing measured": {nil, "PASS\n", 1},
		"not a result":     {nil, "BenchmarkMint 10 fast ns/op\n", 1},
		"another format":   {[]string{"-format", "gif"}, measured, 2},
		"an unknown flag":  {[]string{"-fast"}, measured, 2},
		"a missing file":   {[]string{filepath.Join(t.TempDir(), "none")}, measured, 2},
	} {
		t.Run(name, func(t *testing.T) {
			var out, complaint strings.Builder
			if code := run(c.args, strings.NewReader(c.input), &out, &complaint); code != c.want || complaint.Len() == 0 {
				t.Errorf("exit code %d, error output %q", code, complaint.String())
			}
		})
	}
}
