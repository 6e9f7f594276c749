package report_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tokenbroker/bench/load"
	"tokenbroker/bench/report"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files; review the difference")

// result is the result of a load with known latencies.
func result(offered float64, usual time.Duration) *load.Result {
	r := load.NewResult()
	r.Offered, r.Took = offered, 2*time.Second
	for i := range 1000 {
		d := usual
		switch {
		case i >= 999:
			d *= 20
		case i >= 980:
			d *= 5
		}
		r.Latency.Record(d)
		r.Service.Record(d)
		r.Lag.Record(0)
		r.InTime++
	}
	return r
}

func yes() *bool { b := true; return &b }
func no() *bool  { b := false; return &b }

// reports returns one report of each kind, which together have all members.
func reports() map[string]*report.Report {
	base := func(bench string) *report.Report {
		return &report.Report{
			V: report.Version, Bench: bench, StartedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), TookS: 12.5,
			Machine: report.Machine{
				CPU: "A CPU", Cores: 2, GOMAXPROCS: 2, Go: "go1.26", Tokenbroker: "tokenbroker v1", Kernel: "Linux 6", FsyncUS: 184, FsyncDir: "/tmp",
			},
			Target: report.Target{Own: true, URL: "http://127.0.0.1:1234"}, Floor: "a floor: what it is", Notes: []string{"a note"},
		}
	}
	run := func(name string, at, size int, own, floor *load.Result) report.Run {
		r := report.Run{Name: name, Loop: "closed", Concurrency: at, Size: size, Measured: report.From(own)}
		if own.Offered > 0 {
			r.Loop = "open"
		}
		if floor != nil {
			r.Against(report.From(floor))
		}
		return r
	}
	failing := result(0, time.Millisecond)
	failing.Failed, failing.FirstError, failing.Dropped, failing.Abandoned = 3, errors.New("status 503"), 2, 1

	refresh := base("refresh")
	refresh.SizeOf = "sessions"
	refresh.Runs = []report.Run{
		run("refresh", 1, 64, result(0, time.Millisecond), result(0, 200*time.Microsecond)),
		run("refresh", 64, 64, failing, result(0, 500*time.Microsecond)),
	}
	propagation := base("propagation")
	propagation.SizeOf, propagation.Interrupted = "subscribers", true
	propagation.Runs = []report.Run{run("log off to refused", 64, 100, result(50, 3*time.Millisecond), result(50, 2*time.Millisecond))}
	validate := base("validate")
	validate.SizeOf = "tokens"
	validate.Runs = []report.Run{
		run("seen before", 1, 1, result(0, 60*time.Nanosecond), result(0, 30*time.Nanosecond)),
		run("seen before", 2, 1, result(0, 70*time.Nanosecond), result(0, 30*time.Nanosecond)),
		run("seen before", 1, 1000, result(0, 66*time.Nanosecond), result(0, 30*time.Nanosecond)),
		run("first sight", 1, 0, result(0, 60*time.Microsecond), result(0, 50*time.Microsecond)),
	}
	validate.FitGrowth("seen before")
	capacity := base("capacity")
	capacity.Target = report.Target{URL: "https://id.example.com"}
	kept, broken := run("refresh", 256, 0, result(500, time.Millisecond), nil), run("refresh", 256, 0, result(1000, 30*time.Millisecond), nil)
	kept.Kept, broken.Kept, broken.Broken = yes(), no(), "p99 over 15ms"
	capacity.Runs = []report.Run{kept, broken}
	capacity.Knee = &report.Knee{Found: true, PerS: 500, P99US: 5000, SLOUS: 15000, AchievedShare: 0.98, OfFloor: 0.6}
	return map[string]*report.Report{"refresh": refresh, "propagation": propagation, "validate": validate, "capacity": capacity}
}

// TestGolden compares the text and the JSON with the golden files, because scripts read them.
func TestGolden(t *testing.T) {
	for name, r := range reports() {
		var text bytes.Buffer
		r.WriteText(&text)
		golden(t, name+".txt", text.Bytes())
		for i := range r.Runs { // one point is enough to show the form
			r.Runs[i].Curve = r.Runs[i].Curve[:1]
			if r.Runs[i].Floor != nil {
				r.Runs[i].Floor.Curve = r.Runs[i].Floor.Curve[:1]
			}
		}
		body, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name+".json", append(body, '\n'))
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test -rewrite updates it):\n%s", name, got)
	}
}

