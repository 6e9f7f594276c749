package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	benchreport "tokenbroker/bench/report"
	"tokenbroker/cmd/tokenbroker/benchcmd"
	"tokenbroker/cmd/tokenbroker/internal/benchrun"
	"tokenbroker/cmd/tokenbroker/internal/devserver"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/internal/longtest"
)

// TestBenchOfACluster measures three brokers while a broker and the leader of the etcd cluster are killed, and the leader
// is frozen. Both processes that were killed are started again. The times depend on the machine; that nothing that was
// acknowledged is lost does not.
func TestBenchOfACluster(t *testing.T) {
	longtest.SkipShort(t, "starts three brokers and three etcd members as processes, and kills some")
	d := newDevBrokers(t)
	d.start(t, "--restart-after", "10ms")
	t.Setenv("TOKENBROKER_BENCH_CLIENT_SECRET", devserver.ServiceSecret)
	var stdout, stderr bytes.Buffer
	code := benchcmd.Main(t.Context(), []string{
		"cluster", "--processes", filepath.Join(d.dir, devserver.ProcessesFile), "--client-id", devserver.ServiceClient,
		"--clients", "1,4", "--faults", "leader,broker,follower,frozen-leader", "--warmup", "20ms", "--duration", "1s", "--turns", "1", "--output", "json",
	}, strings.NewReader(""), &stdout, &stderr)
	if code != terminal.ExitOK {
		t.Fatalf("exit code %d\n%s\n%s", code, stderr.String(), stdout.String())
	}
	var r benchreport.Report
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if r.Target.URL != d.issuer || len(r.Runs) != 3 || r.Runs[2].Name != "refresh at one broker" || r.Runs[2].Concurrency != 4 {
		t.Errorf("target %+v, runs %+v", r.Target, r.Runs)
	}
	for _, run := range r.Runs {
		var of []string
		for _, p := range run.Processor {
			of = append(of, p.Of)
		}
		if want := []string{benchreport.ProcessorBrokers, benchreport.ProcessorLeader, benchreport.ProcessorFollower}; !slices.Equal(of, want) {
			t.Errorf("%s, %d at once: CPU times of %q, want %q", run.Name, run.Concurrency, of, want)
		}
		if run.OfFloor == nil || run.Errors > 0 {
			t.Errorf("%s, %d at once: %d errors, floor %v", run.Name, run.Concurrency, run.Errors, run.Floor)
		}
	}
	c := r.Cluster
	if c == nil || c.Brokers != 3 || c.Members != 3 || c.SignatureUS <= 0 || c.Final == nil || len(c.Faults) != len(benchrun.Faults) {
		t.Fatalf("cluster %+v", c)
	}
	for i, f := range c.Faults {
		if f.Name != benchrun.Faults[i] || f.Skipped != "" || f.Process == "" || f.Acknowledged == 0 || f.GapS <= 0 || f.UsualGapS <= 0 || f.BackS <= 0 || f.Validators != 6 || f.LagS <= 0 || f.Stale != 0 || f.Broken() != 0 {
			t.Errorf("fault %+v", f)
		}
	}
	if c.Final.Acknowledged == 0 || c.Final.Broken() != 0 || c.Final.Expired != 0 {
		t.Errorf("final checks %+v", c.Final)
	}
	if users := d.operate(t, "users", "list"); strings.Contains(users, "bench-") {
		t.Errorf("users are left:\n%s", users)
	}
	d.terminate(t)
}
