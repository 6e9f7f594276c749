package actor

import (
	"context"
	"log/slog"
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
