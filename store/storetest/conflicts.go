package storetest

import (
	"context"
	"errors"
	"sync"

	"tokenbroker/store"
)

var _ store.Store = (*Conflicts)(nil)

// Conflicts is a store that refuses chosen changes with [store.ErrConflict] or another error, as if
// another broker had written in between. It is safe for concurrent use.
type Conflicts struct {
	store.Store

	mu       sync.Mutex
	choose   func(store.Change) error
	injected int
}

// Conflicting wraps s: every change for which choose returns true conflicts, and nothing of
// it is written. Calls of choose are serialized, in commit order.
func Conflicting(s store.Store, choose func(store.Change) bool) *Conflicts {
	return Refusing(s, func(c store.Change) error {
		if choose(c) {
			return store.ErrConflict
		}
		return nil
	})
}

// Refusing wraps s: every change for which choose returns an error gets that error, and nothing of it is written. A
// [store.ErrFenced] refuses the whole commit. Calls of choose are serialized, in commit order.
func Refusing(s store.Store, choose func(store.Change) error) *Conflicts {
	return &Conflicts{Store: s, choose: choose}
}

// Times returns a function for [Conflicting] that chooses the first n changes that expect a revision.
func Times(n int) func(store.Change) bool {
	return func(c store.Change) bool {
		for _, w := range c.Writes {
			if !w.Blind && n > 0 {
				n--
				return true
			}
		}
		return false
	}
}

// Injected returns the number of refused changes so far.
func (c *Conflicts) Injected() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.injected
}

// Commit implements [store.Store].
func (c *Conflicts) Commit(ctx context.Context, changes []store.Change, seal store.Seal) []error {
	c.mu.Lock()
	defer c.mu.Unlock()
	errs := make([]error, len(changes))
	var passed []store.Change
	var index []int
	for i, change := range changes {
		if errs[i] = c.choose(change); errs[i] != nil {
			c.injected++
			if errors.Is(errs[i], store.ErrFenced) {
				return store.FailRest(make([]error, len(changes)), errs[i])
			}
			continue
		}
		passed = append(passed, change)
		index = append(index, i)
	}
	if len(passed) == 0 {
		return errs
	}
	for i, err := range c.Store.Commit(ctx, passed, seal) {
		errs[index[i]] = err
	}
	return errs
}
