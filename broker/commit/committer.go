package commit

import (
	"context"
	"errors"
	"fmt"
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
	// signedExp is the largest exp that the answers to these changes will sign.
	signedExp int64
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
}

// committer writes to the store: it merges the waiting requests into one transaction.
type committer struct {
	store      store.Store
	ledger     broker.Ledger
	fatal      func(error)
	observe    broker.Observer
	clock      broker.Clock
	accessLife time.Duration

	// maxExp is the largest exp on record, once loaded.
	maxExp int64
	loaded bool
	// entered is true once the store's Commit was called for the current run of requests.
	entered bool
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
	if err := c.reserve(ctx, run); err != nil {
		fail(results, err)
		return
	}
	var (
		changes      []store.Change
		terminations []*pendingTermination
	)
	for i, req := range run {
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

// write commits the changes, in one transaction unless the store reports that they do not
// fit into one. seqs holds the ledger's head for each change whose events were recorded.
func (c *committer) write(ctx context.Context, changes []store.Change) (errs []error, seqs []uint64) {
	seqs = make([]uint64, len(changes))
	for len(errs) < len(changes) {
		rest := changes[len(errs):]
		sealed := false
		var sealErr error
		got := c.engine(ctx, rest, func(accepted []revocation.Event) (writes []store.Write, err error) {
			sealed = true
			writes, sealErr = c.ledger.Seal(accepted)
			return writes, sealErr
		})
		c.endOnUncertain(got)
		if sealErr != nil && len(rest) > 1 { // one event must not fail the other changes
			for i := range rest {
				oneErr, oneSeq := c.write(ctx, rest[i:i+1])
				seqs[len(errs)] = oneSeq[0]
				errs = append(errs, oneErr...)
			}
			continue
		}
		var recorded []revocation.Event
		if sealed {
			recorded = acceptedEvents(rest, got)
		}
		if len(recorded) > 0 {
			seq := c.ledger.Committed()
			for i, change := range rest {
				if got[i] == nil && len(change.Events) > 0 {
					seqs[len(errs)+i] = seq
				}
			}
		}
		c.observe.Committed(len(rest), recorded)
		fit := len(got)
		for i, err := range got[1:] {
			if errors.Is(err, store.ErrTooBig) {
				fit = i + 1
				break
			}
		}
		errs = append(errs, got[:fit]...)
	}
	return errs, seqs
}

// engine makes all calls of the store's Commit.
func (c *committer) engine(ctx context.Context, changes []store.Change, seal store.Seal) []error {
	c.entered = true
	return c.store.Commit(ctx, changes, seal)
}

func (c *committer) endOnUncertain(errs []error) {
	for _, err := range errs {
		if errors.Is(err, store.ErrUncertain) {
			c.fatal(err)
			return
		}
	}
}

// acceptedEvents returns the events of the changes that were written.
func acceptedEvents(changes []store.Change, errs []error) []revocation.Event {
	var events []revocation.Event
	for i, change := range changes {
		if errs[i] == nil {
			events = append(events, change.Events...)
		}
	}
	return events
}

func fail(results []actor.Result[commitResult], err error) {
	for i := range results {
		for j := range results[i].Value.errs {
			results[i].Value.errs[j] = err
		}
	}
}

// reserve records the largest exp before any token with it can be signed.
func (c *committer) reserve(ctx context.Context, run []commitRequest) error {
	var exp int64
	for _, req := range run {
		exp = max(exp, req.signedExp)
	}
	if exp == 0 || c.loaded && exp <= c.maxExp {
		return nil
	}
	for range maxConflicts {
		floor, rev, err := ReadFloor(ctx, c.store)
		if err != nil {
			return err
		}
		c.maxExp, c.loaded = floor.MaxExp, true
		if exp <= floor.MaxExp {
			return nil
		}
		floor.MaxExp = exp + expReserve
		write, err := floor.Write(rev)
		if err != nil {
			return err
		}
		errs := c.engine(ctx, []store.Change{{Writes: []store.Write{write}}}, c.ledger.Seal)
		c.endOnUncertain(errs)
		if errs[0] == nil {
			c.maxExp = floor.MaxExp
			return nil
		}
		if !errors.Is(errs[0], store.ErrConflict) {
			return fmt.Errorf("recording the largest exp: %w", errs[0])
		}
	}
	return fmt.Errorf("recording the largest exp: %w", store.ErrConflict)
}
