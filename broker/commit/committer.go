package commit

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/actor"
	"tokenbroker/revocation"
	"tokenbroker/store"
)

// Bounds of one commit, so that one batch of the ledger stays one message.
const (
	maxCommitWrites = 4096
	maxCommitEvents = revocation.MaxBatchEvents
	maxCommitBytes  = revocation.MaxBatchBytes - 4<<10
	eventOverhead   = 160 // bytes of an encoded event without its value, at most
)

// commitRequest is a request to write changes. An empty request writes nothing: it
// is answered once all earlier ones are on disk, in the broker's own denylist and below the head.
type commitRequest struct {
	changes []change
	// signedExp is the largest exp that the answers to these changes will sign. A request without changes only reserves it.
	signedExp int64
	// lastEpoch is the last epoch that had been drawn in the view on which such changes were decided.
	lastEpoch int64
	// rejoin asks for [broker.Ledger.Rejoin], before anything is written.
	rejoin bool
}

// change is a change of the store and, optionally, a termination: both are committed, or neither.
type change struct {
	store.Change
	termination *Termination
}

// commitResult has one error for each change, and the ledger's head after the commit of
// this request's events, or zero if it had none.
type commitResult struct {
	errs []error
	// epochs has the epoch of each change: zero for a change without a termination.
	epochs []int64
	seq    uint64
	// rejoin is why the broker could not begin a new run, if one was needed.
	rejoin error
	// unreserved is why the signedExp of a request without changes is not on record.
	unreserved error
}

// committer writes to the store: it merges the waiting requests into one transaction.
type committer struct {
	store      store.Store
	ledger     broker.Ledger
	fatal      func(error)
	observe    broker.Observer
	clock      broker.Clock
	accessLife time.Duration

	// maxExp is the largest exp on record, and drawn the last epoch on record before it was, once loaded. Only the committer
	// writes maxExp, which never falls, and [Path.Reserve] reads it.
	maxExp *atomic.Int64
	drawn  int64
	loaded bool
	// entered is true once the store's Commit was called for the current run of requests.
	entered bool
	rejoin  rejoin
}

func (c *committer) handle(ctx context.Context, batch []commitRequest) []actor.Result[commitResult] {
	results := make([]actor.Result[commitResult], len(batch))
	for i, req := range batch {
		results[i].Value.errs = make([]error, len(req.changes))
		results[i].Value.epochs = make([]int64, len(req.changes))
	}
	begin := 0
	defer func() {
		if cause := recover(); cause != nil {
			c.panicked(cause, results, begin)
		}
	}()
	c.entered = false
	c.rejoin.try(ctx, c.ledger, batch)
	for i := range results {
		results[i].Value.rejoin = c.rejoin.err
	}
	for begin < len(batch) {
		next := runEnd(batch, begin)
		c.commit(ctx, batch[begin:next], results[begin:next])
		begin = next
	}
	return results
}

// panicked ends the process if the store's Commit was entered, because the state of the disk is unknown.
// Otherwise nothing of the run at begin was written: that run and the later ones fail, the
// earlier ones keep their answers, and the actor restarts.
func (c *committer) panicked(cause any, results []actor.Result[commitResult], begin int) {
	if c.entered {
		c.fatal(fmt.Errorf("panic in a commit: %v", cause))
		panic(cause)
	}
	fail(results[begin:], fmt.Errorf("panic before a commit: %v", cause))
	panic(actor.Abort[commitResult]{Results: results, Cause: cause})
}

// runEnd returns the end of the longest run of requests from begin that fits into one commit. A
// request is never split: its changes succeed or fail independently, but are in one commit.
func runEnd(batch []commitRequest, begin int) int {
	writes, events, bytes := 0, 0, 0
	for i := begin; i < len(batch); i++ {
		for _, change := range batch[i].changes {
			writes += len(change.Writes)
			events += len(change.Events)
			if t := change.termination; t != nil {
				writes++
				events++
				bytes += eventOverhead + encodedLen(t.Value)
			}
			for _, e := range change.Events {
				bytes += eventOverhead + encodedLen(e.Value)
			}
		}
		if i > begin && (writes > maxCommitWrites || events > maxCommitEvents || bytes > maxCommitBytes) {
			return i
		}
	}
	return len(batch)
}

// encodedLen returns an upper bound of the length of text in JSON: six bytes for each byte that may be escaped.
func encodedLen(text string) int {
	n := len(text)
	for i := range len(text) {
		switch c := text[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c >= 'A' && c <= 'Z', c == '-':
		default:
			n += 5
		}
	}
	return n
}

// commit writes one run of requests: to disk, to the own denylist, then to the head. The actor then replies.
// Terminations have their own transaction, so that their conflicts affect no other change.
func (c *committer) commit(ctx context.Context, run []commitRequest, results []actor.Result[commitResult]) {
	c.entered = false
	if c.rejoin.needed {
		fail(results, store.ErrFenced)
		return
	}
	undecided, err := c.reserve(ctx, run)
	if err != nil {
		fail(results, err)
		return
	}
	var (
		changes      []store.Change
		terminations []*pendingTermination
	)
	for i, req := range run {
		if undecided[i] {
			fail(results[i:i+1], store.ErrConflict)
			continue
		}
		for j, change := range req.changes {
			if change.termination == nil {
				changes = append(changes, change.Change)
			} else {
				terminations = append(terminations, &pendingTermination{change: change, result: &results[i].Value, at: j})
			}
		}
	}
	errs, seqs := c.write(ctx, changes)
	at := 0
	for i, req := range run {
		if undecided[i] {
			continue
		}
		for j, change := range req.changes {
			if change.termination == nil {
				results[i].Value.errs[j] = errs[at]
				results[i].Value.seq = max(results[i].Value.seq, seqs[at])
				at++
			}
		}
	}
	for len(terminations) > 0 {
		terminations = c.terminate(ctx, terminations)
	}
}

func fail(results []actor.Result[commitResult], err error) {
	for i := range results {
		results[i].Value.unreserved = err
		for j := range results[i].Value.errs {
			results[i].Value.errs[j] = err
		}
	}
}
