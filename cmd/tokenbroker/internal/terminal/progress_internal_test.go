package terminal

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestProgressIsALineASecondWithoutATerminal(t *testing.T) {
	for format, want := range map[Format]string{
		Text: "200 of 1000, 200 a second\n550 of 1000, 275 a second\n",
		JSON: "",
	} {
		synctest.Test(t, func(t *testing.T) {
			var stderr strings.Builder
			p := NewProgress(&stderr, format, 1000)
			for range 10 {
				time.Sleep(250 * time.Millisecond)
				p.Add(50)
				if time.Since(p.started) > time.Second { // from two requests at once
					p.Add(50)
				}
			}
			p.End()
			if stderr.String() != want {
				t.Errorf("%s: got %q", format, stderr.String())
			}
		})
	}
}

func TestProgressIsABarOnATerminal(t *testing.T) {
	for done, want := range map[int]string{1000: "1000 of 1000", 300: "300 of 1000"} { // and cut off by a failure
		var terminal strings.Builder
		p := &Progress{total: 1000}
		p.drawBar(&terminal)
		p.Add(100)
		p.Add(done - 100)
		p.End()
		if !strings.Contains(terminal.String(), want) || !strings.Contains(terminal.String(), "%") {
			t.Errorf("got %q", terminal.String())
		}
	}
}
