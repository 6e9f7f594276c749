package simtest_test

import "time"

// epoch is the time of the wall clocks at the start (Unix ms).
const epoch = 1_700_000_000_000

// machine has two clocks, and one process that may be stopped.
type machine struct {
	w           *world
	rate        float64       // of the monotonic clock
	lost        time.Duration // what it missed while the machine was suspended
	wallOff     time.Duration
	pausedUntil time.Duration
	wokeAt      time.Duration
}

func newMachine(w *world) machine {
	m := machine{w: w, rate: 1 + (w.rng.Float64()-0.5)*4e-4, wallOff: w.between(-time.Second, time.Second), wokeAt: -time.Hour}
	if w.chance(0.2) {
		m.wallOff = w.pick(-24, 24) * time.Hour
	}
	return m
}

func (m *machine) mono() time.Duration {
	now := m.w.clock()
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	return time.Duration(float64(now-m.lost)*m.rate) + time.Hour
}

func (m *machine) wallMS() int64 {
	now := m.w.clock()
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	return epoch + (now + m.wallOff).Milliseconds()
}

func (m *machine) paused() bool { return m.w.now < m.pausedUntil }

// do runs work of the process now, or when it continues.
func (m *machine) do(run func()) {
	if m.paused() {
		m.w.at(m.pausedUntil, func() { m.do(run) })
		return
	}
	run()
}

// pause stops the process while its clocks run on. A process that has just continued, or will do so within
// the pause, reads its clocks only afterwards.
func (m *machine) pause(d time.Duration) {
	m.pausedUntil = max(m.pausedUntil, m.w.now+d)
	if m.w.now-m.wokeAt <= noticed {
		m.wokeAt = m.pausedUntil
	}
}

// suspend stops the machine, and with it the monotonic clock.
func (m *machine) suspend(d time.Duration) {
	if m.paused() {
		return
	}
	m.pause(d)
	m.w.at(m.pausedUntil, func() {
		m.w.mu.Lock()
		m.lost += d
		m.w.mu.Unlock()
		m.wokeAt = m.pausedUntil
	})
}

// step sets the wall clock. The clock of a stopped machine is not set: a step as long as the suspension
// would hide it, as P2 documents.
func (m *machine) step(d time.Duration) {
	if !m.paused() {
		m.w.mu.Lock()
		m.wallOff += d
		m.w.mu.Unlock()
	}
}
