package simtest_test

import (
	"context"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"tokenbroker/store/memstore"
)

// cluster is the issuer of a run with several brokers: the engine that they share, and what they serve.
type cluster struct {
	w      *world
	engine *memstore.Engine
	audit  *audit
	nodes  []*node
	keys   *keyring
	store  string          // its id, once known
	runs   map[string]bool // the origins that brokers have had
	logins []*login

	commitFaults float64       // when no fault adds to it
	away         time.Duration // until then the engine answers no broker
	ends         time.Duration // when the faults end
	pace         time.Duration // the longest time between two requests of browsers
	followers    []follower
	kicks        chan struct{} // wakes the loop: there is another event
	tasks        uint64        // how many were started
	asleep       bool          // guarded by the world's mu

}

// simulateCluster runs one seed with several brokers and returns the broken promise, if any.
func simulateCluster(t *testing.T, seed uint64, b bug, verbose bool) (failed error) {
	// A collection of garbage would change the order in which goroutines run, so that it is between the runs.
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	synctest.Test(t, func(t *testing.T) {
		cryptotest.SetGlobalRandom(t, seed)
		ctx, cancel := context.WithCancel(t.Context())
		w := &world{ctx: ctx, rng: rand.New(rand.NewPCG(seed, 27)), bug: b, began: time.Now()}
		if verbose {
			w.log = t.Logf
		}
		failed = w.runCluster()
		for _, n := range w.cluster.nodes {
			n.crash()
		}
		cancel()
	})
	return failed
}

// counts has how often the runs of a test saw each of seen. A simulation that never sees one proves less than it says.
var (
	counts = make(map[string]int)
	seen   = []string{
		"answers", "batches collected", "commits of unknown outcome", "commits written late", "ends by reuse",
		"ends that had been recorded before", "heartbeats", "origins ended", "rejoins",
		"replays", "rotations", "verified tokens", "versions of the keyring",
	}
)

func (w *world) runCluster() error {
	c := &cluster{w: w, engine: memstore.NewEngine(nil), kicks: make(chan struct{}, 1), runs: make(map[string]bool)}
	w.cluster = c
	c.audit = newAudit(c)
	c.keys = newKeyring(w)
	c.pace = w.pick(300, 600, 1500) * time.Millisecond
	w.maxStale = w.pick(6, 10, 10) * time.Second
	faults := w.pick(30, 50, 50, 80) * time.Second
	if w.chance(0.03) {
		faults = 250 * time.Second
	}
	c.ends = faults
	if w.chance(0.5) {
		c.commitFaults = w.rng.Float64() * 0.2
	}
	for i := range 1 + w.rng.IntN(3) {
		c.nodes = append(c.nodes, newNode(c, i))
	}
	for i := range 1 + w.rng.IntN(2) {
		w.services = append(w.services, newService(w, i))
	}
	for _, n := range c.nodes {
		w.after(w.between(0, 5*time.Second), n.start)
	}
	for _, s := range w.services {
		s.start()
	}
	w.after(w.between(0, time.Second), c.browse)
	w.after(w.between(3*time.Second, 8*time.Second), c.fault)
	if w.bug == bugOriginDeleted {
		c.deleteEnded()
	}
	c.until(faults)
	c.heal()
	c.until(faults + w.maxStale + quiet)
	c.checkQuiet()
	return w.failed
}

// until runs everything that is due before end. Timers of the real code may wake its goroutines in the meantime.
func (c *cluster) until(end time.Duration) {
	w := c.w
	timer := time.NewTimer(0)
	defer timer.Stop()
	for w.failed == nil {
		w.mu.Lock()
		next := end
		if len(w.queue.events) > 0 {
			next = min(next, w.queue.events[0].at)
		}
		if wait := next - w.clock(); wait > 0 {
			c.asleep = true
			w.mu.Unlock()
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-c.kicks:
			}
			synctest.Wait()
			w.mu.Lock()
			c.asleep = false
			w.mu.Unlock()
			continue
		}
		w.now = w.clock()
		if next == end && (len(w.queue.events) == 0 || w.queue.events[0].at > end) {
			w.mu.Unlock()
			return
		}
		e := w.queue.pop()
		w.mu.Unlock()
		w.steps++
		e.run()
	}
}

// kick wakes the loop. The caller holds the world's mu.
func (c *cluster) kick() {
	if c.asleep {
		select {
		case c.kicks <- struct{}{}:
		default:
		}
	}
}

// any returns one of the brokers, most often one that runs.
func (c *cluster) any() *node {
	n := c.nodes[c.w.rng.IntN(len(c.nodes))]
	for range 2 {
		if !n.running() {
			n = c.nodes[c.w.rng.IntN(len(c.nodes))]
		}
	}
	return n
}
