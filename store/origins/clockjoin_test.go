package origins_test

import (
	"strings"
	"testing"
	"time"
)

// TestABrokerThatJoinsDoesNotStopTheOneThatRuns checks that a broker is ready although the clock of one that has
// just joined is not known yet: that one may never make itself heard.
func TestABrokerThatJoinsDoesNotStopTheOneThatRuns(t *testing.T) {
	w := newWorld(t)
	a := w.join("a")
	w.run(time.Minute)
	w.join("b").stopped = true
	for range 5 {
		wantErr(t, a.Tick(t.Context()), nil)
		if reason, silent := a.Silent(); silent {
			t.Fatalf("after another broker has joined: %s", reason)
		}
		w.run(time.Second)
	}
}

// TestAStartLogsNoErrorOfTheClock checks that only a clock that was compared and is wrong is logged as an error: at each
// start of a second broker its clock is unknown for a moment.
func TestAStartLogsNoErrorOfTheClock(t *testing.T) {
	w := newWorld(t)
	w.join("a")
	w.run(time.Minute)
	b := w.join("b")
	w.run(time.Minute)
	const notCompared, agree = `level=INFO msg="clock: the clock has not been compared`, `level=INFO msg="the clocks of the brokers agree"`
	if log := b.log.String(); !strings.Contains(log, notCompared) || !strings.Contains(log, agree) || strings.Contains(log, "level=ERROR") {
		t.Errorf("a start logged:\n%s", log)
	}
	b.skew = 5 * time.Second
	w.run(time.Minute)
	if log := b.log.String(); !strings.Contains(log, `level=ERROR msg="clock: `) {
		t.Errorf("with a wrong clock:\n%s", log)
	}
}
