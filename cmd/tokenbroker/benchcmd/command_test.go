package benchcmd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	benchreport "tokenbroker/bench/report"
	"tokenbroker/broker/password"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/internal/longtest"
)

// shortly has the flags of a short benchmark.
var shortly = []string{"--warmup", "20ms", "--duration", "200ms", "--turns", "1"}

func TestMain(m *testing.M) {
	password.DefaultParams = password.Params{Memory: 64, Time: 1, Threads: 1}
	os.Exit(m.Run())
}

// runBench runs a benchmark with --output json and returns its report. It skips the test under
// -short.
func runBench(t *testing.T, args ...string) benchreport.Report {
	t.Helper()
	longtest.SkipShort(t, "runs a benchmark")
	var stdout, stderr bytes.Buffer
	if code := Main(t.Context(), append(args, append(shortly, "--output", "json")...), strings.NewReader(""), &stdout, &stderr); code != terminal.ExitOK {
		t.Fatalf("bench %v: exit code %d\n%s", args, code, stderr.String())
	}
	var r benchreport.Report
	decoder := json.NewDecoder(bytes.NewReader(stdout.Bytes()))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&r); err != nil {
		t.Fatalf("bench %v: %v\n%s", args, err, stdout.String())
	}
	if r.V != benchreport.Version || r.Bench != args[0] || r.Interrupted || r.TookS <= 0 || len(r.Runs) == 0 {
		t.Fatalf("bench %v: v %d, bench %q, interrupted %v, %d runs", args, r.V, r.Bench, r.Interrupted, len(r.Runs))
	}
	if m := r.Machine; m.CPU == "" || m.Cores < 1 || m.GOMAXPROCS < 1 || m.Go == "" || m.Tokenbroker == "" || m.Kernel == "" || m.FsyncUS <= 0 {
		t.Errorf("bench %v does not name the machine: %+v", args, m)
	}
	for _, run := range r.Runs {
		if run.Operations == 0 || run.Errors > 0 || run.Latency.P50 <= 0 || run.Latency.Max < run.Latency.P50 {
			t.Errorf("bench %v, %s: %d operations, %d errors, latency %+v", args, run.Name, run.Operations, run.Errors, run.Latency)
		}
	}
	return r
}

// wantFloors fails the test for each run without a floor.
func wantFloors(t *testing.T, r benchreport.Report) {
	t.Helper()
	for _, run := range r.Runs {
		if run.Floor == nil || run.OfFloor == nil || run.Floor.Operations == 0 || run.OfFloor.P50 <= 0 {
			t.Errorf("%s has no floor", run.Name)
		}
	}
}

func TestBenchRefreshOwnServer(t *testing.T) {
	temp := t.TempDir()
	picture := filepath.Join(t.TempDir(), "refresh.png")
	r := runBench(t, "refresh", "--clients", "1,4", "--temp-dir", temp, "--plot", picture)
	wantFloors(t, r)
	if !r.Target.Own || len(r.Runs) != 2 || r.Runs[0].Concurrency != 1 || r.Runs[1].Concurrency != 4 || r.Runs[0].Loop != "closed" {
		t.Errorf("own %v, runs %+v", r.Target.Own, r.Runs)
	}
	f, err := os.Open(picture)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if img, err := png.Decode(f); err != nil || img.Bounds().Dx() < 500 {
		t.Errorf("the plot is not a picture: %v", err)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("files are left: %v %v", left, err)
	}
}

func TestBenchRefreshOpenLoop(t *testing.T) {
	r := runBench(t, "refresh", "--rate", "100", "--clients", "8")
	wantFloors(t, r)
	if run := r.Runs[0]; run.Loop != "open" || run.OfferedPerS != 100 || run.Service == nil || run.Lag == nil {
		t.Errorf("%+v", run)
	}
}

func TestBenchValidateOwnServer(t *testing.T) {
	picture := filepath.Join(t.TempDir(), "validate.svg")
	r := runBench(t, "validate", "--tokens", "1,20", "--goroutines", "1,2", "--plot", picture)
	wantFloors(t, r)
	var names []string
	for _, run := range r.Runs {
		names = append(names, fmt.Sprintf("%s %d %d", run.Name, run.Size, run.Concurrency))
	}
	want := []string{"seen before 1 1", "seen before 1 2", "seen before 20 1", "seen before 20 2", "first sight 0 1", "first sight 0 2"}
	if !slices.Equal(names, want) {
		t.Errorf("runs %q, want %q", names, want)
	}
	if seen, first := r.Runs[0].Latency.P50, r.Runs[4].Latency.P50; first < 10*seen {
		t.Errorf("a token seen before takes %v µs, one seen for the first time %v: was it remembered?", seen, first)
	}
	for _, note := range r.Notes {
		if strings.Contains(note, "again") || strings.Contains(note, "remembered") {
			t.Error(note)
		}
	}
	if r.Growth == nil || r.Growth.Law == "" {
		t.Errorf("growth %+v", r.Growth)
	}
	if svg, err := os.ReadFile(picture); err != nil || !bytes.Contains(svg, []byte("<svg")) {
		t.Errorf("the plot is not a picture: %v", err)
	}
}

