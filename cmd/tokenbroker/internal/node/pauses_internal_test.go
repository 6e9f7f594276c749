package node

import (
	"testing"
	"time"
)

// clocks are the two clocks of a machine.
type clocks struct {
	mono time.Duration
	wall time.Time
}

func (c *clocks) run(d time.Duration) { c.mono, c.wall = c.mono+d, c.wall.Add(d) }

func TestPausesRefuseWhatWaitedInSockets(t *testing.T) {
	for name, pause := range map[string]func(*clocks){
		"a stopped process":   func(c *clocks) { c.run(pauseAfter + time.Millisecond) },
		"a suspended machine": func(c *clocks) { c.wall = c.wall.Add(pauseAfter + time.Second) },
	} {
		for noticed, notice := range map[string]func(*pauses){
			"by the request":    func(*pauses) {},
			"by the next pulse": func(p *pauses) { p.pulse() },
		} {
			t.Run(name+", noticed "+noticed, func(t *testing.T) {
				now := &clocks{mono: time.Minute, wall: time.Unix(1_700_000_000, 0)}
				p := newPauses(func() time.Duration { return now.mono }, func() time.Time { return now.wall })
				old := now.mono
				p.stored(now.mono)
				now.run(pulseEvery)
				p.pulse()
				if p.refuses(old) {
					t.Fatal("a running process refuses")
				}
				reading := now.mono // a reading of the store that the pause interrupts
				now.run(time.Millisecond)
				pause(now)
				notice(p)
				if !p.refuses(old) || !p.refuses(now.mono) {
					t.Error("a request is admitted before the store was read")
				}
				p.pulse()
				now.run(time.Millisecond)
				p.stored(reading)
				if !p.refuses(now.mono) {
					t.Error("a reading that began before the pause admits requests")
				}
				waiting := now.mono // accepted from the kernel's queue
				now.run(time.Millisecond)
				p.stored(now.mono)
				if !p.refuses(old) || !p.refuses(waiting) {
					t.Error("a request is admitted on a connection from before the reading")
				}
				now.run(time.Millisecond)
				if p.refuses(now.mono) {
					t.Error("a new connection is refused after the store was read")
				}
			})
		}
	}
}

// TestPausesOfASlowMachine checks that neither pulses that are a little late, nor a clock that is set back,
// nor a process that answers no request for long count as a pause.
func TestPausesOfASlowMachine(t *testing.T) {
	now := &clocks{mono: time.Minute, wall: time.Unix(1_700_000_000, 0)}
	p := newPauses(func() time.Duration { return now.mono }, func() time.Time { return now.wall })
	for range 100 {
		now.run(pauseAfter)
		if p.pulse() || p.refuses(time.Minute) {
			t.Fatal("a late pulse is taken for a pause")
		}
	}
	now.wall = now.wall.Add(-time.Hour)
	if p.pulse() || p.refuses(time.Minute) {
		t.Error("a clock that was set back is taken for a pause")
	}
}
