package benchrun

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/bench/report"
)

func TestParseStat(t *testing.T) {
	line := "42 (a name) with (brackets)) S 7 42 42 0 -1 4194560 1 2 3 4 150 25 9 9 20 0 12 0 100 1 2 3"
	got, err := parseStat([]byte(line))
	if want := (processStat{parent: 7, cpu: 1750 * time.Millisecond}); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for _, text := range []string{"", "42", "42 (x) S 7", ")"} {
		if _, err := parseStat([]byte(text)); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}

// listProcesses writes a file with mode 0600.
func listProcesses(t *testing.T, format string, args ...any) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "processes.json")
	if err := os.WriteFile(file, fmt.Appendf(nil, format, args...), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func needProc(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
}

// sleep starts a process that does nothing.
func sleep(t *testing.T) (pid int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd.Process.Pid
}

// TestCPUOfPostgres: the CPU time of a PostgreSQL server includes that of its backends, which are child processes.
func TestCPUOfPostgres(t *testing.T) {
	needProc(t)
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo; read x' & read x; wait")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if _, err := out.Read(make([]byte, 1)); err != nil { // the child has used some time
		t.Fatal(err)
	}
	server := Process{Name: "primary", PID: cmd.Process.Pid}
	without, err1 := (&Processes{Etcd: []Process{server}}).cpu(server)
	with, err2 := (&Processes{Postgres: []Process{server}}).cpu(server)
	if err := errors.Join(err1, err2); err != nil || with <= without {
		t.Errorf("%v with the child, %v without, %v", with, without, err)
	}
}

func TestReadProcesses(t *testing.T) {
	needProc(t)
	const url = "http://127.0.0.1:1"
	child := sleep(t)
	p, err := ReadProcesses(listProcesses(t, `{"brokers": [{"name": "b1", "pid": %d, "url": %q, "admin": "x"}, {"name": "b2", "pid": 0, "url": %q}], "etcd": [], "later": 1}`, child, url, url))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Process{{"b1", child, url}, {"b2", 0, url}}, p.Brokers); diff != "" {
		t.Error(diff)
	}
	p, err = ReadProcesses(listProcesses(t, `{"brokers": [{"name": "b1", "pid": %d, "url": %q}], "postgres": [{"name": "primary", "pid": %d}]}`, child, url, os.Getpid()))
	if err == nil || !strings.Contains(err.Error(), "was not started by the same process") {
		t.Errorf("a server of another parent: %v, %v", p, err)
	}
	for name, c := range map[string]struct{ text, want string }{
		"not JSON":               {`x`, "is not a processes.json"},
		"no brokers":             {`{"etcd": []}`, "lists no brokers"},
		"all down":               {`{"brokers": [{"name": "b1", "pid": 0, "url": "` + url + `"}]}`, "no process is running"},
		"no name":                {fmt.Sprintf(`{"brokers": [{"name": "", "pid": %d, "url": %q}]}`, child, url), "is not a name"},
		"a path":                 {fmt.Sprintf(`{"brokers": [{"name": "../b", "pid": %d, "url": %q}]}`, child, url), "is not a name"},
		"one name twice":         {fmt.Sprintf(`{"brokers": [{"name": "b", "pid": %d, "url": %q}], "etcd": [{"name": "b", "pid": %d, "url": %q}]}`, child, url, child, url), "two processes have it"},
		"another machine":        {fmt.Sprintf(`{"brokers": [{"name": "b", "pid": %d, "url": "http://192.0.2.1:1"}]}`, child), "on this machine"},
		"a negative process id":  {`{"brokers": [{"name": "b", "pid": -5, "url": "` + url + `"}]}`, "process id -5"},
		"processes of strangers": {fmt.Sprintf(`{"brokers": [{"name": "b1", "pid": %d, "url": %q}, {"name": "b2", "pid": %d, "url": %q}]}`, child, url, os.Getpid(), url), "same process"},
	} {
		if _, err := ReadProcesses(listProcesses(t, "%s", c.text)); !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
	open := listProcesses(t, "{}")
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{open, filepath.Join(t.TempDir(), "none")} {
		if _, err := ReadProcesses(file); !errors.Is(err, ErrUsage) {
			t.Errorf("%s: error %v, want a usage error", file, err)
		}
	}
}

// TestVictim: a fault that the rest of the cluster would not survive is skipped.
func TestVictim(t *testing.T) {
	needProc(t)
	child := sleep(t)
	c := &cluster{}
	victim := func(fault, text string) (process string, index int, reason string) {
		var err error
		if c.processes, err = ReadProcesses(listProcesses(t, "%s", text)); err != nil {
			t.Fatal(err)
		}
		return c.victim(t.Context(), fault)
	}
	entry := func(name string, pid int) string {
		return fmt.Sprintf(`{"name": %q, "pid": %d, "url": "http://127.0.0.1:1"}`, name, pid)
	}
	if name, index, reason := victim(report.FaultBroker, `{"brokers": [`+entry("b1", 0)+","+entry("b2", child)+","+entry("b3", child)+`]}`); name != "b2" || index != 1 || reason != "" {
		t.Errorf("%q, %d, %q; want the first broker that runs", name, index, reason)
	}
	if _, _, reason := victim(report.FaultBroker, `{"brokers": [`+entry("b1", 0)+","+entry("b2", child)+`]}`); reason == "" {
		t.Error("the last broker is killed")
	}
	if _, _, reason := victim(report.FaultLeader, `{"brokers": [`+entry("b1", child)+`]}`); reason == "" {
		t.Error("a cluster without etcd members has a leader")
	}
}

// TestFrozenProcessContinues: a process that was stopped continues although the benchmark was interrupted.
func TestFrozenProcessContinues(t *testing.T) {
	needProc(t)
	child := sleep(t)
	p, err := ReadProcesses(listProcesses(t, `{"brokers": [{"name": "b1", "pid": %d, "url": "http://127.0.0.1:1"}]}`, child))
	if err != nil {
		t.Fatal(err)
	}
	stopped := func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child))
		return err == nil && strings.Contains(string(stat), ") T ")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := &cluster{Bench: &Bench{Duration: time.Hour}, processes: p}
	injected := make(chan error, 1)
	go func() { injected <- c.inject(ctx, report.FaultFrozenLeader, "b1") }()
	if !until(t.Context(), 600, stopped) {
		t.Error("the process is not stopped")
	}
	cancel()
	if err := <-injected; err != nil || stopped() {
		t.Errorf("still stopped: %v; error %v", stopped(), err)
	}
}

func TestProcessorTimes(t *testing.T) {
	m := &meter{
		processes: &Processes{Brokers: []Process{{"b1", 1, ""}, {"b2", 2, ""}}, Etcd: []Process{{"e1", 3, ""}, {"e2", 4, ""}, {"e3", 5, ""}, {"e4", 0, ""}}},
		leader:    "e2",
		spent:     map[string]time.Duration{"b1": 2 * time.Millisecond, "b2": time.Millisecond, "e1": time.Millisecond, "e2": 5 * time.Millisecond, "e3": 3 * time.Millisecond},
	}
	m.done.Store(10)
	want := []report.Processor{
		{Of: report.ProcessorBrokers, US: 300, OfSignature: 10},
		{Of: report.ProcessorLeader, US: 500, OfSignature: 500.0 / 30},
		{Of: report.ProcessorFollower, US: 200, OfSignature: 200.0 / 30},
	}
	if diff := cmp.Diff(want, m.processors(30)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := (&meter{}).processors(30); got != nil {
		t.Errorf("without processes: %v", got)
	}
}
