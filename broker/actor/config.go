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
// The batch belongs to the actor, which uses it again after the return. ctx is the actor's, not
// a caller's: it ends when a [Actor.Stop] ran out of time, and then the handler should
// return as soon as it can.
type Handler[Q, A any] func(ctx context.Context, batch []Q) []Result[A]

// Abort is what a handler panics with when it has to start anew with fresh state and yet
// knows its batch's answers: Results, one for each message, is delivered, and Cause is what
// the log and [Observer] are told. With another number of results all get a [PanicError].
type Abort[A any] struct {
	Results []Result[A]
	Cause   any
}

// Config says what an actor is. Only New is required.
type Config[Q, A any] struct {
	// Name is used in logs, errors and metrics: "actor" when empty.
	Name string
	// Mailbox is how many messages may wait, beside the batch being handled.
	// A message that finds it full is refused with [ErrBusy]. 0 is DefaultMailbox.
	Mailbox int
	// MaxBatch is how many messages a handler is given at most. 0 is DefaultMaxBatch.
	MaxBatch int
	// Gather is how long at most a batch waits for as many messages as the batch before had
	// with those behind it, and at most a third of the time which that one took; 0: never. A
	// message that comes alone, or when the batch before is longer ago than it took, is not held
	// up. Only for handlers that a fuller batch makes cheaper.
	Gather time.Duration
	// New makes the handler with fresh state. It is called in the actor's goroutine, at the
	// start and after each restart; when it panics, that is a restart, too.
	New func() Handler[Q, A]
	// Backoff is the pause before a restart.
	Backoff Backoff
	// Observer is told of batches and restarts; may be nil.
	Observer Observer
	// Logger is told of panics; nil is slog.Default.
	Logger *slog.Logger
}

// Backoff bounds the pause before a restart: Min after the first failure, doubled with each
// further one up to Max, Min again after a batch went well. Zero values are the defaults.
type Backoff struct {
	Min, Max time.Duration
}

func (b Backoff) next(pause time.Duration) time.Duration {
	return min(max(pause*2, b.Min), b.Max)
}

// validate fills defaults. What it refuses are mistakes in the program, so it panics.
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
	// ErrBusy is the answer of a full mailbox. The message was not accepted; asking again
	// later is safe.
	ErrBusy = errors.New("actor is busy")
	// ErrStopped is the answer of an actor that takes no more messages.
	ErrStopped = errors.New("actor is stopped")
)

// PanicError is what the callers of a batch get when its handler panicked or returned the
// wrong number of results. How much of the batch was carried out is not known.
// It is shared by those callers and must not be changed.
type PanicError struct {
	// Actor is the actor's name.
	Actor string
	// Value is what the handler panicked with.
	Value any
	// Stack is the goroutine's stack at the panic, for the log; empty when the handler
	// returned the wrong number of results.
	Stack []byte
}

// Error gives the actor's name and the panic's value, without the stack.
func (e *PanicError) Error() string {
	return fmt.Sprintf("actor %s: panic: %v", e.Actor, e.Value)
}

// Unwrap returns the value of the panic when that was an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// Observer watches an actor, for metrics. Its methods are called in the actor's goroutine
// and hold it up: they should be quick. One observer may serve many actors, so it must be
// safe for concurrent use.
type Observer interface {
	// Batch is called as a batch begins. oldestWait is how long the message at its head
	// waited in the mailbox.
	Batch(name string, size int, oldestWait time.Duration)
	// Restart is called when the actor failed, before the pause. cause is the value of the
	// panic, or an error when the handler returned the wrong number of results.
	Restart(name string, cause any)
}

// Stats is what an actor did since its start. The numbers are read one after the other, so
// they need not agree to the last message while the actor is at work.
type Stats struct {
	// Depth is how many messages wait now.
	Depth int
	// Accepted messages entered the mailbox; Refused ones met a full mailbox.
	Accepted, Refused uint64
	// Batches were given to the handler, with Messages in them.
	Batches, Messages uint64
	// Skipped messages were dropped before they began: their callers had given up.
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
