package benchrun

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	"tokenbroker/bench/report"
	"tokenbroker/validator"
)

// Faults are all faults, in the order in which they are injected. A process that was killed and stays down is the
// smallest loss for the others in this order.
var Faults = []string{report.FaultBroker, report.FaultFrozenLeader, report.FaultFollower, report.FaultLeader}

const (
	// faultTabs clients refresh during faults, each with a pause between two requests, so that the processors are
	// not the bottleneck.
	faultTabs  = 24
	faultPause = 50 * time.Millisecond
	// offPause is the time between two log-offs, and maxOffs the maximum number of sessions for them.
	offPause = 250 * time.Millisecond
	maxOffs  = 200
	// faultParts is the time of a fault as a multiple of Bench.Duration: before, during, and until a process is back.
	faultParts = 6
	// frozenParts is for how long the leader is stopped, as a multiple of Bench.Duration.
	frozenParts = 2
	// validatorsPerBroker is so that each broker sends revocations to at least one of them.
	validatorsPerBroker = 2
	samplePause         = 50 * time.Millisecond
	// readyLimit is the maximum time from the start of a process until it serves.
	readyLimit = 2 * time.Minute
	pollPause  = 100 * time.Millisecond
)

// Sessions returns the number of sessions of the benchmark, if each measurement takes that long.
func (cfg ClusterConfig) Sessions(duration time.Duration) int {
	most := slices.Max(cfg.Clients)
	if len(cfg.Faults) == 0 {
		return most
	}
	return max(most, faultTabs+min(maxOffs, 1+int(time.Duration(len(cfg.Faults)*faultParts)*duration/offPause)))
}

// faults injects the faults one after the other while clients refresh and log off, and finally checks every session.
func (c *cluster) faults(ctx context.Context, faults []string, sessions []*browser) error {
	services, err := c.services(ctx, sessions[0].token)
	defer closeAll(services)
	if err != nil {
		return err
	}
	t := newTraffic(c.brokers)
	tabs := make([]*tab, len(sessions))
	for i, s := range sessions {
		if tabs[i], err = newTab(s); err != nil {
			return err
		}
	}
	watch := &lagWatch{traffic: t, services: services}
	working, stop := context.WithCancel(ctx)
	var workers sync.WaitGroup
	for i, of := range tabs[:faultTabs] {
		workers.Go(func() {
			for n := i; working.Err() == nil && !of.ended; n++ {
				t.step(working, of, n)
				wait(working, faultPause)
			}
		})
	}
	workers.Go(func() {
		for i, of := range tabs[faultTabs:] {
			if wait(working, offPause); working.Err() != nil {
				return
			}
			t.logOff(working, of, i)
		}
	})
	workers.Go(func() { watch.run(working) })
	for _, name := range Faults {
		if err == nil && slices.Contains(faults, name) {
			err = c.fault(ctx, name, t, watch)
		}
	}
	stop()
	workers.Wait()
	if err := errors.Join(err, stopped(ctx)); err != nil {
		return err
	}
	return c.final(ctx, t, tabs[:faultTabs])
}

// services starts the validators if the benchmark has a client for them.
func (c *cluster) services(ctx context.Context, token string) ([]*validator.Validator, error) {
	if c.Server.options.Service.ID == "" {
		c.Report.Notes = append(c.Report.Notes, "services were not observed: --client-id names the client of their validators")
		return nil, nil
	}
	if err := c.Server.hasService(); err != nil {
		return nil, err
	}
	return c.subscribe(ctx, token, validatorsPerBroker*len(c.brokers))
}

// fault injects one fault, measures it and waits until the process serves again or turns out to stay down.
func (c *cluster) fault(ctx context.Context, name string, t *traffic, watch *lagWatch) error {
	process, without, reason := c.victim(ctx, name)
	f := report.Fault{Name: name, Process: process, Skipped: reason, Validators: len(watch.services)}
	if f.Skipped != "" {
		c.Report.Cluster.Faults = append(c.Report.Cluster.Faults, f)
		return nil
	}
	t.take()
	var err error
	c.withProgress("fault: "+name, 2*c.Duration, func() {
		before := t.now()
		if wait(ctx, c.Duration); ctx.Err() != nil {
			return
		}
		at := t.now()
		if err = c.inject(ctx, name, f.Process); err != nil {
			return
		}
		wait(ctx, c.Duration)
		end := t.now()
		lag, _ := watch.worst(before, at)
		f.UsualGapS, f.UsualLagS = t.gap(before, at, without).Seconds(), lag.Seconds()
		f.GapS = t.gap(at, end, without).Seconds()
		if name != report.FaultFrozenLeader {
			f.BackS = c.back(ctx, name, f.Process, at, t).Seconds()
		} else {
			f.BackS = (end - at - c.Duration).Seconds()
		}
		lag, f.Stale = watch.worst(at, t.now())
		f.LagS = lag.Seconds()
	})
	if err != nil || ctx.Err() != nil {
		return errors.Join(err, stopped(ctx))
	}
	f.History = t.take()
	c.Report.Cluster.Faults = append(c.Report.Cluster.Faults, f)
	return nil
}

