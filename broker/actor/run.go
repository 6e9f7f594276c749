package actor

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"
)

// run is the actor's goroutine. It makes a handler, passes it batches until it fails, pauses, and
// starts again.
func (a *Actor[Q, A]) run() {
	defer a.end()
	var pause time.Duration
	for {
		handle, failure := a.build()
		built := failure == nil
		for failure == nil {
			batch := a.collect()
			if batch == nil {
				return
			}
			if failure = a.serve(handle, batch); failure == nil {
				pause = 0
			}
		}
		a.reportFailure(failure)
		pause = a.cfg.Backoff.next(pause)
		if a.pause(pause) && !built {
			a.refuse(failure) // no handler can be made to answer
			return
		}
	}
}

// end runs at the end of the goroutine, also after runtime.Goexit in a handler.
func (a *Actor[Q, A]) end() {
	a.close()
	a.cancel()
	close(a.done)
}

// build makes a handler with new state.
func (a *Actor[Q, A]) build() (handle Handler[Q, A], failure *PanicError) {
	defer a.catch(&failure)
	if handle = a.cfg.New(); handle == nil {
		panic("Config.New returned nil")
	}
	return handle, nil
}

// collect waits for a message and takes all that wait with it, up to MaxBatch, except those whose
// callers have stopped waiting. It returns nil if the mailbox is closed and empty.
func (a *Actor[Q, A]) collect() []*message[Q, A] {
	batch := a.batch[:0]
	for len(batch) == 0 {
		m, open := <-a.mailbox
		if !open {
			return nil
		}
		batch = a.admit(batch, m)
	}
	batch, open := a.gather(batch)
	for open && len(batch) < a.cfg.MaxBatch {
		select {
		case m, open := <-a.mailbox:
			if !open {
				return batch
			}
			batch = a.admit(batch, m)
		default:
			return batch
		}
	}
	return batch
}

func (a *Actor[Q, A]) admit(batch []*message[Q, A], m *message[Q, A]) []*message[Q, A] {
	if err := m.ctx.Err(); err != nil {
		a.counters.skipped.Add(1)
		m.reply <- Result[A]{Err: err}
		return batch
	}
	return append(batch, m)
}

// serve calls the handler with the batch and answers each message exactly once.
func (a *Actor[Q, A]) serve(handle Handler[Q, A], batch []*message[Q, A]) *PanicError {
	queries := a.queries[:0]
	for _, m := range batch {
		queries = append(queries, m.q)
	}
	a.counters.batches.Add(1)
	a.counters.messages.Add(uint64(len(batch)))
	began := time.Now()
	results, failure := a.handle(handle, queries, began.Sub(batch[0].entered))
	ended := time.Now()
	a.next = planGather(len(queries), len(a.mailbox), ended, ended.Sub(began), a.cfg.Gather)
	for i, m := range batch {
		if results == nil {
			m.reply <- Result[A]{Err: failure}
		} else {
			m.reply <- results[i]
		}
	}
	if failure != nil { // the failed handler may still refer to them
		a.batch, a.queries = nil, nil
		return failure
	}
	clear(batch)
	clear(queries)
	a.batch, a.queries = batch, queries
	return nil
}

func (a *Actor[Q, A]) handle(handle Handler[Q, A], queries []Q, wait time.Duration) (results []Result[A], failure *PanicError) {
	defer func() {
		if failure == nil {
			return
		}
		if abort, ok := failure.Value.(Abort[A]); ok {
			failure.Value = abort.Cause
			if len(abort.Results) == len(queries) {
				results = abort.Results
			}
		}
	}()
	defer a.catch(&failure)
	if a.cfg.Observer != nil {
		a.cfg.Observer.Batch(a.cfg.Name, len(queries), wait)
	}
	results = handle(a.ctx, queries)
	if len(results) != len(queries) {
		err := fmt.Errorf("handler returned %d results for %d messages", len(results), len(queries))
		return nil, &PanicError{Actor: a.cfg.Name, Value: err}
	}
	return results, nil
}

// catch turns a panic into a failure. It must be deferred.
func (a *Actor[Q, A]) catch(failure **PanicError) {
	if v := recover(); v != nil {
		*failure = &PanicError{Actor: a.cfg.Name, Value: v, Stack: debug.Stack()}
	}
}

// reportFailure counts and reports a failure. A panic of the observer is caught and ignored, so that
// it does not end the process.
func (a *Actor[Q, A]) reportFailure(failure *PanicError) {
	var ignored *PanicError
	defer a.catch(&ignored)
	a.counters.restarts.Add(1)
	a.cfg.Logger.Error("actor failed and restarts", slog.String("actor", a.cfg.Name),
		slog.Any("cause", failure.Value), slog.String("stack", string(failure.Stack)))
	if a.cfg.Observer != nil {
		a.cfg.Observer.Restart(a.cfg.Name, failure.Value)
	}
}

// pause waits before a restart. If the actor is being stopped, it returns true at once.
func (a *Actor[Q, A]) pause(pause time.Duration) (stopping bool) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-a.stopping:
		return true
	case <-timer.C:
		return false
	}
}

// refuse answers the messages that are left in the closed mailbox with failure.
func (a *Actor[Q, A]) refuse(failure *PanicError) {
	for m := range a.mailbox {
		m.reply <- Result[A]{Err: failure}
	}
}

// gatherPlan is how long the next batch waits for more messages, as in the group commit of
// databases: callers that were answered together, and ask again at once, share the next batch. It
// depends only on the batch before.
type gatherPlan struct {
	// want is the number of messages to wait for. Below two the batch does not wait.
	want int
	// limit is the longest wait.
	limit time.Duration
	// until is the latest arrival of the first message for which the batch waits. It allows callers
	// that were answered as much time as their batch took; later ones are unlikely to return together.
	until time.Time
}

// planGather returns the plan for the batch after one of size messages that took took and ended at
// ended, while waiting messages arrived. After a single message the next batch does not wait. The wait is at
// most a third of the batch that it may save, and at most limit.
func planGather(size, waiting int, ended time.Time, took, limit time.Duration) gatherPlan {
	if size+waiting < 2 {
		return gatherPlan{}
	}
	return gatherPlan{want: size + waiting, limit: min(took/3, limit), until: ended.Add(took)}
}

// gather adds messages to the batch until it is as large as planned or the wait is over. It reports
// whether the mailbox is still open.
func (a *Actor[Q, A]) gather(batch []*message[Q, A]) ([]*message[Q, A], bool) {
	want := min(a.next.want, a.cfg.MaxBatch)
	if a.next.limit <= 0 || len(batch)+len(a.mailbox) >= want || batch[0].entered.After(a.next.until) {
		return batch, true
	}
	timer := time.NewTimer(a.next.limit)
	defer timer.Stop()
	for len(batch) < want {
		select {
		case m, open := <-a.mailbox:
			if !open {
				return batch, false
			}
			batch = a.admit(batch, m)
		case <-timer.C:
			return batch, true
		}
	}
	return batch, true
}
