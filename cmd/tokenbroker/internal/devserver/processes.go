package devserver

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

// ProcessesFile lists the processes of [Run] with several brokers, in the data directory. It is replaced after each change.
const ProcessesFile = "processes.json"

// stopTimeout is how long a process may take to drain and end. It is longer than a broker's drain.
const stopTimeout = 10 * time.Second

// The kinds of processes, which are also the subcommands of dev by which the binary starts itself.
const (
	KindBroker = "broker"
	KindMember = "etcd"
)

// process is a broker or a member of the etcd cluster.
type process struct {
	kind, name string
	settings   any  // written to its file before each start
	ready      bool // it was ready once

	// The following are guarded by processes.mu.
	pid    int // 0 if it does not run
	report report
	url    string
}

// processes starts the processes, lists them in ProcessesFile and starts them again if the options say so.
type processes struct {
	dataDir, program string
	restartAfter     time.Duration
	stderr           io.Writer
	logger           *slog.Logger
	// changed is called with the new state after each change, one call at a time. It must not call a method of processes.
	changed func(listed)

	mu  sync.Mutex
	all []*process
}

// listed are the processes as they are written to ProcessesFile.
type listed struct {
	Brokers []listedProcess `json:"brokers"`
	Etcd    []listedProcess `json:"etcd"`
}

// listedProcess is one of them. PID is 0 if it does not run.
type listedProcess struct {
	Name  string `json:"name"`
	PID   int    `json:"pid"`
	URL   string `json:"url"`
	Admin string `json:"admin,omitempty"`

	report report
}

// list returns the state of all processes.
func (p *processes) list() listed {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.listLocked()
}

func (p *processes) listLocked() listed {
	l := listed{Brokers: []listedProcess{}, Etcd: []listedProcess{}}
	for _, c := range p.all {
		entry := listedProcess{Name: c.name, PID: c.pid, URL: c.url, Admin: c.report.AdminURL, report: c.report}
		if c.kind == KindBroker {
			l.Brokers = append(l.Brokers, entry)
		} else {
			l.Etcd = append(l.Etcd, entry)
		}
	}
	return l
}

// change changes the state of processes by f and writes the list.
func (p *processes) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	l := p.listLocked()
	if err := writeJSON(filepath.Join(p.dataDir, ProcessesFile), l); err != nil {
		p.logger.Error("the list of processes is not current", "error", err)
	}
	p.changed(l)
}

// group runs processes until it is stopped.
type group struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// stop ends the processes of the group, waits for them and does not start them again.
func (g *group) stop() {
	g.cancel()
	g.wg.Wait()
}

// start adds processes and starts each of them in a goroutine of its own, which the stop of the group ends. It returns when all of them are
// ready, or with the error of the first one that is not. The caller stops the group in both cases.
func (p *processes) start(ctx context.Context, started ...*process) (*group, error) {
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	g := &group{cancel: cancel}
	p.change(func() { p.all = append(p.all, started...) })
	ready := make(chan error, len(started))
	for _, c := range started {
		g.wg.Go(func() { p.keep(running, c, ready) })
	}
	for range started {
		select {
		case <-ctx.Done():
			return g, ctx.Err()
		case err := <-ready:
			if err != nil {
				return g, err
			}
		}
	}
	return g, nil
}

// keep runs a process and, if the options say so, runs it again, until ctx ends. It sends to ready once: when the process is ready, or
// when it ended before.
func (p *processes) keep(ctx context.Context, c *process, ready chan<- error) {
	// On Linux the process is killed when the thread that has started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for {
		pid, err := p.runOnce(ctx, c, ready)
		switch {
		case ctx.Err() != nil:
			return
		case !c.ready:
			ready <- fmt.Errorf("starting %s: it ended before it was ready: %w; its own error is above", c.name, err)
			return
		}
		next := "the others continue"
		if !p.othersRun(c) {
			next = "no other one runs"
		}
		if p.restartAfter > 0 {
			next += ", and it is started again in " + p.restartAfter.String()
		}
		p.logger.Warn(fmt.Sprintf("%s (pid %d) ended: %v; %s", c.name, pid, err, next))
		if p.restartAfter <= 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(p.restartAfter):
		}
	}
}

// othersRun reports whether another process of the same kind runs.
func (p *processes) othersRun(c *process) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.all, func(other *process) bool { return other.kind == c.kind && other.pid != 0 })
}

// runOnce runs a process until it ends or ctx does.
func (p *processes) runOnce(ctx context.Context, c *process, ready chan<- error) (pid int, err error) {
	file := filepath.Join(p.dataDir, c.name+".json")
	if err := writeJSON(file, c.settings); err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, p.program, "dev", c.kind, file) //nolint:gosec // this program
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopTimeout
	cmd.Stderr = p.stderr
	cmd.SysProcAttr = childAttributes()
	if _, err := cmd.StdinPipe(); err != nil { // it ends with this process
		return 0, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	pid = cmd.Process.Pid
	p.change(func() { c.pid = pid })
	var r report
	if err := json.NewDecoder(stdout).Decode(&r); err == nil {
		p.isReady(c, r)
		if !c.ready {
			c.ready = true
			ready <- nil
		} else {
			p.logger.Info(fmt.Sprintf("%s runs again (pid %d)", c.name, pid))
		}
	}
	_, _ = io.Copy(io.Discard, stdout) // until it ends
	err = cmd.Wait()
	p.change(func() { c.pid = 0 })
	if err == nil {
		err = fmt.Errorf("exit status 0")
	}
	return pid, err
}

// isReady keeps what a process has reported. A broker is started again at the addresses that it has now.
func (p *processes) isReady(c *process, r report) {
	p.change(func() {
		c.report = r
		if s, ok := c.settings.(*brokerSettings); ok {
			c.url = "http://" + r.Listen
			s.Listen, s.AdminListen = r.Listen, hostOf(r.AdminURL)
		}
	})
}
