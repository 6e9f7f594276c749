package main

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestProgressIsALineASecondWithoutATerminal(t *testing.T) {
	for format, want := range map[outputFormat]string{
		outputText: "200 of 1000, 200 a second\n550 of 1000, 275 a second\n",
		outputJSON: "",
	} {
		synctest.Test(t, func(t *testing.T) {
			var stderr strings.Builder
			p := newBulkProgress(&operator{stderr: &stderr, format: format}, 1000)
			for range 10 {
				time.Sleep(250 * time.Millisecond)
				p.add(50)
				if time.Since(p.began) > time.Second { // from two requests at once
					p.add(50)
				}
			}
			p.end()
			if stderr.String() != want {
				t.Errorf("%s: got %q", format, stderr.String())
			}
		})
	}
}

func TestProgressIsABarOnATerminal(t *testing.T) {
	for done, want := range map[int]string{1000: "1000 of 1000", 300: "300 of 1000"} { // and cut off by a failure
		var terminal strings.Builder
		p := &bulkProgress{total: 1000}
		p.drawBar(&terminal)
		p.add(100)
		p.add(done - 100)
		p.end()
		if !strings.Contains(terminal.String(), want) || !strings.Contains(terminal.String(), "%") {
			t.Errorf("got %q", terminal.String())
		}
	}
}
