package main

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	benchreport "tokenbroker/bench/report"
	"tokenbroker/cmd/tokenbroker/benchcmd"
	"tokenbroker/cmd/tokenbroker/internal/devserver"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/internal/longtest"
)

// shortly are the flags of a benchmark that measures for a short time.
var shortly = []string{"--warmup", "20ms", "--duration", "200ms", "--turns", "1"}

func TestBenchIsASeparateBinary(t *testing.T) {
	for _, args := range [][]string{{"bench"}, {"bench", "refresh", "--clients", "8"}, {"bench", "--help"}} {
		got := command(t, strings.NewReader(""), args...)
		if got.code == terminal.ExitOK || got.stdout != "" || !strings.Contains(got.stderr, "run tokenbroker-bench with the same arguments") {
			t.Errorf("%v: got %+v", args, got)
		}
	}
}

// runBench runs a benchmark as dev's user with --output json and returns its report.
func runBench(t *testing.T, args ...string) benchreport.Report {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := benchcmd.Main(t.Context(), append(args, append(shortly, "--output", "json")...), strings.NewReader(devserver.Password+"\n"), &stdout, &stderr)
	if code != terminal.ExitOK {
		t.Fatalf("bench %v: exit code %d\n%s", args, code, stderr.String())
	}
	var r benchreport.Report
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		t.Fatalf("bench %v: %v\n%s", args, err, stdout.String())
	}
	if len(r.Runs) == 0 {
		t.Fatalf("bench %v: no runs", args)
	}
	for _, run := range r.Runs {
		if run.Operations == 0 || run.Errors > 0 {
			t.Errorf("bench %v, %s: %d operations, %d errors", args, run.Name, run.Operations, run.Errors)
		}
		if r.Bench != "capacity" && (run.Floor == nil || run.Floor.Operations == 0) {
			t.Errorf("bench %v, %s: no floor", args, run.Name)
		}
	}
	return r
}

// TestBenchAgainstDev runs each benchmark against a running dev, which keeps running.
func TestBenchAgainstDev(t *testing.T) {
	longtest.SkipShort(t, "measures")
	dir, err := os.MkdirTemp("", "tb") //nolint:usetesting // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	dev := startDev(t, "--data-dir", dir)
	t.Setenv("TOKENBROKER_BENCH_CLIENT_SECRET", devserver.ServiceSecret)
	at := []string{"--url", dev.issuer, "--username", devserver.User, "--password-stdin"}
	t.Run("refresh", func(t *testing.T) {
		r := runBench(t, append([]string{"refresh", "--clients", "2"}, at...)...)
		if r.Target.Own || r.Target.URL != dev.issuer {
			t.Errorf("target %+v", r.Target)
		}
	})
	service := append([]string{"--client-id", devserver.ServiceClient}, at...)
	t.Run("validate", func(t *testing.T) {
		runBench(t, append([]string{"validate", "--tokens", "1,30", "--goroutines", "1"}, service...)...)
	})
	t.Run("propagation over HTTP", func(t *testing.T) {
		runBench(t, append([]string{"propagation", "--subscribers", "2", "--rate", "20"}, service...)...)
	})
	t.Run("propagation over NATS", func(t *testing.T) {
		runBench(t, append([]string{"propagation", "--subscribers", "2", "--rate", "20", "--nats", dev.nats(t)}, service...)...)
	})
	t.Run("capacity", func(t *testing.T) {
		r := runBench(t, append([]string{"capacity", "--clients", "4", "--from", "10", "--to", "10", "--slo", "5s", "--operation", "verify"}, at...)...)
		if r.Knee == nil {
			t.Errorf("runs %+v", r.Runs)
		}
	})
	t.Run("cluster", func(t *testing.T) {
		r := runBench(t, append([]string{"cluster", "--clients", "1,2"}, at...)...)
		if c := r.Cluster; c == nil || c.Brokers != 1 || c.Members != 0 || c.Final != nil || len(c.Goals) != 1 || len(r.Runs) != 2 {
			t.Errorf("cluster %+v, %d runs", r.Cluster, len(r.Runs))
		}
	})
	t.Run("no session is left", func(t *testing.T) {
		got := command(t, strings.NewReader(""), "sessions", "list", "--data-dir", dir, "--output", "json")
		if got.code != terminal.ExitOK || !strings.Contains(got.stdout, `"sessions": []`) {
			t.Errorf("exit code %d\n%s%s", got.code, got.stdout, got.stderr)
		}
	})
	dev.finish(t)
}

// nats returns the address of dev's NATS server.
func (r *running) nats(t *testing.T) string {
	t.Helper()
	m := regexp.MustCompile(`nats://\S+`).FindString(r.output.String())
	if m == "" {
		t.Fatal("no NATS address in the banner")
	}
	return m
}
