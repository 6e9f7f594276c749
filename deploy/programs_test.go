package deploy_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.etcd.io/etcd/server/v3/etcdmain"
)

// programEnv has the name of the program that the test binary runs instead of the tests: etcd or nats-server, which are
// modules of the tests. Its arguments are those of the program.
const programEnv = "TEST_PROGRAM"

// runProgram runs the program that programEnv names and ends the process, or returns if it names none.
func runProgram() {
	switch os.Getenv(programEnv) {
	case "etcd":
		etcdmain.Main(os.Args)
		os.Exit(0)
	case "nats-server":
		opts, err := server.ConfigureOptions(flag.NewFlagSet("nats-server", flag.ExitOnError), os.Args[1:], func() {}, func() {}, func() {})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		s, err := server.NewServer(opts)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		s.ConfigureLogger()
		s.Start()
		s.WaitForShutdown()
		os.Exit(0)
	}
}

// findProgram returns the path of an installed program. Without it the test is skipped, or fails where CI is set.
func findProgram(t *testing.T, name string) string {
	t.Helper()
	tools := os.Getenv("TOKENBROKER_TOOLS") // of .ci/run
	if cache, err := os.UserCacheDir(); tools == "" && err == nil {
		tools = filepath.Join(cache, "tokenbroker-tools")
	}
	for _, path := range []string{name, "/usr/sbin/" + name, filepath.Join(tools, "prometheus/usr/bin", name)} {
		if path, err := exec.LookPath(path); err == nil {
			return path
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is not installed", name)
	}
	t.Skipf("%s is not installed", name)
	return ""
}

// process is a program of its own, which can be killed.
type process struct {
	cmd  *exec.Cmd
	out  output
	done chan struct{}
}

// startProcess starts a program that runs until the test ends at the latest.
func startProcess(t *testing.T, name string, env []string, program string, args ...string) *process {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env, cmd.Dir, cmd.SysProcAttr = env, t.TempDir(), endsWithParent()
	return startCommand(t, name, cmd)
}

// startCommand is startProcess with a command that the caller has prepared.
func startCommand(t *testing.T, name string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd, done: make(chan struct{})}
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, cmd.Env...)
	cmd.Stdout, cmd.Stderr = &p.out, &p.out
	cmd.WaitDelay = time.Second // for output of children
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			lines := strings.Split(p.out.String(), "\n")
			t.Logf("%s printed:\n%s", name, strings.Join(lines[max(0, len(lines)-30):], "\n"))
		}
	})
	return p
}

// kill is kill -9.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// ended reports whether the process has ended.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// output is what a process prints.
type output struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

// Write implements [io.Writer].
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

// String returns all of it.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// patience bounds each wait. It is long enough for a busy machine.
const patience = 2 * time.Minute

// eventually polls until ok, and fails the test when patience is over.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("not within %s: %s", patience, what)
		case <-tick.C:
		}
	}
}
