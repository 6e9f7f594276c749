package faults_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"tokenbroker/store/etcdstore/member"
)

// memberEnv has the configuration of an etcd member, as JSON, that the test binary runs instead of the tests.
const memberEnv = "TEST_ETCD_MEMBER"

// programs is the directory of the programs that the tests build.
var programs string

func TestMain(m *testing.M) {
	if config := os.Getenv(memberEnv); config != "" {
		if err := runMember(config); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	var err error
	if programs, err = os.MkdirTemp("", "tokenbroker-faults-*"); err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(programs) }()
	return m.Run()
}

// memberReady is what a member prints when it can serve.
const memberReady = "etcd member is ready"

// runMember runs an etcd member until SIGTERM.
func runMember(text string) error {
	var config member.Config
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	start, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	m, err := member.Start(start, config)
	if err != nil {
		return err
	}
	defer m.Close()
	fmt.Println(memberReady)
	select {
	case <-ctx.Done():
		return nil
	case err := <-m.Failed():
		return err
	}
}

// brokerProgram builds tokenbroker once. The tag adds what only tests of faults need.
var brokerProgram = sync.OnceValues(func() (path string, err error) {
	path = filepath.Join(programs, "tokenbroker")
	out, err := exec.Command("go", "build", "-buildvcs=false", "-tags", "faults", "-o", path, "tokenbroker/cmd/tokenbroker").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building tokenbroker: %w\n%s", err, out)
	}
	return path, nil
})

// needProcesses skips a test of processes with -short, and under the race detector, which does not see into them.
func needProcesses(t *testing.T) {
	t.Helper()
	switch {
	case testing.Short():
		t.Skip("with -short: breaks processes and connections")
	case raceDetector:
		t.Skip("under the race detector: the code that is tested runs in other processes")
	}
}

// patience bounds each wait. It is long enough for a busy machine.
const patience = 2 * time.Minute

// eventually polls until ok, and fails the test when patience is over.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("not within %s: %s", patience, what)
		case <-tick.C:
		}
	}
}