func TestBenchPropagationOwnServer(t *testing.T) {
	for _, by := range []string{"log-off", "revoke"} {
		r := runBench(t, "propagation", "--by", by, "--subscribers", "1,3", "--rate", "40")
		wantFloors(t, r)
		if len(r.Runs) != 2 || r.Runs[0].Size != 1 {
			t.Errorf("%+v", r.Runs)
		}
		if run := r.Runs[1]; run.Size != 3 || run.Loop != "open" || run.OfferedPerS != 40 || run.Dropped+run.Abandoned > 0 {
			t.Errorf("%+v", run)
		}
	}
}

func TestBenchCapacityOwnServer(t *testing.T) {
	for _, operation := range []string{"refresh", "verify", "sign-in"} {
		t.Run(operation, func(t *testing.T) {
			r := runBench(t, "capacity", "--operation", operation, "--clients", "8", "--from", "10", "--to", "20", "--slo", "5s")
			// Whether the limits are kept depends on the machine.
			first := r.Runs[0]
			if r.Knee == nil || first.OfferedPerS != 10 || first.Loop != "open" || first.Kept == nil || *first.Kept == (first.Broken != "") {
				t.Errorf("knee %+v, levels %+v", r.Knee, r.Runs)
			}
			if r.Knee.Found != slices.ContainsFunc(r.Runs, func(run benchreport.Run) bool { return *run.Kept }) {
				t.Errorf("knee %+v of levels %+v", r.Knee, r.Runs)
			}
		})
	}
	t.Run("no level keeps the limits", func(t *testing.T) {
		r := runBench(t, "capacity", "--clients", "8", "--from", "10", "--to", "40", "--slo", "1ns")
		if r.Knee == nil || r.Knee.Found || len(r.Runs) != 2 || *r.Runs[0].Kept || r.Runs[0].Broken == "" {
			t.Errorf("knee %+v, levels %+v", r.Knee, r.Runs)
		}
	})
	t.Run("cost over size", func(t *testing.T) {
		r := runBench(t, "capacity", "--sizes", "10,30", "--clients", "4")
		wantFloors(t, r)
		if r.Growth == nil || len(r.Runs) != 2 || r.Runs[0].Size != 10 || r.Runs[1].Size != 30 {
			t.Errorf("growth %+v, runs %+v", r.Growth, r.Runs)
		}
	})
}

func TestBenchInterrupted(t *testing.T) {
	for after := 2 * time.Second; ; after *= 2 { // until the interruption is in the middle of a run, which takes ten minutes
		if after > 2*time.Minute {
			t.Fatal("no run started")
		}
		if interruptBench(t, after) {
			return
		}
	}
}

// interruptBench interrupts a benchmark after the given time and checks its report. It returns
// false if no run had started.
func interruptBench(t *testing.T, after time.Duration) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), after)
	defer cancel()
	var stdout, stderr bytes.Buffer
	code := Main(ctx, []string{"refresh", "--clients", "2", "--warmup", "10ms", "--duration", "10m", "--turns", "1", "--output", "json"}, strings.NewReader(""), &stdout, &stderr)
	if stdout.Len() == 0 { // the benchmark was still preparing
		return false
	}
	var r benchreport.Report
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		t.Fatalf("%v\n%s%s", err, stdout.String(), stderr.String())
	}
	if len(r.Runs) == 0 || r.Runs[0].Operations == 0 {
		return false
	}
	if code != terminal.ExitFailed || !r.Interrupted || len(r.Runs) != 1 {
		t.Errorf("exit code %d, interrupted %v, runs %+v", code, r.Interrupted, r.Runs)
	}
	if !strings.Contains(stderr.String(), "interrupted") {
		t.Errorf("stderr: %s", stderr.String())
	}
	return true
}

