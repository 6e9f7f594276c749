package simtest_test

import (
	"flag"
	"testing"
	"time"
)

var (
	oneSeed   = flag.Uint64("seed", 0, "replay this seed and print what happens")
	manySeeds = flag.Uint64("seeds", 100, "how many seeds to run")
)

// bug is planted in the simulation's own shell and broker.
type bug int

const (
	noBug bug = iota
	bugIgnoreHole
	bugAsOfArrival
	bugSilenceEnds
	bugFreshFirst
	bugCollectByWall
	bugEvictionForgets
	bugHeadBeforeUp
	bugRestoreKeepsID
)

// fault lets one thing go wrong, and comes again.
func (w *world) fault() {
	if w.calm {
		return
	}
	b, s := w.broker, w.services[w.rng.IntN(len(w.services))]
	d := w.between(time.Second, 12*time.Second)
	n := w.rng.IntN(13)
	w.say("fault %d, service %d, %s", n, s.id, d)
	switch n {
	case 0:
		s.cutFeed = w.now + d
	case 1:
		s.cutHTTP = w.now + d
	case 2:
		s.cutFeed, s.cutHTTP = w.now+d, w.now+d
	case 3:
		s.held = w.now + d
	case 4:
		s.delay = w.between(time.Millisecond, 10*time.Second)
	case 5:
		s.loss = w.rng.Float64() / 2
	case 6:
		s.pause(d)
	case 7:
		s.suspend(d)
	case 8:
		s.step(w.pick(-time.Hour, time.Hour, -5*time.Second, 5*time.Second))
	case 9:
		if !s.paused() {
			s.start()
		}
	case 10:
		b.step(w.pick(-time.Hour, time.Hour, -time.Minute, time.Minute))
	case 11:
		if w.chance(0.5) {
			b.pause(d)
		} else {
			b.suspend(d)
		}
	case 12:
		if b.ledger != nil && !b.paused() {
			b.crash()
		}
	}
	if w.chance(0.2) {
		b.save()
	}
	w.after(w.between(200*time.Millisecond, 3*time.Second), w.fault)
}

func (w *world) heal() {
	w.say("all is well again")
	w.calm = true
	for _, s := range w.services {
		s.cutFeed, s.cutHTTP, s.held, s.loss, s.delay = 0, 0, 0, 0, 20*time.Millisecond
	}
}

func TestSeeds(t *testing.T) {
	if *oneSeed != 0 {
		if err := simulate(t, *oneSeed, noBug, true); err != nil {
			t.Fatal(err)
		}
		return
	}
	for seed := uint64(1); seed <= *manySeeds; seed++ {
		if err := simulate(t, seed, noBug, false); err != nil {
			t.Fatalf("replay with -seed %d: %v", seed, err)
		}
	}
}

func TestPlantedBugsAreCaught(t *testing.T) {
	for name, b := range map[string]bug{
		"a hole is ignored":             bugIgnoreHole,
		"as_of from arrival alone":      bugAsOfArrival,
		"silence ends an origin":        bugSilenceEnds,
		"fresh before the events apply": bugFreshFirst,
		"collect by wall clock alone":   bugCollectByWall,
		"an eviction forgets":           bugEvictionForgets,
		"head read before up":           bugHeadBeforeUp,
		"a restored store keeps its id": bugRestoreKeepsID,
	} {
		t.Run(name, func(t *testing.T) {
			for seed := uint64(1); seed <= 200; seed++ {
				if err := simulate(t, seed, b, false); err != nil {
					t.Logf("seed %d: %v", seed, err)
					if again := simulate(t, seed, b, false); again == nil || again.Error() != err.Error() {
						t.Errorf("the replay ends otherwise: %v", again)
					}
					return
				}
			}
			t.Error("not caught")
		})
	}
}
