package actor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

// The defaults of a [Config].
const (
	DefaultMailbox    = 1024
	DefaultMaxBatch   = 256
	DefaultBackoffMin = 10 * time.Millisecond
	DefaultBackoffMax = 5 * time.Second
)

// Result answers one message: a value or an error.
type Result[A any] struct {
	Value A
	Err   error
}

// Handler carries out a batch of at least one message and returns exactly one result for
// each, in the same order. It runs in the actor's goroutine, one call at a time.
//
// The batch belongs to the actor, which reuses it after the return. ctx is the actor's, not a
// caller's: it ends if the context of [Actor.Stop] ends, and then the handler should return as soon
// as it can.
type Handler[Q, A any] func(ctx context.Context, batch []Q) []Result[A]

// Abort is the panic value of a handler that must restart with new state but knows the answers of
// its batch. Results, one for each message, are delivered; Cause goes to the log and the [Observer].
// If the number of results is wrong, all callers get a [PanicError].
type Abort[A any] struct {
	Results []Result[A]
	Cause   any
}

// Config configures an actor. Only New is required.
type Config[Q, A any] struct {
	// Name is used in logs, errors and metrics. If empty, it is "actor".
	Name string
	// Mailbox is the maximum number of waiting messages, not counting the batch that is being handled. If it
	// is full, messages are refused with [ErrBusy]. If zero, it is DefaultMailbox.
	Mailbox int
	// MaxBatch is the largest batch that a handler receives. If zero, it is DefaultMaxBatch.
	MaxBatch int
	// Gather is the longest time for which a batch waits for more messages. The batch waits until it
	// is as large as the batch before it and the messages that then waited, and at most a third of
	// the time that the batch before it took. A message is not delayed if it comes after a single
	// message, or later than the batch before it took. If zero, batches do not wait. It is for
	// handlers whose cost for each message falls with the size of the batch.
	Gather time.Duration
	// New makes the handler with new state. It is called in the actor's goroutine, at the start and
	// after each failure. A panic of New is also a failure.
	New func() Handler[Q, A]
	// Backoff is the pause before a restart.
	Backoff Backoff
	// Observer receives batches and restarts. If nil, they are not observed.
	Observer Observer
	// Logger receives panics. If nil, slog.Default is used.
	Logger *slog.Logger
}

// Backoff bounds the pause before a restart: Min after the first failure, doubled with each further
// one up to Max, and Min again after a successful batch. Zero values are the defaults.
type Backoff struct {
	Min, Max time.Duration
}

func (b Backoff) next(pause time.Duration) time.Duration {
	return min(max(pause*2, b.Min), b.Max)
}

// validate fills in defaults. It panics on invalid values, which are programming errors.
func (c *Config[Q, A]) validate() {
	if c.New == nil {
		panic("actor: Config.New is nil")
	}
	if c.Mailbox < 0 || c.MaxBatch < 0 || c.Gather < 0 || c.Backoff.Min < 0 || c.Backoff.Max < 0 {
		panic("actor: negative value in Config")
	}
	if c.Name == "" {
		c.Name = "actor"
	}
	if c.Mailbox == 0 {
		c.Mailbox = DefaultMailbox
	}
	if c.MaxBatch == 0 {
		c.MaxBatch = DefaultMaxBatch
	}
	if c.Backoff.Min == 0 {
		c.Backoff.Min = DefaultBackoffMin
	}
	if c.Backoff.Max == 0 {
		c.Backoff.Max = DefaultBackoffMax
	}
	c.Backoff.Max = max(c.Backoff.Min, c.Backoff.Max)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
}

var (
	// ErrBusy means that the mailbox is full. The message was not accepted; sending it again later
	// is safe.
	ErrBusy = errors.New("actor is busy")
	// ErrStopped means that the actor accepts no more messages.
	ErrStopped = errors.New("actor is stopped")
)

// PanicError is the error for the callers of a batch whose handler panicked or returned the wrong
// number of results. How much of the batch was carried out is unknown. The callers share the value,
// which must not be changed.
type PanicError struct {
	// Actor is the actor's name.
	Actor string
	// Value is the panic value of the handler.
	Value any
	// Stack is the goroutine's stack at the panic, for the log. It is empty if the handler
	// returned the wrong number of results.
	Stack []byte
}

// Error returns the actor's name and the panic value, without the stack.
func (e *PanicError) Error() string {
	return fmt.Sprintf("actor %s: panic: %v", e.Actor, e.Value)
}

// Unwrap returns the panic value if that is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// Observer observes actors, for metrics. Its methods are called in an actor's goroutine and delay
// it, so they should be quick. One observer may serve many actors, so it must be safe for
// concurrent use.
type Observer interface {
	// Batch is called at the start of a batch. oldestWait is how long its first message waited in
	// the mailbox.
	Batch(name string, size int, oldestWait time.Duration)
	// Restart is called after a failure, before the pause. cause is the panic value, or an error if
	// the handler returned the wrong number of results.
	Restart(name string, cause any)
}

// Stats counts what an actor did since its start. The numbers are read one after the other, so they
// may differ by a few messages while the actor works.
type Stats struct {
	// Depth is the number of messages that wait now.
	Depth int
	// Accepted messages entered the mailbox. Refused ones found it full.
	Accepted, Refused uint64
	// Batches were passed to the handler, with Messages in them.
	Batches, Messages uint64
	// Skipped messages were dropped because their callers had stopped waiting.
	Skipped uint64
	// Restarts counts panics of the handler or of Config.New.
	Restarts uint64
}

type counters struct {
	accepted, refused, batches, messages, skipped, restarts atomic.Uint64
}

// Stats returns the actor's numbers. It never blocks.
func (a *Actor[Q, A]) Stats() Stats {
	return Stats{
		Depth:    len(a.mailbox),
		Accepted: a.counters.accepted.Load(),
		Refused:  a.counters.refused.Load(),
		Batches:  a.counters.batches.Load(),
		Messages: a.counters.messages.Load(),
		Skipped:  a.counters.skipped.Load(),
		Restarts: a.counters.restarts.Load(),
	}
}