// TestBrokenPromisesFail checks that a cluster that lost something makes the command fail, and that missed goals do not.
func TestBrokenPromisesFail(t *testing.T) {
	missed := []benchreport.Goal{{What: "a rate"}}
	for name, c := range map[string]struct {
		cluster benchreport.Cluster
		fails   bool
	}{
		"missed goals":               {benchreport.Cluster{Goals: missed, Final: &benchreport.History{Unanswered: 1, Expired: 1, LateChecks: 1}}, false},
		"lost in the last checks":    {benchreport.Cluster{Final: &benchreport.History{Lost: 1}}, true},
		"a stale read":               {benchreport.Cluster{Faults: []benchreport.Fault{{History: benchreport.History{StaleReads: 1}}}}, true},
		"a second successor":         {benchreport.Cluster{Faults: []benchreport.Fault{{History: benchreport.History{DoubleSuccessors: 1}}}}, true},
		"a fault that was skipped":   {benchreport.Cluster{Faults: []benchreport.Fault{{Skipped: "why"}}}, false},
		"measured without any fault": {benchreport.Cluster{}, false},
	} {
		if err := outcome(&benchreport.Report{Bench: "cluster", Cluster: &c.cluster}, nil); (err != nil) != c.fails {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestBenchUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"refresh", "--clients", "0"}, "--clients 0"},
		{[]string{"refresh", "--rate", "-1"}, "--rate -1"},
		{[]string{"refresh", "--rate", "NaN"}, "--rate NaN"},
		{[]string{"refresh", "--duration", "0"}, "--duration"},
		{[]string{"refresh", "--turns", "0"}, "--turns"},
		{[]string{"refresh", "--plot", "x.pdf"}, ".svg or .png"},
		{[]string{"refresh", "--username", "ada"}, "require --url"},
		{[]string{"refresh", "--url", "http://127.0.0.1:1"}, "--username"},
		{[]string{"refresh", "--url", "http://example.com", "--username", "ada", "--password-stdin"}, "plain http"},
		{[]string{"refresh", "--url", "ftp://127.0.0.1", "--username", "ada", "--password-stdin"}, "--url"},
		{[]string{"refresh", "more"}, "more"},
		{[]string{"validate", "--url", "http://127.0.0.1:1", "--username", "ada", "--password-stdin"}, "--client-id"},
		{[]string{"validate", "--nats-user", "ada"}, "--nats-user"},
		{[]string{"validate", "--tokens", "0"}, "numbers above 0"},
		{[]string{"validate", "--tokens", "2M"}, "--tokens"},
		{[]string{"validate", "--goroutines", "0"}, "--goroutines 0"},
		{[]string{"propagation", "--rate", "0"}, "--rate 0"},
		{[]string{"propagation", "--subscribers", "0"}, "numbers above 0"},
		{[]string{"propagation", "--subscribers", "5k"}, "--subscribers 5000"},
		{[]string{"propagation", "--by", "mail"}, "--by"},
		{[]string{"propagation", "--subscribers", "1000", "--rate", "1000"}, "lower --rate"},
		{[]string{"capacity", "--operation", "fly"}, "--operation"},
		{[]string{"capacity", "--from", "100", "--to", "10"}, "--from 100"},
		{[]string{"capacity", "--sizes", "1k,x"}, "numbers above 0"},
		{[]string{"capacity", "--sizes", "1k", "--slo", "1ms"}, "--slo is not for --sizes"},
		{[]string{"cluster"}, "--processes and --url"},
		{[]string{"cluster", "--url", "http://127.0.0.1:1", "--processes", "x"}, "--processes and --url"},
		{[]string{"cluster", "--url", "http://127.0.0.1:1", "--username", "ada", "--faults", "leader"}, "by --processes"},
		{[]string{"cluster", "--processes", "none.json"}, "none.json"},
		{[]string{"cluster", "--processes", "command_test.go"}, "command_test.go"},
		{[]string{"cluster", "--processes", "x", "--faults", "leader,fire"}, "fire"},
		{[]string{"cluster", "--processes", "x", "--username", "ada"}, "are for --url"},
		{[]string{"cluster", "--processes", "x", "--nats", "nats://127.0.0.1"}, "--client-id"},
		{[]string{"cluster", "--processes", "x", "--clients", "0"}, "--clients 0"},
		{[]string{"fly"}, "fly"},
	} {
		var stdout, stderr bytes.Buffer
		code := Main(t.Context(), c.args, strings.NewReader("correct horse\n"), &stdout, &stderr)
		if code != terminal.ExitUsage || !strings.Contains(stderr.String(), c.want) || stdout.Len() > 0 {
			t.Errorf("bench %v: exit code %d, want %d and a message with %q\n%s", c.args, code, terminal.ExitUsage, c.want, stderr.String())
		}
	}
}

// TestClusterHelpDoesNotTieValidatorsToURL checks that the flags of validators are described for --processes as well.
func TestClusterHelpDoesNotTieValidatorsToURL(t *testing.T) {
	for command, tied := range map[string]bool{"cluster": false, "validate": true} {
		var stdout, stderr bytes.Buffer
		if code := Main(t.Context(), []string{command, "--help"}, strings.NewReader(""), &stdout, &stderr); code != 0 {
			t.Fatalf("%s --help: exit code %d\n%s", command, code, stderr.String())
		}
		if help := stdout.String(); strings.Contains(help, "with --url: the confidential client") != tied {
			t.Errorf("%s --help:\n%s", command, help)
		}
	}
}
