package actor

import (
	"sync/atomic"
	"time"
)

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
