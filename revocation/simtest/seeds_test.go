package simtest_test

import (
	"cmp"
	"flag"
	"runtime"
	"runtime/debug"
	"testing"
)

var (
	oneBug    = flag.Int("bug", 0, "the number of a planted bug, for -seed")
	oneSeed   = flag.Uint64("seed", 0, "replay this seed and print what happens")
	firstSeed = flag.Uint64("first", 1, "the first seed to run")
	manySeeds = flag.Uint64("seeds", 0, "how many seeds to run; 0 is the number of an ordinary test")
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

func TestSeeds(t *testing.T) { runSeeds(t, seedsInATest, simulate) }

// enoughToSeeAll is how many runs see even what is rare.
const enoughToSeeAll = 500

// TestClusterSeeds runs up to three brokers on one engine.
func TestClusterSeeds(t *testing.T) {
	clear(counts)
	runSeeds(t, clustersInATest, simulateCluster)
	if *oneSeed != 0 {
		return
	}
	for _, what := range seen {
		t.Logf("%d %s", counts[what], what)
		if counts[what] == 0 && !testing.Short() && *manySeeds == 0 && clustersInATest >= enoughToSeeAll {
			t.Errorf("the runs have seen no %s", what)
		}
	}
}

func runSeeds(t *testing.T, ordinary uint64, simulate func(*testing.T, uint64, bug, bool) error) {
	oneProcessor(t)
	if *oneSeed != 0 {
		if err := simulate(t, *oneSeed, bug(*oneBug), true); err != nil {
			t.Fatal(err)
		}
		return
	}
	seeds := cmp.Or(*manySeeds, ordinary)
	if testing.Short() {
		seeds = min(seeds, 100)
	}
	for seed := *firstSeed; seed < *firstSeed+seeds; seed++ {
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
	catch(t, 500, 1, simulate, []planted{
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
	})
}

// planted is a bug that a simulation has to catch.
type planted struct {
	name string
	bug  bug
}

// catch runs each bug until the simulation finds a broken promise, at most the given number of seeds. One of the replays
// must end in the same way, and without the bug the seed must break nothing.
func catch(t *testing.T, seeds uint64, replays int, simulate func(*testing.T, uint64, bug, bool) error, bugs []planted) {
	oneProcessor(t)
	for _, planted := range bugs {
		t.Run(planted.name, func(t *testing.T) {
			for seed := uint64(1); seed <= seeds; seed++ {
				if err := simulate(t, seed, planted.bug, false); err != nil {
					t.Logf("seed %d: %v", seed, err)
					if without := simulate(t, seed, noBug, false); without != nil {
						t.Fatalf("without the bug: %v", without)
					}
					for range replays {
						again := simulate(t, seed, planted.bug, false)
						if again != nil && again.Error() == err.Error() {
							return
						}
						t.Logf("the replay ends otherwise: %v", again)
					}
					t.Errorf("no replay of %d ended in the same way", replays)
					return
				}
			}
			t.Error("not caught")
		})
	}
}
