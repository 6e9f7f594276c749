package simtest_test

import (
	"flag"
	"runtime"
	"runtime/debug"
	"testing"
)

var (
	oneSeed   = flag.Uint64("seed", 0, "replay this seed and print what happens")
	firstSeed = flag.Uint64("first", 1, "the first seed to run")
	manySeeds = flag.Uint64("seeds", seedsInATest, "how many seeds to run")
)

// bug is a deliberate fault in the simulation's own shell and broker.
type bug int

const (
	noBug bug = iota
	bugIgnoreHole
	bugAsOfArrival
	bugSilenceEnds
	bugBumpFirst
	bugFreshFirst
	bugStoreLater
	bugCollectByWall
	bugEvictionForgets
	bugOldAnswer
	bugHeadBeforeUp
	bugRestoreKeepsID
	bugFloorWithoutSignOut
)

func TestSeeds(t *testing.T) {
	if *oneSeed != 0 {
		if err := simulate(t, *oneSeed, noBug, true); err != nil {
			t.Fatal(err)
		}
		return
	}
	if testing.Short() {
		*manySeeds = min(*manySeeds, 100)
	}
	oneProcessor(t)
	for seed := *firstSeed; seed < *firstSeed+*manySeeds; seed++ {
		if err := simulate(t, seed, noBug, false); err != nil {
			t.Errorf("replay with -seed %d: %v", seed, err)
		}
	}
}

// oneProcessor: a bubble's clock moves when its one goroutine sleeps, and no other processor
// has to be woken for that. A run is short and leaves nothing behind: garbage may wait.
func oneProcessor(t *testing.T) {
	processors, percent := runtime.GOMAXPROCS(1), debug.SetGCPercent(400)
	t.Cleanup(func() {
		runtime.GOMAXPROCS(processors)
		debug.SetGCPercent(percent)
	})
}

func TestPlantedBugsAreCaught(t *testing.T) {
	oneProcessor(t)
	for _, planted := range []struct {
		name string
		bug  bug
	}{
		{"a hole is ignored", bugIgnoreHole},
		{"as_of only from the arrival", bugAsOfArrival},
		{"silence ends an origin", bugSilenceEnds},
		{"the version is bumped before the insert", bugBumpFirst},
		{"fresh before the events apply", bugFreshFirst},
		{"a verdict is stored under the version after the look-up", bugStoreLater},
		{"collect only by the wall clock", bugCollectByWall},
		{"an eviction forgets", bugEvictionForgets},
		{"an answer of introspection outlives an eviction", bugOldAnswer},
		{"head read before up", bugHeadBeforeUp},
		{"a restored store keeps its id", bugRestoreKeepsID},
		{"the time floor starts again at zero and no user is signed out", bugFloorWithoutSignOut},
	} {
		t.Run(planted.name, func(t *testing.T) {
			for seed := uint64(1); seed <= 500; seed++ {
				if err := simulate(t, seed, planted.bug, false); err != nil {
					t.Logf("seed %d: %v", seed, err)
					if without := simulate(t, seed, noBug, false); without != nil {
						t.Fatalf("without the bug: %v", without)
					}
					if again := simulate(t, seed, planted.bug, false); again == nil || again.Error() != err.Error() {
						t.Errorf("the replay ends otherwise: %v", again)
					}
					return
				}
			}
			t.Error("not caught")
		})
	}
}
