package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

// process is a program of its own, which can be killed.
type process struct {
	cmd  *exec.Cmd
	out  *syncBuffer
	done chan struct{}
}

// startProcess runs name until the test ends; it returns once its output has ready.
func startProcess(t *testing.T, ready string, env []string, name string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(name, args...), out: &syncBuffer{}, done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
	})
	eventually(t, filepath.Base(name)+" is ready", func() bool {
		select {
		case <-p.done:
			t.Fatalf("%s ended:\n%s", filepath.Base(name), p.out.String())
		default:
		}
		return strings.Contains(p.out.String(), ready)
	})
	return p
}

// startBroker runs the real command line in a process of its own.
func startBroker(t *testing.T, ready string, args ...string) *process {
	t.Helper()
	return startProcess(t, ready, []string{childEnv + "=1"}, os.Args[0], args...)
}

func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.done
}

// terminate sends SIGTERM and wants a clean end.
func (p *process) terminate(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.done:
		if code := p.cmd.ProcessState.ExitCode(); code != terminal.ExitOK {
			t.Errorf("SIGTERM: exit code %d:\n%s", code, p.out.String())
		}
	case <-time.After(patience):
		t.Error("SIGTERM: not ended")
	}
}

// buildProgram builds a package of this module, or one that it requires.
func buildProgram(t *testing.T, name, pkg string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	out, err := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", path, pkg).CombinedOutput()
	if err != nil {
		t.Fatalf("building %s: %v\n%s", pkg, err, out)
	}
	return path
}
