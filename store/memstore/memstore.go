// Package memstore keeps records in memory. It is the reference implementation that the other engines
// are checked against, and a fast store for tests. Nothing in it is durable.
//
// A [Store] is for one broker. An [Engine] is for several, each of which has a [Handle] with its own faults.
package memstore

import (
	"context"
	"fmt"
	"sync"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/store"
)

var _ store.Store = (*Store)(nil)

// Store implements [store.Store] with a map. It is safe for concurrent use.
type Store struct {
	table      *table
	committing sync.Mutex // serializes Commit; not held by readers, so that a Seal can read
}

// New returns an empty store whose records expire by the clock now. If now is nil, time.Now is used.
func New(now func() time.Time) *Store { return &Store{table: newTable(now)} }

// Commits returns the number of transactions that wrote something.
func (s *Store) Commits() int {
	s.table.mu.RLock()
	defer s.table.mu.RUnlock()
	return s.table.commits
}

// Get implements [store.Reader].
func (s *Store) Get(ctx context.Context, key string) (store.Record, error) {
	s.table.mu.RLock()
	defer s.table.mu.RUnlock()
	return s.table.view().Get(ctx, key)
}

// GetMany implements [store.Reader].
func (s *Store) GetMany(ctx context.Context, keys []string) ([]store.Record, error) {
	s.table.mu.RLock()
	defer s.table.mu.RUnlock()
	return s.table.view().GetMany(ctx, keys)
}

// List implements [store.Reader].
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	s.table.mu.RLock()
	defer s.table.mu.RUnlock()
	return s.table.view().List(ctx, prefix, after, limit)
}

// Commit implements [store.Store].
func (s *Store) Commit(ctx context.Context, changes []store.Change, seal store.Seal) []error {
	s.committing.Lock()
	defer s.committing.Unlock()
	errs := make([]error, len(changes))
	if err := ctx.Err(); err != nil {
		return store.FailRest(errs, err)
	}
	written := make(map[string]store.Write) // by the changes accepted so far
	var accepted []revocation.Event
	for i, change := range changes {
		if errs[i] = s.accept(change.Writes, written); errs[i] == nil {
			accepted = append(accepted, change.Events...)
		}
	}
	if len(accepted) > 0 {
		if seal == nil {
			return store.FailRest(errs, errNoSeal)
		}
		writes, err := seal(accepted)
		if err == nil {
			err = s.accept(writes, written)
		}
		if err != nil {
			return store.FailRest(errs, fmt.Errorf("sealing: %w", err))
		}
	}
	s.table.mu.Lock()
	defer s.table.mu.Unlock()
	s.table.apply(written)
	return errs
}

func (s *Store) accept(writes []store.Write, written map[string]store.Write) error {
	s.table.mu.RLock()
	defer s.table.mu.RUnlock()
	return s.table.view().accept(writes, written)
}
