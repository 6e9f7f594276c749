package origins

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

const (
	// MaxOffset is how far the clock of a broker may be from the median.
	MaxOffset = 2 * time.Second
	// maxStep is by how much the wall clock may move against the monotonic one between two ticks.
	maxStep = 250 * time.Millisecond
	// keepSamples is the number of samples of another clock of which the best is used.
	keepSamples = 4
)

// Clock is what a broker knows about its own clock.
type Clock struct {
	// Offset is by how much the clock is ahead of the median of the live brokers, or of the clock of the other one of two.
	Offset time.Duration
	// OK says that the clock may be used. Otherwise the broker is not ready, does not sign and is silent.
	OK bool
	// Reason says why the clock is not OK or why there is an alarm.
	Reason string
	// Alarm says that clocks disagree, so that an operator has to look.
	Alarm bool
}

// notCompared is the reason of a clock that was not yet compared.
const notCompared = "the clock has not been compared with that of another broker yet"

// guard compares the own clock with those of the other live brokers.
type guard struct {
	grace   time.Duration
	peers   map[string]*peer // by origin
	read    instant          // the own clocks at the last view
	checked instant          // the own clocks at the last check for a step
	alone   bool             // the last view had no other live broker
	clock   Clock
}

// peer is the clock of another broker.
type peer struct {
	n       uint64
	samples []sample // the last ones that agree
	outlier *sample  // the last one, if it does not agree
}

// sample says that a clock is ahead by at least low and at most high.
type sample struct{ low, high time.Duration }

func (s sample) middle() time.Duration      { return (s.low + s.high) / 2 }
func (s sample) uncertainty() time.Duration { return (s.high - s.low) / 2 }
func (s sample) agrees(t sample) bool       { return s.low <= t.high && t.low <= s.high }

// best returns the sample with the least uncertainty, the newest of equal ones.
func (p *peer) best() (best sample, ok bool) {
	for _, s := range p.samples {
		if !ok || s.uncertainty() <= best.uncertainty() {
			best, ok = s, true
		}
	}
	return best, ok
}

// add adds a sample. One that disagrees with the best may be of a commit that was delayed; if the next one agrees with
// it, the clock was stepped and the older samples are void.
func (p *peer) add(s sample) {
	best, ok := p.best()
	switch {
	case !ok || s.agrees(best):
		p.samples, p.outlier = append(p.samples, s), nil
	case p.outlier != nil && s.agrees(*p.outlier):
		p.samples, p.outlier = []sample{*p.outlier, s}, nil
	default:
		p.outlier = &s
	}
	p.samples = p.samples[max(0, len(p.samples)-keepSamples):]
}

// step finds out whether the own clock was set since the last call. Then nothing that was compared with it is valid.
func (g *guard) step(now instant) {
	before := g.checked
	g.checked = now
	if before.wall.IsZero() {
		return
	}
	moved := now.wall.Sub(before.wall) - (now.mono - before.mono)
	if moved.Abs() < maxStep {
		return
	}
	g.peers, g.read = nil, instant{}
	if g.alone {
		return
	}
	g.clock = Clock{Reason: fmt.Sprintf("the clock was set by %v and has not been compared with that of another broker since", moved.Round(time.Millisecond))}
}

// observe takes the clocks of a view. now are the own clocks after it.
func (g *guard) observe(now instant, v *View, own Origin) {
	previous := g.read
	g.read = instant{v.Read, now.wall.Add(v.Read - now.mono)}
	peers := make(map[string]*peer, len(v.Origins))
	live := map[string]Origin{} // by name, the newest of those that were compared
	for _, o := range v.Live() {
		if o.ID == own.ID || o.Name == own.Name {
			continue
		}
		p, known := g.peers[o.ID]
		if !known {
			p = &peer{n: o.N}
		}
		if p.n != o.N && !previous.wall.IsZero() {
			// The clock was read between the last view and this one.
			clock := time.UnixMilli(o.ClockMS)
			p.add(sample{low: clock.Sub(now.wall), high: clock.Sub(previous.wall)})
		}
		p.n, peers[o.ID] = o.N, p
		newest, ok := live[o.Name]
		compared := ok && len(peers[newest.ID].samples) > 0
		// A record whose creation arrived late belongs to no run and never moves: it must not hide one that does.
		if moves := len(p.samples) > 0; !ok || moves && !compared || moves == compared && o.younger(newest) {
			live[o.Name] = o
		}
	}
	g.peers, g.alone = peers, len(live) == 0
	g.clock = g.judge(live, own)
}

// vote is the clock of one live broker.
type vote struct {
	sample
	origin Origin
}

// judge decides whether the own clock may be used.
func (g *guard) judge(live map[string]Origin, own Origin) Clock {
	votes := []vote{{origin: own}}
	for _, o := range live {
		if best, ok := g.peers[o.ID].best(); ok {
			votes = append(votes, vote{best, o})
		}
	}
	switch {
	case len(live) == 0:
		return Clock{OK: true}
	case len(votes) == 1: // nothing new is known, for example because the others have just joined
		return g.clock
	case len(votes) == 2:
		return g.judgeTwo(votes[1], own)
	}
	// Of an even number the slower of the two in the middle is the median, for every broker the same one.
	slices.SortFunc(votes, func(a, b vote) int {
		return cmp.Or(cmp.Compare(a.middle(), b.middle()), cmp.Compare(a.origin.ID, b.origin.ID))
	})
	median := votes[(len(votes)-1)/2]
	c := Clock{Offset: -median.middle(), OK: true}
	if c.Offset.Abs()-median.uncertainty() > MaxOffset {
		c.OK, c.Alarm = false, true
		c.Reason = fmt.Sprintf("the clock is %v off the median of %d brokers, at most %v: check the machine's time service", c.Offset.Round(time.Millisecond), len(votes), MaxOffset)
	}
	return c
}

// judgeTwo compares two clocks, of which either may be wrong. Both brokers run while they are closer than the grace, in which a
// refresh token that was replaced is accepted.
func (g *guard) judgeTwo(other vote, own Origin) Clock {
	c := Clock{Offset: -other.middle(), OK: true}
	apart := c.Offset.Abs() - other.uncertainty()
	if apart <= MaxOffset {
		return c
	}
	c.Alarm = true
	c.Reason = fmt.Sprintf("the clock is %v off that of broker %q: check the time service of both", c.Offset.Round(time.Millisecond), other.origin.Name)
	c.OK = apart < g.grace || !own.younger(other.origin)
	return c
}

// offset returns by how much the clock of an origin is ahead of the own one.
func (g *guard) offset(origin string) (time.Duration, bool) {
	p, ok := g.peers[origin]
	if !ok {
		return 0, false
	}
	best, ok := p.best()
	return best.middle(), ok
}
