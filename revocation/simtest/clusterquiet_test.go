package simtest_test

import (
	"strings"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/store/origins"
)

// checkQuiet checks liveness: every broker is up with one origin, every service is fresh and exact.
func (c *cluster) checkQuiet() {
	w := c.w
	if w.failed != nil {
		return
	}
	live := make(map[string]int)
	records, err := c.audit.reader.List(w.ctx, origins.Prefix, "", revocation.MaxOrigins)
	if err != nil {
		w.fail("%v", err)
	}
	for _, r := range records {
		o, err := origins.Decode(r)
		if err != nil {
			w.fail("%v", err)
		}
		// Others are late creations of no run, which are ended after half a minute.
		if !o.Ended && c.runs[strings.TrimPrefix(r.Key, origins.Prefix)] {
			live[o.Name]++
		}
	}
	for _, n := range c.nodes {
		if !n.running() {
			w.fail("%s is not up after the quiet", n.name)
			return
		}
	}
	for _, n := range c.nodes {
		switch {
		case !n.p.run.Clock().OK:
			w.fail("%s is not ready after the quiet: %s", n.name, n.p.run.Clock().Reason)
		case live[n.name] != 1:
			w.fail("%s has %d live origins after the quiet", n.name, live[n.name])
		}
	}
	for _, s := range w.services {
		s.checkExact()
	}
	for _, n := range c.nodes {
		if w.failed != nil {
			return
		}
		done := false
		n.p.spawn(func(p *task) { p.checkRecord(); done = true })
		c.until(w.clock() + 2*time.Second)
		if !done {
			w.fail("%s does not answer after the quiet", n.name)
		}
	}
}
