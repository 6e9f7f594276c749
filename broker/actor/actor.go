// Package actor is the concurrency core: one goroutine that owns its state, a bounded
// typed mailbox before it, and callers that ask and wait.
//
// [Start] makes an actor from a [Config], [Actor.Ask] sends it a message and waits for the
// answer, [Actor.Stop] drains it. What the actor does is a [Handler], made by Config.New in
// the actor's goroutine; whatever the handler closes over is the actor's state and needs no
// lock, because nobody else has a pointer to it.
//
//	counter := actor.Start(actor.Config[int, int]{
//		Name: "counter",
//		New: func() actor.Handler[int, int] {
//			total := 0 // the state
//			return func(ctx context.Context, batch []int) []actor.Result[int] {
//				...
//			}
//		},
//	})
//	defer counter.Stop(ctx)
//	total, err := counter.Ask(ctx, 3)
//
// The rules that callers build on:
//
//   - A handler is given all the messages that wait, up to Config.MaxBatch, in the order in
//     which they entered, so that one commit can serve them all.
//   - Entering never blocks: a full mailbox is [ErrBusy] at once. Only waiting for the
//     answer takes time, and it ends with the caller's context.
//   - A caller that gives up never holds up the actor. Its message is skipped if the actor
//     has not begun it; if it has, the message is carried out and its answer dropped.
//   - A panic becomes a [PanicError] for the callers of that batch, and the actor restarts
//     with fresh state after a pause that doubles from one failure to the next. Meanwhile
//     the mailbox goes on filling.
//   - Every message accepted before Stop is answered.
//
// A handler must not Ask its own actor: it would wait for itself.
package actor

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Actor is a running actor. Its methods are safe for concurrent use.
type Actor[Q, A any] struct {
	cfg      Config[Q, A]
	mailbox  chan *message[Q, A]
	stopping chan struct{} // closed when Stop was called
	done     chan struct{} // closed when the goroutine has ended
	ctx      context.Context
	cancel   context.CancelFunc
	counters counters

	// The goroutine's own, kept from one batch to the next.
	batch   []*message[Q, A]
	queries []Q
	next    gatherPlan

	// mu orders entering before closing: senders hold it for reading, Stop for writing.
	// Nothing blocks while it is held.
	mu     sync.RWMutex
	closed bool // no message enters any more; mailbox and stopping are closed
}

// message is one question on its way. The actor replies at most once, so the buffer of one
// means that it never waits for a caller.
type message[Q, A any] struct {
	ctx     context.Context
	q       Q
	entered time.Time
	reply   chan Result[A]
}

// Start starts an actor. Its one goroutine lives until [Actor.Stop].
// Start panics when cfg.New is nil or a number in cfg is negative.
func Start[Q, A any](cfg Config[Q, A]) *Actor[Q, A] {
	cfg.validate()
	a := &Actor[Q, A]{
		cfg:      cfg,
		mailbox:  make(chan *message[Q, A], cfg.Mailbox),
		stopping: make(chan struct{}),
		done:     make(chan struct{}),
	}
	a.ctx, a.cancel = context.WithCancel(context.Background()) //nolint:gosec // Stop and run call it
	go a.run()
	return a
}

// Ask sends q and waits for its answer.
//
// It returns [ErrBusy] at once when the mailbox is full and [ErrStopped] after Stop; in both
// cases the message was not accepted. When ctx ends first it returns ctx.Err(), and whether
// the message was carried out is not known. A [*PanicError] means that the handler failed on
// the batch. Any other error is the handler's own answer.
func (a *Actor[Q, A]) Ask(ctx context.Context, q Q) (A, error) {
	var none A
	if err := ctx.Err(); err != nil {
		return none, err
	}
	m := &message[Q, A]{ctx: ctx, q: q, entered: time.Now(), reply: make(chan Result[A], 1)}
	if err := a.enter(m); err != nil {
		return none, err
	}
	var lost error
	select {
	case r := <-m.reply:
		return r.Value, r.Err
	case <-ctx.Done():
		lost = ctx.Err()
	case <-a.done:
		lost = ErrStopped
	}
	// Several of them may be ready: an answer that is there is given.
	select {
	case r := <-m.reply:
		return r.Value, r.Err
	default:
		return none, lost
	}
}

// enter puts m into the mailbox or refuses it. It never blocks.
func (a *Actor[Q, A]) enter(m *message[Q, A]) error {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if a.closed {
		return ErrStopped
	}
	select {
	case a.mailbox <- m:
		a.counters.accepted.Add(1)
		return nil
	default:
		a.counters.refused.Add(1)
		return ErrBusy
	}
}

// close lets no more messages in. Those that are in stay in the closed channel.
func (a *Actor[Q, A]) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed {
		a.closed = true
		close(a.stopping)
		close(a.mailbox)
	}
}

// Stop takes no new messages, answers those that were accepted and waits for the goroutine
// to end. A pause before a restart is cut short.
//
// When ctx ends first, Stop cancels the handler's context and returns an error that wraps
// ctx.Err(); the actor goes on draining, and Stop may be called again to wait for it.
func (a *Actor[Q, A]) Stop(ctx context.Context) error {
	a.close()
	select {
	case <-a.done:
		return nil
	default:
	}
	select {
	case <-a.done:
		return nil
	case <-ctx.Done():
		a.cancel()
		return fmt.Errorf("stopping actor %s: %w", a.cfg.Name, ctx.Err())
	}
}