func TestPlots(t *testing.T) {
	for name, r := range reports() {
		for _, format := range report.PlotFormats {
			file := filepath.Join(t.TempDir(), name+format)
			if err := r.Plot(file); err != nil {
				t.Errorf("%s%s: %v", name, format, err)
				continue
			}
			body, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if format == ".png" {
				if _, err := png.Decode(bytes.NewReader(body)); err != nil {
					t.Errorf("%s%s: %v", name, format, err)
				}
			} else if text := string(body); !strings.Contains(text, "A CPU") || !strings.Contains(text, "bench "+name) {
				t.Errorf("%s%s does not name the metric and the machine", name, format)
			}
		}
	}
}

// A plot without runs, with one point or into a missing directory must be an error or a picture,
// never a panic.
func TestPlotsOfFewRuns(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.png")
	if err := (&report.Report{}).Plot(file); err == nil {
		t.Error("a report without runs was drawn without an error")
	}
	one := load.NewResult()
	one.Took, one.InTime = time.Second, 1
	one.Latency.Record(time.Millisecond)
	r := &report.Report{Bench: "refresh", Runs: []report.Run{{Name: "refresh", Loop: "closed", Concurrency: 1, Measured: report.From(one)}}}
	if err := r.Plot(file); err != nil {
		t.Error(err)
	}
	if err := r.Plot(filepath.Join(t.TempDir(), "none", "x.png")); err == nil {
		t.Error("a file was written into a missing directory")
	}
	empty := &report.Report{Bench: "refresh", Runs: []report.Run{{Name: "refresh", Measured: report.From(load.NewResult())}}}
	if err := empty.Plot(file); err != nil {
		t.Error(err)
	}
}

// Other load on the machine also slows the floor, so it is not growth.
func TestGrowthOfASlowMachine(t *testing.T) {
	r := &report.Report{SizeOf: "sessions"}
	for i, slower := range []time.Duration{1, 3, 2, 5} {
		run := report.Run{Name: "refresh", Concurrency: 1, Size: []int{100, 1000, 10_000, 100_000}[i], Measured: report.From(result(0, slower*time.Millisecond))}
		run.Against(report.From(result(0, slower*100*time.Microsecond)))
		r.Runs = append(r.Runs, run)
	}
	if r.FitGrowth("refresh"); r.Growth.Law != "O(1)" {
		t.Errorf("%+v", r.Growth)
	}
	for i := range r.Runs {
		r.Runs[i].Floor, r.Runs[i].OfFloor = nil, nil
	}
	if r.FitGrowth("refresh"); r.Growth.Law == "O(1)" {
		t.Errorf("without floors the growth is unknown, got %+v", r.Growth)
	}
}

// A run that is stopped immediately may have only the response to a request of the warm-up, and no
// latency.
func TestRunWithoutLatencyIsNotASample(t *testing.T) {
	r := &report.Report{}
	for _, n := range []int{100, 1000} {
		r.Runs = append(r.Runs, report.Run{Name: "refresh", Concurrency: 1, Size: n, Measured: report.From(result(0, time.Millisecond))})
	}
	r.Runs[1].Latency = report.Quantiles{}
	if r.FitGrowth("refresh"); r.Growth != nil {
		t.Errorf("growth of one size: %+v", r.Growth)
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}

func TestUnits(t *testing.T) {
	for us, want := range map[float64]string{0.0305: "30.5 ns", 0.9: "900 ns", 1: "1.00 µs", 62.51: "62.5 µs", 999: "999 µs", 1500: "1.50 ms", 2.5e6: "2.50 s", 0: ""} {
		if got := report.Time(us); got != want {
			t.Errorf("%v µs is %q, want %q", us, got, want)
		}
	}
	for perS, want := range map[float64]string{0: "", 50: "50.0", 806.4: "806", 9999: "9999", 21600: "21.6 k", 7.45e6: "7.45 M"} {
		if got := report.Rate(perS); got != want {
			t.Errorf("%v per second is %q, want %q", perS, got, want)
		}
	}
}
