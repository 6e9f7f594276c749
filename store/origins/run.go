package origins

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/store"
)

var (
	_ store.Store       = (*Run)(nil)
	_ store.Snapshotter = (*Run)(nil)
	_ store.Provisioner = (*Run)(nil)
)

// Run is one run of a broker on an engine. It implements [store.Store] under the fence of its origin. It is safe
// for concurrent use; commits are serialized. It starts no goroutine: its owner calls Tick.
type Run struct {
	config Config
	engine store.Engine

	turn chan struct{} // holds a token during a commit, a settlement or a join
	open *attempt      // a commit whose outcome is unknown; guarded by turn

	outdated []string      // the last result of Config.Outdated; guarded by turn
	askAgain time.Duration // when it is called again; guarded by turn
	program  string        // [Maintenance.Run] of a program that needs the store for itself; guarded by turn

	views    *shared[*View]
	confirms *shared[struct{}]

	mu        sync.Mutex // not held over a call of the engine
	own       Origin     // as of the last commit; changed only with turn
	committed time.Duration
	failure   error   // why the run cannot commit: ErrFenced, ErrRewound or ErrClosed
	writes    writes  // for the confirmation of reads
	last      *View   // the last one; nil before the first
	viewed    bool    // last was read after the origin was created
	version   int     // of the store
	present   instant // when a view last had the own origin
	watch     watch
	guard     guard
	reported  string // what was last logged about the clock
	collector collector
	stats     Stats
}

// Stats are counts since the run joined.
type Stats struct {
	// Written, NotWritten and Unknown count commits whose outcome was unknown at first, by what was found out. Unknown ones
	// remain so, because another broker has ended and removed the origin.
	Written, NotWritten, Unknown uint64
	// Rejoins counts the origins that the run took after another broker had ended the one before.
	Rejoins uint64
}

// Stats returns the counts.
func (r *Run) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stats
}

// count changes the counts.
func (r *Run) count(change func(*Stats)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.stats)
}

// instant is a moment by both clocks.
type instant struct {
	mono time.Duration
	wall time.Time
}

// since returns the longer of the times since i by the two clocks: a machine that was suspended may have
// stopped one of them.
func (i instant) since(now instant) time.Duration { return max(now.mono-i.mono, now.wall.Sub(i.wall)) }

func (r *Run) now() instant { return instant{r.config.Mono(), r.config.Wall()} }

// Origin returns the id of the present origin. [Run.Rejoin] changes it.
func (r *Run) Origin() string { return r.self().ID }

// Head returns the sequence number of the origin's last batch that is known to be recorded.
func (r *Run) Head() uint64 { return r.self().Head }

func (r *Run) self() Origin {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.own
}

// take waits for the turn to commit.
func (r *Run) take(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case r.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *Run) release() { <-r.turn }

// setOwn records the fence as of a commit. The caller has the turn.
func (r *Run) setOwn(o Origin) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.own, r.committed = o, r.config.Mono()
}

// failed returns why the run cannot commit, nil if it can.
func (r *Run) failed() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failure
}

// fail sets why the run cannot commit. A rewind is final, and a run that has left is not fenced.
func (r *Run) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failLocked(err)
}

func (r *Run) failLocked(err error) {
	if r.failure == nil || errors.Is(err, ErrRewound) {
		r.failure = err
	}
}

// Scanner returns the engine as a [store.Scanner], if it is one.
func (r *Run) Scanner() (store.Scanner, bool) {
	s, ok := r.engine.(store.Scanner)
	return s, ok
}

// Follow is [store.Engine.Follow]. The prefix of the records of origins is [Prefix].
func (r *Run) Follow(ctx context.Context, prefix string) <-chan struct{} {
	return r.engine.Follow(ctx, prefix)
}

// newID returns 16 random bytes in the text form of the broker's ids.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return revocation.EncodeID(b[:])
}
