package broker_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/store"
)

// panics is a store that panics once: at the floor's reading number atRead, or in a commit.
type panics struct {
	store.Store
	mu       sync.Mutex
	atRead   int
	inCommit bool
}

func (p *panics) arm(atRead int, inCommit bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.atRead, p.inCommit = atRead, inCommit
}

func (p *panics) Get(ctx context.Context, key string) (store.Record, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if key == "floor" {
		if p.atRead--; p.atRead == 0 {
			panic("while reading")
		}
	}
	return p.Store.Get(ctx, key)
}

func (p *panics) Commit(ctx context.Context, changes []store.Change, seal store.Seal) []error {
	p.mu.Lock()
	now := p.inCommit
	p.inCommit = false
	p.mu.Unlock()
	if now {
		panic("while committing")
	}
	return p.Store.Commit(ctx, changes, seal)
}

// restarted notes which actors restarted.
type restarted struct{ names chan string }

func (restarted) Batch(string, int, time.Duration) {}
func (r restarted) Restart(name string, _ any)     { r.names <- name }

func TestAPanicOfTheCommitter(t *testing.T) {
	for name, row := range map[string]struct {
		atRead   int
		inCommit bool
		fatal    bool
	}{
		// A sign-in reads the floor in its shard, then in the committer.
		"before the commit began is an error and a restart": {atRead: 2},
		"in the commit ends the process":                    {inCommit: true, fatal: true},
	} {
		t.Run(name, func(t *testing.T) {
			disk, seen := &panics{}, restarted{make(chan string, 8)}
			h := start(t, func(c *broker.Config) {
				disk.Store = c.Store
				c.Store, c.ActorObserver = disk, seen
			})
			disk.arm(row.atRead, row.inCommit)
			_, err := h.SignIn(t.Context(), "ada", "lovelace", request)
			wantCode(t, err, broker.CodeInternal)
			if actor := <-seen.names; actor != "committer" {
				t.Fatalf("the %s panicked", actor)
			}
			if ended := h.fatal.Load() != nil; ended != row.fatal {
				t.Errorf("Fatal called: %t, want %t", ended, row.fatal)
			}
			if !row.fatal {
				h.signIn(t)
			}
		})
	}
}
