package faults_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
)

// nextProgram builds the program that stands for the next release, whose brokers can use one more version of the store.
func nextProgram(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "tokenbroker-next")
	out, err := exec.Command("go", "build", "-buildvcs=false", "-tags", "faults tokenbroker_next",
		"-ldflags", "-X tokenbroker/cmd/tokenbroker/internal/buildinfo.version=v9.9.9", "-o", path, "tokenbroker/cmd/tokenbroker").CombinedOutput()
	if err != nil {
		t.Fatalf("building the next release: %v\n%s", err, out)
	}
	return path
}

// TestBrokersAreReplacedByThoseOfTheNextRelease follows "Upgrade" of docs/operate.md under load: the brokers are replaced one by one,
// and one of them goes back before the last one is replaced.
func TestBrokersAreReplacedByThoseOfTheNextRelease(t *testing.T) {
	c := newCluster(t)
	next := nextProgram(t)
	old, err := brokerProgram()
	if err != nil {
		t.Fatal(err)
	}
	l := c.startLoad(t, map[string]watched{"nats": c.service(t, "nats", maxStaleness), "sse": c.service(t, "sse", maxStaleness)})
	replace := func(i int, program string) {
		t.Helper()
		c.brokers[i].terminate(t)
		c.brokers[i] = startProcess(c.t, fmt.Sprint("broker ", i), nil, program, "serve", "--config", c.configFile(i))
		c.brokers[i].ready(t, brokerReady)
		c.allReady(t)
		l.through(t, fmt.Sprintf("with another broker %d", i))
	}
	version := func(want int) {
		t.Helper()
		for i := range size {
			if got := c.overview(t, i).Store.Version; got != want {
				t.Errorf("broker %d shows version %d of the store, want %d", i, got, want)
			}
		}
	}
	becomes := func(want int) {
		t.Helper()
		eventually(t, fmt.Sprint("all brokers use version ", want), func() bool {
			for i := range size {
				if c.overview(t, i).Store.Version != want {
					return false
				}
			}
			return true
		})
	}
	becomes(2)
	replace(0, next)
	replace(1, next)
	version(2)
	replace(1, old)
	version(2)
	replace(1, next)
	replace(2, next)
	becomes(3)
	for _, b := range c.overview(t, 0).Cluster.Brokers {
		if b.Live && b.Speaks != [2]int{1, 3} {
			t.Errorf("broker %s speaks %v", b.Name, b.Speaks)
		}
	}
	l.through(t, "with version 3")
	c.brokers[0].terminate(t)
	c.brokers[0] = startProcess(c.t, "old broker 0", nil, old, "serve", "--config", c.configFile(0))
	eventually(t, "the old release ends", c.brokers[0].ended)
	if c.brokers[0].cmd.ProcessState.ExitCode() == 0 || c.brokers[0].out.count("the store has version 3, raised by") == 0 || c.brokers[0].out.count("v9.9.9") == 0 {
		t.Errorf("the old release ended with %v:\n%s", c.brokers[0].cmd.ProcessState, c.brokers[0].out.tail())
	}
	c.brokers[0] = startProcess(c.t, "broker 0", nil, next, "serve", "--config", c.configFile(0))
	c.allReady(t)
	l.finish(t)
}
