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
	cluster := base("cluster")
	cluster.Target, cluster.SizeOf = report.Target{URL: "http://127.0.0.1:8080"}, "sessions"
	cluster.Runs = []report.Run{
		run("refresh", 1, 64, result(0, 2*time.Millisecond), result(0, 200*time.Microsecond)),
		run("refresh", 64, 64, result(0, time.Millisecond), result(0, 200*time.Microsecond)),
	}
	cluster.Runs[1].Processor = []report.Processor{{Of: report.ProcessorBrokers, US: 150, OfSignature: 5}, {Of: report.ProcessorLeader, US: 60, OfSignature: 2}}
	cluster.Cluster = &report.Cluster{
		Brokers: 3, Members: 3, SignatureUS: 30,
		Faults: []report.Fault{
			{Name: report.FaultBroker, Process: "broker-1", History: report.History{Acknowledged: 900, Unanswered: 4}, GapS: 0.3, UsualGapS: 0.1, Validators: 6, LagS: 3.5, UsualLagS: 1, BackS: 11},
			{Name: report.FaultFrozenLeader, Process: "etcd-2", History: report.History{Acknowledged: 800, Lost: 1, StaleReads: 2, LateChecks: 4, First: "a refresh"}, GapS: 2.5, Validators: 6, LagS: 40, Stale: 3},
			{Name: report.FaultLeader, Skipped: "no etcd member is the leader"},
		},
		Final: &report.History{Acknowledged: 72, Expired: 1},
	}
	cluster.JudgeCluster()
	return map[string]*report.Report{"refresh": refresh, "propagation": propagation, "validate": validate, "capacity": capacity, "cluster": cluster}
}

// TestJudgeCluster checks each goal of several brokers at its limit and beyond it.
func TestJudgeCluster(t *testing.T) {
	at := func(clients int, ofFloor report.Ratios, leader float64) report.Run {
		return report.Run{
			Name: "refresh", Concurrency: clients, OfFloor: &ofFloor,
			Processor: []report.Processor{{Of: report.ProcessorLeader, OfSignature: leader}, {Of: report.ProcessorBrokers, OfSignature: 100}},
		}
	}
	fault := func(f report.Fault) *report.Cluster { return &report.Cluster{Faults: []report.Fault{f}} }
	for _, c := range []struct {
		name    string
		runs    []report.Run
		cluster *report.Cluster
		reached string // for each goal y or n
	}{
		{"one at a time, at the limit", []report.Run{at(1, report.Ratios{P50: 10}, 99)}, &report.Cluster{}, "y"},
		{"one at a time, too slow", []report.Run{at(1, report.Ratios{P50: 10.1}, 99)}, &report.Cluster{}, "n"},
		{"one at a time on PostgreSQL", []report.Run{at(1, report.Ratios{P50: 7.1}, 99)}, &report.Cluster{Postgres: true}, "n"},
		{"many clients on PostgreSQL", []report.Run{at(64, report.Ratios{PerS: 6.9}, 1.5)}, &report.Cluster{Postgres: true}, "ny"},
		{"few clients have no goal", []report.Run{at(63, report.Ratios{P50: 99, PerS: 0.1}, 99)}, &report.Cluster{}, ""},
		{"many clients, at the limits", []report.Run{at(64, report.Ratios{PerS: 2.5}, 3)}, &report.Cluster{}, "yy"},
		{"many clients, beyond the limits", []report.Run{at(64, report.Ratios{PerS: 2.4}, 3.1)}, &report.Cluster{}, "nn"},
		{"a broker, at the limits", nil, fault(report.Fault{Name: report.FaultBroker, GapS: 1, Validators: 1, LagS: 5}), "yyy"},
		{"a broker, beyond the limits", nil, fault(report.Fault{Name: report.FaultBroker, GapS: 1.1, Validators: 1, LagS: 5.1, Stale: 1}), "nnn"},
		{"a broker, without services", nil, fault(report.Fault{Name: report.FaultBroker}), "y"},
		{"a follower, beyond the limit", nil, fault(report.Fault{Name: report.FaultFollower, GapS: 1.1}), "n"},
		{"the leader, at the limit", nil, fault(report.Fault{Name: report.FaultLeader, GapS: 2}), "y"},
		{"the leader, beyond the limit", nil, fault(report.Fault{Name: report.FaultFrozenLeader, GapS: 2.1}), "n"},
		{"a skipped fault", nil, fault(report.Fault{Name: report.FaultLeader, Skipped: "why", GapS: 9}), ""},
		{"nothing broken", nil, &report.Cluster{Final: &report.History{Expired: 1, LateChecks: 1}}, "yyy"},
		{"a loss in the last checks", nil, &report.Cluster{Final: &report.History{Lost: 1}}, "nyy"},
		{"broken during a fault", nil, &report.Cluster{
			Faults: []report.Fault{{Name: report.FaultLeader, History: report.History{DoubleSuccessors: 1, StaleReads: 1}}}, Final: &report.History{},
		}, "yynn"},
	} {
		r := &report.Report{Runs: c.runs, Cluster: c.cluster}
		r.JudgeCluster()
		got := ""
		for _, g := range r.Cluster.Goals {
			got += map[bool]string{true: "y", false: "n"}[g.Reached]
		}
		if got != c.reached {
			t.Errorf("%s: goals %q, want %q: %+v", c.name, got, c.reached, r.Cluster.Goals)
		}
	}
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
