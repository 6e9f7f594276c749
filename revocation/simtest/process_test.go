package simtest_test

import (
	"context"
	"hash/fnv"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
	"tokenbroker/store/origins"
)

// process is one run of a broker on the shared engine. The real code in it blocks and has goroutines, so each
// piece of its work is a goroutine in the bubble, a task. It stops at each operation of the engine and in sleep, and
// continues when the queue says so: one goroutine runs at a time.
type process struct {
	n      *node
	ctx    context.Context //nolint:containedctx // the life of the process
	kill   context.CancelFunc
	link   *link
	run    *origins.Run
	ledger *ledger.Ledger // nil until the process is up
	deny   *revocation.Denylist

	work    chan struct{} // wakes the committer
	highest atomic.Int64  // the latest time that it read from the wall clock (ms)

	mu       sync.Mutex
	readings []reading  // of the monotonic clock, guarded by mu
	waiting  []*request // for the committer, guarded by mu
}

// task is one goroutine of a process.
type task struct {
	*process
	ctx context.Context //nolint:containedctx // that of the process, with the task's rank
}

// rankKey is the key of the rank of a task in its context. If one event wakes several goroutines, the order in which they
// run is Go's; by their ranks what they schedule has an order of its own.
type rankKey struct{}

// rank returns the rank of the task whose context it is, and of an operation that one of its goroutines makes.
func (p *process) rank(ctx context.Context, operation string) uint64 {
	task, _ := ctx.Value(rankKey{}).(uint64)
	h := fnv.New32a()
	_, _ = h.Write([]byte(p.n.name + operation))
	return task<<32 | uint64(h.Sum32())
}

// reading is what the monotonic clock said (ms) at a true time.
type reading struct {
	at time.Duration
	ms int64
}

func (p *process) dead() bool { return p.ctx.Err() != nil }

// spawn starts a task, now or when the process continues.
func (p *process) spawn(work func(*task)) {
	w := p.n.w
	w.after(0, func() {
		p.n.do(func() {
			if !p.dead() {
				w.cluster.tasks++
				go work(&task{p, context.WithValue(p.ctx, rankKey{}, w.cluster.tasks)})
				synctest.Wait()
			}
		})
	})
}

// sleep waits until the process has slept for d. The error is that of a context that ended.
func (p *process) sleep(ctx context.Context, d time.Duration) error {
	woken := make(chan struct{})
	w := p.n.w
	w.ranked(w.clock()+d, p.rank(ctx, ""), func() {
		p.n.do(func() {
			close(woken)
			synctest.Wait()
		})
	})
	return p.wait(ctx, woken)
}

func (p *process) wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return p.ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
}

// turn waits for the goroutine's turn after real code returned, which may be because of a timer. It reports
// whether the process still lives.
func (p *task) turn() bool { return p.sleep(p.ctx, 0) == nil }

// mono is the monotonic clock of the process.
func (p *process) mono() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	up := p.n.mono() - p.n.began
	if len(p.readings) == 1024 {
		p.readings = p.readings[:copy(p.readings, p.readings[512:])]
	}
	p.readings = append(p.readings, reading{at: p.n.w.clock(), ms: up.Milliseconds()})
	return up
}

// wall is the wall clock of the machine.
func (p *process) wall() time.Time {
	now := p.n.wallMS()
	p.highest.Store(max(p.highest.Load(), now))
	return time.UnixMilli(now)
}

// readAt returns the true time when the process first read that time from its clock.
func (p *process) readAt(ms int64) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.readings {
		if r.ms >= ms {
			return r.at
		}
	}
	return p.n.w.clock()
}

// every does work periodically.
func (p *process) every(d time.Duration, work func(*task)) {
	p.spawn(func(t *task) {
		for t.sleep(t.ctx, d) == nil {
			work(t)
			if !t.turn() {
				return
			}
		}
	})
}