// victim returns the process for a fault and, if it is a broker, its index (otherwise -1), or the reason why the
// fault is skipped: the cluster has to go on without the process.
func (c *cluster) victim(ctx context.Context, name string) (process string, broker int, reason string) {
	if err := c.processes.read(); err != nil {
		return "", -1, err.Error()
	}
	if name == report.FaultBroker {
		var running []int
		for i, one := range c.processes.Brokers {
			if one.PID != 0 {
				running = append(running, i)
			}
		}
		if len(running) < 2 {
			return "", -1, "fewer than two brokers are running"
		}
		return c.processes.Brokers[running[0]].Name, running[0], ""
	}
	leader, answering := c.processes.members(ctx)
	victim := leader
	if name == report.FaultFollower {
		i := slices.IndexFunc(c.processes.Etcd, func(p Process) bool { return p.PID != 0 && p.Name != leader })
		if i < 0 {
			return "", -1, "no follower is running"
		}
		victim = c.processes.Etcd[i].Name
	}
	switch majority := len(c.processes.Etcd)/2 + 1; {
	case leader == "":
		return "", -1, "no etcd member is the leader"
	case answering-1 < majority:
		return "", -1, fmt.Sprintf("%d of %d etcd members are running, and %d have to remain", answering, len(c.processes.Etcd), majority)
	}
	return victim, -1, ""
}

// inject kills the process, or stops it for a while. A stopped process always continues.
func (c *cluster) inject(ctx context.Context, name, process string) (err error) {
	if name != report.FaultFrozenLeader {
		_, err = c.processes.signal(process, syscall.SIGKILL)
		return err
	}
	pid, err := c.processes.signal(process, syscall.SIGSTOP)
	if err != nil {
		return err
	}
	wait(ctx, frozenParts*c.Duration)
	return syscall.Kill(pid, syscall.SIGCONT)
}

// back waits until a killed process serves again, and returns the time since the fault at at. It returns 0 if the
// process is not started again within frozenParts times Duration, or does not serve within readyLimit after its start.
func (c *cluster) back(ctx context.Context, name, process string, at time.Duration, t *traffic) time.Duration {
	killed := c.processes.find(process).PID
	deadline := time.Now().Add(frozenParts * c.Duration)
	for started := false; ctx.Err() == nil && time.Now().Before(deadline); wait(ctx, pollPause) {
		if c.processes.read() != nil {
			continue
		}
		one := c.processes.find(process)
		if one.PID == 0 || one.PID == killed {
			continue
		}
		if !started {
			started, deadline = true, time.Now().Add(readyLimit)
		}
		var err error
		if name == report.FaultBroker {
			i := slices.IndexFunc(c.processes.Brokers, func(p Process) bool { return p.Name == process })
			_, err = c.brokers[i].get(ctx, "/readyz")
		} else {
			_, err = askMember(ctx, one.URL)
		}
		if err == nil {
			return t.now() - at
		}
	}
	return 0
}

// final checks at every broker that is ready that each session has its latest state.
func (c *cluster) final(ctx context.Context, t *traffic, tabs []*tab) error {
	t.take()
	offs := t.offs()
	c.Progress.Begin("check all sessions", len(c.brokers)*(len(tabs)+len(offs)))
	defer c.Progress.End()
	for i, broker := range c.brokers {
		if !until(ctx, finalTries, func() bool { _, err := broker.get(ctx, "/readyz"); return err == nil }) {
			continue
		}
		for _, of := range tabs {
			until(ctx, finalTries, func() bool {
				a := &attempt{broker: i, cookie: of.session.cookie}
				if !of.ended {
					t.refresh(ctx, of, a)
				}
				return of.ended || a.outcome == accepted
			})
			c.Progress.Add(1)
		}
		for _, of := range offs {
			until(ctx, finalTries, func() bool { o := t.expectLoggedOff(ctx, of, i, lost); return o == refused || o == accepted })
			c.Progress.Add(1)
		}
	}
	h := t.take()
	c.Report.Cluster.Final = &h
	return stopped(ctx)
}

// finalTries is how often a broker that does not answer is asked in the final checks.
const finalTries = 100

// until calls f, with pauses, until it returns true, and returns false if it does not within that number of tries.
func until(ctx context.Context, tries int, f func() bool) bool {
	for range tries {
		if ctx.Err() != nil {
			return false
		}
		if f() {
			return true
		}
		wait(ctx, pollPause)
	}
	return false
}

// wait waits for d or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
