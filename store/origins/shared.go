package origins

import (
	"context"
	"errors"
	"sync"
)

// shared is an operation whose result is shared by the callers that wait for it: each gets that of an operation that
// began after its call. Only one runs at a time.
type shared[T any] struct {
	running chan struct{} // holds one token while the operation runs

	mu   sync.Mutex
	next *call[T] // the one that has not begun
}

// call is one run of the operation.
type call[T any] struct {
	done   chan struct{} // closed when result and err are set
	result T
	err    error
	// cancelled says that the context of the caller that ran it has ended.
	cancelled bool
}

// errPanicked is the result of an operation that did not return.
var errPanicked = errors.New("a shared operation has panicked")

func newShared[T any]() *shared[T] { return &shared[T]{running: make(chan struct{}, 1)} }

// do returns the result of an operation that began after the call of do. The operation runs under the context of one of
// the callers.
func (s *shared[T]) do(ctx context.Context, operation func(context.Context) (T, error)) (result T, err error) {
	for {
		s.mu.Lock()
		if s.next == nil {
			s.next = &call[T]{done: make(chan struct{})}
		}
		mine := s.next // one that runs may have begun before the call
		s.mu.Unlock()
		select {
		case <-mine.done:
		case s.running <- struct{}{}:
			s.lead(ctx, mine, operation)
		case <-ctx.Done():
			return result, ctx.Err()
		}
		<-mine.done
		if mine.err == nil || ctx.Err() != nil || !mine.cancelled {
			return mine.result, mine.err
		}
	}
}

// lead runs the operation unless another caller has run it. The caller holds running, which lead releases.
func (s *shared[T]) lead(ctx context.Context, mine *call[T], operation func(context.Context) (T, error)) {
	defer func() { <-s.running }()
	s.mu.Lock()
	begin := s.next == mine
	if begin {
		s.next = nil
	}
	s.mu.Unlock()
	if !begin {
		return
	}
	defer close(mine.done)
	mine.err = errPanicked
	mine.result, mine.err = operation(ctx)
	mine.cancelled = mine.err != nil && ctx.Err() != nil
}
