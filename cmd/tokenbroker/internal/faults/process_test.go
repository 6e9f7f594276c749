package faults_test

import (
	"bytes"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// process is a program of its own, which can be killed and stopped.
type process struct {
	name string
	cmd  *exec.Cmd
	out  *output
	done chan struct{}
}

// startProcess starts a program that runs until the test ends at the latest. It does not wait until it is ready.
func startProcess(t *testing.T, name string, env []string, program string, args ...string) *process {
	t.Helper()
	p := &process{name: name, cmd: exec.Command(program, args...), out: &output{}, done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.SysProcAttr = endsWithParent()
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
		if t.Failed() {
			t.Logf("%s printed:\n%s", name, p.out.tail())
		}
	})
	return p
}

// ready waits until the program has printed text.
func (p *process) ready(t *testing.T, text string) {
	t.Helper()
	eventually(t, p.name+" is ready", func() bool {
		select {
		case <-p.done:
			t.Fatalf("%s ended:\n%s", p.name, p.out.tail())
		default:
		}
		return p.out.count(text) > 0
	})
}

// kill is kill -9.
func (p *process) kill(t *testing.T) {
	t.Helper()
	p.signal(t, syscall.SIGKILL)
	<-p.done
}

// terminate sends SIGTERM and waits for a clean end.
func (p *process) terminate(t *testing.T) {
	t.Helper()
	p.signal(t, syscall.SIGTERM)
	eventually(t, p.name+" ends", p.ended)
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("%s: exit code %d after SIGTERM:\n%s", p.name, code, p.out.tail())
	}
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

// stop is SIGSTOP, and resume SIGCONT.
func (p *process) stop(t *testing.T)   { t.Helper(); p.signal(t, syscall.SIGSTOP) }
func (p *process) resume(t *testing.T) { t.Helper(); p.signal(t, syscall.SIGCONT) }

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatalf("%s to %s: %v", s, p.name, err)
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

// count returns how often text was printed.
func (o *output) count(text string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Count(o.b.Bytes(), []byte(text))
}

// tail returns the latest lines that are not about requests.
func (o *output) tail() string {
	lines := strings.Split(o.String(), "\n")
	lines = slices.DeleteFunc(lines, func(line string) bool {
		return strings.Contains(line, "msg=request") || strings.Contains(line, "msg=audit")
	})
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}
