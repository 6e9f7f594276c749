package commit_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/store"
	"tokenbroker/store/storetest"
)

// panics is a store that panics once: at the atRead-th read of the floor, or in a commit.
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

// restarted records which actors restarted.
type restarted struct{ names chan string }

func (restarted) Batch(string, int, time.Duration) {}
func (r restarted) Restart(name string, _ any)     { r.names <- name }

func TestAPanicOfTheCommitter(t *testing.T) {
	for name, row := range map[string]struct {
		atRead   int
		inCommit bool
		fatal    bool
	}{
		// Of a sign-in, only the committer reads the floor by itself.
		"a panic before the commit started is an error and a restart": {atRead: 1},
		"a panic in the commit ends the process":                      {inCommit: true, fatal: true},
	} {
		t.Run(name, func(t *testing.T) {
			disk, seen := &panics{}, restarted{make(chan string, 8)}
			h := brokertest.Start(t, func(c *brokertest.Config) {
				disk.Store = c.Store
				c.Store, c.ActorObserver = disk, seen
			})
			disk.arm(row.atRead, row.inCommit)
			_, err := h.SignIn(t.Context(), "ada", "lovelace", brokertest.Request)
			brokertest.WantCode(t, err, broker.CodeInternal)
			if actor := <-seen.names; actor != "committer" {
				t.Fatalf("the %s panicked", actor)
			}
			if ended := h.Fatal.Load() != nil; ended != row.fatal {
				t.Errorf("Fatal called: %t, want %t", ended, row.fatal)
			}
			if !row.fatal {
				h.MustSignIn(t)
			}
		})
	}
}

func TestConflictsAreDecidedAgain(t *testing.T) {
	var conflicts *storetest.Conflicts
	h := brokertest.Start(t, func(c *brokertest.Config) {
		conflicts = storetest.Conflicting(c.Store, storetest.Times(7))
		c.Store = conflicts
	})
	grant := h.MustSignIn(t)
	if _, err := h.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, brokertest.Request); err != nil {
		t.Fatal(err)
	}
	if conflicts.Injected() != 7 {
		t.Errorf("%d conflicts, want 7", conflicts.Injected())
	}
}

func TestConcurrentChangesShareCommits(t *testing.T) {
	h := brokertest.Start(t)
	grants := make([]*broker.Grant, 64)
	for i := range grants {
		grants[i] = h.MustSignIn(t)
	}
	before := h.Store.Commits()
	var wg sync.WaitGroup
	for _, g := range grants {
		wg.Go(func() {
			if _, err := h.LogOff(context.Background(), g.RefreshToken, g.CSRFToken, brokertest.Request); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := h.Store.Commits() - before; got > 64 {
		t.Errorf("64 log-offs cost %d commits", got)
	}
	if n := len(h.Ledger.Events()); n != 64 {
		t.Errorf("%d events for 64 log-offs", n)
	}
}

func TestAnUncertainCommitEndsTheProcess(t *testing.T) {
	h := brokertest.Start(t, func(c *brokertest.Config) { c.Store = &uncertain{Store: c.Store} })
	_, err := h.SignIn(t.Context(), "ada", "lovelace", brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeInternal)
	if h.Fatal.Load() == nil {
		t.Error("Fatal was not called")
	}
}

// uncertain fails every commit of a session with an uncertain result.
type uncertain struct{ store.Store }

func (u *uncertain) Commit(ctx context.Context, changes []store.Change, seal store.Seal) []error {
	for _, c := range changes {
		for _, w := range c.Writes {
			if strings.HasPrefix(w.Key, "session.") {
				errs := make([]error, len(changes))
				for i := range errs {
					errs[i] = store.ErrUncertain
				}
				return errs
			}
		}
	}
	return u.Store.Commit(ctx, changes, seal)
}
