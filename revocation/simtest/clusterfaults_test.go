package simtest_test

import "time"

// clusterTrouble is a fault of a broker or of the engine.
type clusterTrouble struct {
	name string
	make func(c *cluster, n *node, d time.Duration)
}

var clusterTroubles = []clusterTrouble{
	{"is killed", func(c *cluster, n *node, d time.Duration) { n.restart(c.w.pick(0, 1, 8, 40) * time.Second) }},
	{"is killed again and again", func(c *cluster, n *node, d time.Duration) {
		for i := range time.Duration(6) {
			c.w.after(i*2*time.Second, func() { n.restart(time.Second) })
		}
	}},
	{"is stopped", func(c *cluster, n *node, d time.Duration) {
		if c.w.chance(0.3) {
			d = c.w.between(30*time.Second, 45*time.Second)
		}
		n.pause(min(d, c.ends-c.w.now))
	}},
	{"is suspended", func(c *cluster, n *node, d time.Duration) {
		if c.w.chance(0.2) {
			d = c.w.between(30*time.Second, 45*time.Second)
		}
		n.suspend(min(d, c.ends-c.w.now))
	}},
	{"has another clock", func(c *cluster, n *node, d time.Duration) { n.set(c.clock(), 0) }},
	{"has another clock for a while", func(c *cluster, n *node, d time.Duration) { n.set(c.clock(), d) }},
	{"cannot reach the engine", func(c *cluster, n *node, d time.Duration) {
		if c.w.chance(0.2) {
			d = c.w.between(30*time.Second, 45*time.Second)
		}
		n.cutEngine = c.w.now + d
	}},
	{"cannot reach the feed", func(c *cluster, n *node, d time.Duration) { n.cutFeed = c.w.now + d }},
	{"has a slow engine", func(c *cluster, n *node, d time.Duration) {
		n.delay = c.w.between(10*time.Millisecond, patience)
		c.w.after(d, func() { n.delay = quickEngine })
	}},
	{"has an engine that loses commits", func(c *cluster, n *node, d time.Duration) {
		n.commitFaults = c.w.rng.Float64() / 2
		c.w.after(2*d, func() { n.commitFaults = c.commitFaults })
	}},
	{"has an engine that loses reads", func(c *cluster, n *node, d time.Duration) {
		n.readFaults = c.w.rng.Float64() / 2
		c.w.after(d, func() { n.readFaults = 0 })
	}},
	{"has no good hints", func(c *cluster, n *node, d time.Duration) {
		n.hintLoss, n.hintDelay = c.w.rng.Float64(), c.w.between(0, 3*time.Second)
		c.w.after(2*d, func() { n.hintLoss, n.hintDelay = 0, quickEngine })
	}},
	{"finds the engine away, as all do", func(c *cluster, n *node, d time.Duration) { c.away = c.w.now + d }},
	{"finds old commits delivered", func(c *cluster, n *node, d time.Duration) { c.audit.retransmit() }},
	{"finds old commits delivered later", func(c *cluster, n *node, d time.Duration) { c.w.after(d, c.audit.retransmit) }},
	{"rotates keys", func(c *cluster, n *node, d time.Duration) { c.keys.rotate(d) }},
}

// clock returns how far a clock is set wrong.
func (c *cluster) clock() time.Duration {
	if len(c.nodes) == 3 && c.w.chance(0.3) {
		return c.w.pick(-time.Hour, time.Hour)
	}
	return c.w.pick(-time.Minute, time.Minute, -3*time.Second, 3*time.Second, -time.Second, time.Second, time.Second)
}

// set sets the clock of the machine, and sets it back later if d is not zero.
func (n *node) set(off, d time.Duration) {
	n.step(off)
	if d > 0 {
		n.w.after(d, func() {
			n.do(func() {
				if !n.w.calm {
					n.step(-off)
				}
			})
		})
	}
}

func (n *node) restart(after time.Duration) {
	if n.p == nil || n.paused() || n.w.calm {
		return
	}
	n.crash()
	n.w.after(after, func() { n.do(n.start) })
}

// strike now and then kills or stops the broker whose commit is at the engine.
func (n *node) strike() {
	w := n.w
	switch {
	case w.calm:
	case w.chance(0.003):
		w.after(0, func() { n.restart(w.pick(0, 1, 8, 40) * time.Second) })
	case w.chance(0.002):
		n.pause(min(w.pick(1, 8, 40)*time.Second, n.c.ends-w.now))
	}
}

// fault causes one fault, and schedules the next.
func (c *cluster) fault() {
	w := c.w
	if w.calm {
		return
	}
	d := w.between(time.Second, 12*time.Second)
	if w.chance(0.4) {
		s := w.services[w.rng.IntN(len(w.services))]
		f := serviceTroubles[w.rng.IntN(len(serviceTroubles))]
		w.say("%s (service %d, %s)", f.name, s.id, d)
		f.make(w, s, d)
	} else {
		n := c.nodes[w.rng.IntN(len(c.nodes))]
		f := clusterTroubles[w.rng.IntN(len(clusterTroubles))]
		w.say("%s %s (%s)", n.name, f.name, d)
		f.make(c, n, d)
	}
	w.after(w.between(200*time.Millisecond, 4*time.Second), c.fault)
}

func (c *cluster) heal() {
	c.w.heal()
	c.away = 0
	c.audit.retransmit()
	for _, n := range c.nodes {
		n.cutEngine, n.cutFeed, n.delay = 0, 0, quickEngine
		n.readFaults, n.commitFaults, n.hintLoss, n.hintDelay = 0, 0, 0, quickEngine
		n.do(func() {
			n.step(c.w.between(-500*time.Millisecond, 500*time.Millisecond) - n.wallOff)
			n.start()
		})
	}
}
