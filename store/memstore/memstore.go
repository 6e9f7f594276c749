// Package memstore keeps records in memory. It is the reference implementation that the other engines
// are checked against, and a fast store for tests. Nothing in it is durable.
package memstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/store"
)

var _ store.Store = (*Store)(nil)

type record struct {
	value     []byte
	revision  store.Revision
	expiresAt int64
}

// Store implements [store.Store] with a map. It is safe for concurrent use.
type Store struct {
	now func() time.Time

	committing sync.Mutex // serializes Commit; not held by readers, so that a Seal can read

	mu       sync.RWMutex
	records  map[string]record
	revision store.Revision
	commits  int
}

// New returns an empty store whose records expire by the clock now. If now is nil, time.Now is used.
func New(now func() time.Time) *Store {
	if now == nil {
		now = time.Now
	}
	return &Store{now: now, records: make(map[string]record)}
}

// Commits returns the number of transactions that wrote something.
func (s *Store) Commits() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.commits
}

// Get implements [store.Reader].
func (s *Store) Get(ctx context.Context, key string) (store.Record, error) {
	if err := ctx.Err(); err != nil {
		return store.Record{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	r, ok := s.live(key)
	if !ok {
		return store.Record{}, store.ErrNotFound
	}
	return store.Record{Key: key, Value: append([]byte{}, r.value...), Revision: r.revision}, nil
}

// List implements [store.Reader].
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	var keys []string
	for key := range s.records {
		if _, ok := s.live(key); ok && strings.HasPrefix(key, prefix) && key > after {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	if len(keys) > max(limit, 0) {
		keys = keys[:max(limit, 0)]
	}
	var records []store.Record
	for _, key := range keys {
		r := s.records[key]
		records = append(records, store.Record{Key: key, Value: append([]byte{}, r.value...), Revision: r.revision})
	}
	return records, nil
}

// live returns the record of key unless it has expired. The caller holds mu.
func (s *Store) live(key string) (record, bool) {
	r, ok := s.records[key]
	if !ok || r.expiresAt != 0 && r.expiresAt <= s.now().Unix() {
		return record{}, false
	}
	return r, true
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
			return store.FailRest(errs, errors.New("committing: revocation events without a seal"))
		}
		writes, err := seal(accepted)
		if err == nil {
			err = s.accept(writes, written)
		}
		if err != nil {
			return store.FailRest(errs, fmt.Errorf("sealing: %w", err))
		}
	}
	s.apply(written)
	return errs
}

// accept adds writes to written if each of them meets its expectation, otherwise none.
func (s *Store) accept(writes []store.Write, written map[string]store.Write) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	own := make(map[string]store.Write, len(writes))
	for _, w := range writes {
		if w.Key == "" {
			return errors.New("committing: empty key")
		}
		if !w.Blind {
			before, touched := own[w.Key]
			if !touched {
				before, touched = written[w.Key]
			}
			switch r, ok := s.live(w.Key); {
			case touched && (!before.Delete || w.Expect != 0):
				return store.ErrConflict
			case !touched && ok && r.revision != w.Expect, !touched && !ok && w.Expect != 0:
				return store.ErrConflict
			}
		}
		own[w.Key] = w
	}
	for key, w := range own {
		written[key] = w
	}
	return nil
}

func (s *Store) apply(written map[string]store.Write) {
	if len(written) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revision++
	s.commits++
	for key, w := range written {
		if w.Delete {
			delete(s.records, key)
			continue
		}
		s.records[key] = record{value: slices.Clone(w.Value), revision: s.revision, expiresAt: w.ExpiresAt}
	}
}
