// Package actor runs a goroutine that owns its state. Callers send it messages through a bounded,
// typed mailbox and wait for the answers.
//
// [Start] starts an actor from a [Config], [Actor.Ask] sends it a message and waits for the answer,
// [Actor.Stop] drains it. A [Handler], which Config.New makes in the actor's goroutine, carries out
// the messages. The variables that the handler closes over are the actor's state. They need no
// lock, because no other goroutine has a pointer to them.
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
// Callers can rely on these rules:
//
//   - A handler receives all the messages that wait, up to Config.MaxBatch, in the order in
//     which they entered, so that one commit can serve them all.
//   - Sending never blocks: a full mailbox returns [ErrBusy] at once. Only waiting for the
//     answer takes time, and it ends with the caller's context.
//   - A caller that stops waiting does not delay the actor. Its message is skipped if the actor
//     has not started it. Otherwise the message is carried out and its answer is dropped.
//   - A panic becomes a [PanicError] for the callers of that batch, and the actor restarts
//     with new state after a pause that doubles with each failure. The mailbox accepts messages
//     in the meantime.
//   - Every message accepted before Stop is answered.
//
// A handler must not call Ask on its own actor: it would wait for itself.
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
	stopping chan struct{} // closed by Stop
	done     chan struct{} // closed at the end of the goroutine
	ctx      context.Context
	cancel   context.CancelFunc
	counters counters

	// Only the goroutine uses these. It keeps them from one batch to the next.
	batch   []*message[Q, A]
	queries []Q
	next    gatherPlan

	// mu orders sends before the close of mailbox: senders hold it for reading, Stop for writing.
	// No goroutine blocks while it holds mu.
	mu     sync.RWMutex
	closed bool // mailbox and stopping are closed
}

// message is one query and its caller. The actor replies at most once, so with a buffer of one it
// never waits for a caller.
type message[Q, A any] struct {
	ctx     context.Context
	q       Q
	entered time.Time
	reply   chan Result[A]
}

// Start starts an actor. Its only goroutine runs until [Actor.Stop].
// Start panics if cfg.New is nil or a number in cfg is negative.
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
// It returns [ErrBusy] at once if the mailbox is full, and [ErrStopped] after Stop. In both cases
// the message was not accepted. If ctx ends first, Ask returns ctx.Err(), and the message may or
// may not be carried out. A [*PanicError] means that the handler failed on the batch. Any other
// error is the handler's answer.
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
	// More than one of them may be ready. An available answer takes precedence.
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

// close stops accepting messages. Those that were accepted stay in the closed channel.
func (a *Actor[Q, A]) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed {
		a.closed = true
		close(a.stopping)
		close(a.mailbox)
	}
}

// Stop accepts no more messages, answers those that were accepted and waits for the goroutine
// to end. It ends a pause before a restart.
//
// If ctx ends first, Stop cancels the handler's context and returns an error that wraps ctx.Err().
// The actor continues to drain, and Stop may be called again to wait for it.
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
