package origins_test

import (
	"testing"
	"time"

	"tokenbroker/store/memstore"
)

func TestClocksOfLiveBrokers(t *testing.T) {
	const (
		ok     = "ok"
		alarm  = "alarm"      // runs, and an operator has to look
		silent = "silent"     // does not run
		hour   = 3600 * 1000  // ms
		grace  = 10 * 1000    // ms
		half   = grace / 2    // ms
		over   = grace + 1500 // ms
	)
	for _, tt := range []struct {
		name  string
		skews []int // ms, in the order of joining
		want  []string
	}{
		{"one", []int{hour}, []string{ok}},
		{"two that agree", []int{0, 1000}, []string{ok, ok}},
		{"two that disagree", []int{0, half}, []string{alarm, alarm}},
		{"two further apart than the grace, the later ahead", []int{0, over}, []string{alarm, silent}},
		{"two further apart than the grace, the later behind", []int{0, -over}, []string{alarm, silent}},
		{"three that agree", []int{0, 1000, -400}, []string{ok, ok, ok}},
		{"three, the first ahead", []int{3000, 0, 100}, []string{silent, ok, ok}},
		{"three, the last behind", []int{0, 100, -hour}, []string{ok, ok, silent}},
		{"three of which two have bad clocks in both directions", []int{hour, -hour, 0}, []string{silent, silent, ok}},
		{"four in two camps: the slower one runs", []int{half, 0, 0, half}, []string{silent, ok, ok, silent}},
		{"five", []int{0, 300, -300, 100, 4000}, []string{ok, ok, ok, ok, silent}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			for i, skew := range tt.skews {
				w.now += time.Second
				b := w.add(string(rune('a' + i)))
				b.skew = time.Duration(skew) * time.Millisecond
				wantErr(t, b.join(), nil)
			}
			w.run(20 * time.Second)
			for i, b := range w.brokers {
				c, got := b.Clock(), ok
				reason, quiet := b.Silent()
				switch {
				case !c.OK:
					got = silent
				case c.Alarm:
					got = alarm
				}
				if got != tt.want[i] || quiet != (got == silent) || (c.Reason == "") != (got == ok) {
					t.Errorf("%s: %s, want %s: %+v %q", b.name, got, tt.want[i], c, reason)
				}
			}
		})
	}
}

func TestWithoutAGraceTwoClocksMayBeFiveSecondsApart(t *testing.T) {
	for skew, ok := range map[time.Duration]bool{4 * time.Second: true, 6500 * time.Millisecond: false} {
		w := newWorld(t)
		a := w.join("a")
		b := w.add("b")
		b.grace, b.skew = 0, skew
		wantErr(t, b.join(), nil)
		w.run(20 * time.Second)
		if c := b.Clock(); c.OK != ok || !c.Alarm || !a.Clock().OK {
			t.Errorf("%v apart: %+v", skew, c)
		}
	}
}

func TestABrokerThatJoinsIsComparedFirst(t *testing.T) {
	w := newWorld(t)
	w.join("a")
	w.run(time.Minute)
	b := w.join("b")
	if _, silent := b.Silent(); !silent {
		t.Error("it speaks before it has read the others")
	}
	w.view(b)
	if reason, silent := b.Silent(); !silent || reason == "" {
		t.Errorf("after a view without a tick: %q", reason)
	}
	wantErr(t, b.Tick(t.Context()), nil)
	if c := b.Clock(); c.OK {
		t.Errorf("not compared: %+v", c)
	}
	w.run(3 * time.Second)
	if reason, silent := b.Silent(); silent {
		t.Errorf("after three ticks: %s", reason)
	}
}

func TestABrokerWhoseClockWasSetIsSilentUntilCompared(t *testing.T) {
	w := newWorld(t)
	a, b := w.join("a"), w.join("b")
	w.run(10 * time.Second)
	speaks := func(what string, want bool) {
		t.Helper()
		if reason, silent := a.Silent(); silent == want {
			t.Errorf("%s: silent %v: %s", what, silent, reason)
		}
	}
	speaks("at first", true)
	a.skew += 200 * time.Millisecond
	speaks("after a small step", true)
	a.skew += 300 * time.Millisecond
	speaks("after a step", false)
	a.skew -= 300 * time.Millisecond
	wantErr(t, a.Tick(t.Context()), nil)
	speaks("after a tick that shows no other clock", false)
	w.run(7 * time.Second)
	speaks("after the comparison", true)
	a.skew += 20 * time.Second
	w.run(12 * time.Second)
	if c := b.Clock(); !c.Alarm {
		t.Errorf("the other one: %+v", c)
	}
	b.stopped = true
	w.run(40 * time.Second)
	speaks("once it is the only one", true)
	a.skew += time.Hour
	speaks("after a step of the only one", true)
	w.run(2 * time.Second)
	speaks("later", true)
}

// The clocks that were written before an outage of the engine and are read after it say little.
func TestAnOutageDoesNotMakeClocksDisagree(t *testing.T) {
	w := newWorld(t)
	a, b, c := w.join("a"), w.join("b"), w.join("c")
	w.run(20 * time.Second)
	down := func(memstore.Op) memstore.Fault { return memstore.Refuse }
	a.faults = down
	w.run(25 * time.Second)
	a.faults = nil
	for range 10 {
		w.run(time.Second)
		for _, of := range []*broker{a, b, c} {
			if clock := of.Clock(); !clock.OK || clock.Alarm {
				t.Fatalf("%s: %+v", of.name, clock)
			}
		}
	}
}
