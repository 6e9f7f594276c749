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
