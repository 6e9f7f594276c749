package bench

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenbroker/broker/actor"
	"tokenbroker/broker/brokertest"
	"tokenbroker/store"
)

var _ actor.Observer = (*gate)(nil)

// TestConcurrentRefreshesShareCommits holds the first commit until all other refreshes wait. Each
// shard can then request a commit at most twice, and the committer must merge all waiting requests
// into the next commit.
func TestConcurrentRefreshesShareCommits(t *testing.T) {
	for _, shards := range []int{1, 2, 16} {
		t.Run(fmt.Sprintf("%d shards", shards), func(t *testing.T) {
			g := &gate{held: make(chan struct{}), open: make(chan struct{})}
			r := newRig(t, func(cfg *brokertest.Config) {
				g.Store = cfg.Store
				cfg.Store, cfg.ActorObserver, cfg.Shards = g, g, shards
			})
			refresh := r.refresh(t)
			g.armed.Store(true)
			release := sync.OnceFunc(func() { close(g.open) })
			defer release() // also when the test fails

			done := make(chan error, 1)
			go func() {
				_, err := fromAll(clients, clients, refresh)
				done <- err
			}()
			<-g.held
			var waiting int
			poll := time.NewTicker(time.Millisecond)
			defer poll.Stop()
			for deadline := time.Now().Add(30 * time.Second); ; <-poll.C {
				inHand, requested, taken := g.inShards() // read before the mailboxes, so that no request is counted twice
				inMailboxes, depth := r.Path.MailboxDepth()
				if inHand+inMailboxes == clients && taken+depth == requested {
					waiting = depth
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("of %d refreshes %d are in the shards and %d in their mailboxes", clients, inHand, inMailboxes)
				}
			}
			release()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			commits, merged := g.counts()
			if commits > 2*shards {
				t.Errorf("%d refreshes on %d shards cost %d commits", clients, shards, commits)
			}
			if merged < waiting {
				t.Errorf("the second commit took %d of the %d requests that waited for it", merged, waiting)
			}
			t.Logf("%d refreshes, %d commits; %d requests waited for the second", clients, commits, waiting)
		})
	}
}

// gate holds the first commit after it is armed, and counts from then on.
type gate struct {
	store.Store
	armed      atomic.Bool
	held, open chan struct{}

	mu        sync.Mutex
	commits   int   // guarded by mu, like the fields below
	inHand    int   // messages that the shards received
	requested int   // batches that the shards received; each makes one request
	taken     []int // requests that the committer received, by batch
}

// Commit implements [store.Store].
func (g *gate) Commit(ctx context.Context, changes []store.Change, seal store.Seal) []error {
	if g.armed.Load() {
		g.mu.Lock()
		g.commits++
		first := g.commits == 1
		g.mu.Unlock()
		if first {
			close(g.held)
			<-g.open
		}
	}
	return g.Store.Commit(ctx, changes, seal)
}

// Batch implements [actor.Observer].
func (g *gate) Batch(name string, size int, _ time.Duration) {
	if !g.armed.Load() {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if name == "committer" {
		g.taken = append(g.taken, size)
		return
	}
	g.inHand += size
	g.requested++
}

// Restart implements [actor.Observer].
func (*gate) Restart(string, any) {}

func (g *gate) inShards() (inHand, requested, taken int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, size := range g.taken {
		taken += size
	}
	return g.inHand, g.requested, taken
}

// counts returns the number of commits, and the number of requests in the second one.
func (g *gate) counts() (commits, merged int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.taken) > 1 {
		merged = g.taken[1]
	}
	return g.commits, merged
}
