package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"tokenbroker/broker/actor"
	"tokenbroker/revocation"
	"tokenbroker/store"
)

// Cuts of one commit, so that one batch of the ledger stays one message.
const (
	maxCommitWrites = 4096
	maxCommitEvents = revocation.MaxBatchEvents
	maxCommitBytes  = revocation.MaxBatchBytes - 4<<10
	eventOverhead   = 160 // bytes of an encoded event without its value, at most
)

// expReserve is how far (seconds) the largest exp is recorded ahead of what was signed,
// so that the floor is written about once a minute and not in every commit.
const expReserve = 64

// floorRecord is the record floor.
type floorRecord struct {
	V int `json:"v"`
	// Epoch: everything made under a lower one is dead.
	Epoch int64 `json:"epoch"`
	// Last is the last epoch that was given out.
	Last int64 `json:"last"`
	// MaxExp (Unix s) is at least the exp of every token ever signed.
	MaxExp int64 `json:"max_exp"`
}

// commitRequest is what a shard or an operator wants written. An empty one writes nothing: it
// is answered once all before it are on disk, in the own denylist and below the head.
type commitRequest struct {
	changes []change
	// signedExp is the largest exp that the answers to these changes will sign.
	signedExp int64
}

// change is a change of the store and, with ends, what it ends: both or neither.
type change struct {
	store.Change
	ends *ending
}

// commitResult has an error a change, and the ledger's head after the commit that held
// this request's events (zero when it had none).
type commitResult struct {
	errs []error
	// epochs are those that were drawn: zero for a change that ends nothing.
	epochs []int64
	seq    uint64
}

// committer owns the way to the disk: it merges what waits into one transaction.
type committer struct {
	store      store.Store
	ledger     Ledger
	fatal      func(error)
	observe    Observer
	clock      Clock
	accessLife time.Duration

	// maxExp is the largest exp on record, once loaded.
	maxExp int64
	loaded bool
	// entered: the engine's Commit was called for the present run of requests.
	entered bool
}

// Observer is told what the committer did, for metrics. Safe for concurrent use.
type Observer interface {
	// Committed is called after each transaction of the use cases, with the number of changes
	// judged in it and the events recorded by it: none when it failed. It must not keep them.
	Committed(changes int, events []revocation.Event)
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
		end := cut(batch, begin)
		c.commit(ctx, batch[begin:end], results[begin:end])
		begin = end
	}
	return results
}

// panicked ends the process when the engine had been entered: what is on disk is unknown.
// Otherwise nothing of the run at begin was written: it fails, with those after it, the
// earlier ones keep their answers, and the actor starts anew.
func (c *committer) panicked(cause any, results []actor.Result[commitResult], begin int) {
	if c.entered {
		c.fatal(fmt.Errorf("panic in a commit: %v", cause))
		panic(cause)
	}
	fail(results[begin:], fmt.Errorf("panic before a commit: %v", cause))
	panic(actor.Abort[commitResult]{Results: results, Cause: cause})
}

// cut returns the end of the longest run of requests from begin that fits one commit. A
// request is never split: its changes succeed or fail by themselves, but travel together.
func cut(batch []commitRequest, begin int) int {
	writes, events, bytes := 0, 0, 0
	for i := begin; i < len(batch); i++ {
		for _, change := range batch[i].changes {
			writes += len(change.Writes)
			events += len(change.Events)
			if e := change.ends; e != nil {
				writes++
				events++
				bytes += eventOverhead + encodedLen(e.value)
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

// encodedLen is at least the length of text in JSON: six bytes for what may be escaped.
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

// commit writes one run of requests: disk, own denylist, head; the actor then replies. What
// ends something has a transaction of its own, so that a conflict there touches nobody else.
func (c *committer) commit(ctx context.Context, run []commitRequest, results []actor.Result[commitResult]) {
	c.entered = false
	if err := c.reserve(ctx, run); err != nil {
		fail(results, err)
		return
	}
	var (
		changes []store.Change
		ends    []*pendingEnd
	)
	for i, req := range run {
		for j, change := range req.changes {
			if change.ends == nil {
				changes = append(changes, change.Change)
			} else {
				ends = append(ends, &pendingEnd{change: change, result: &results[i].Value, at: j})
			}
		}
	}
	errs, seqs := c.write(ctx, changes)
	at := 0
	for i, req := range run {
		for j, change := range req.changes {
			if change.ends == nil {
				results[i].Value.errs[j] = errs[at]
				results[i].Value.seq = max(results[i].Value.seq, seqs[at])
				at++
			}
		}
	}
	for len(ends) > 0 {
		ends = c.end(ctx, ends)
	}
}

// write commits the changes, in one transaction unless the engine says that they do not
// fit one. seqs holds the ledger's head for each change whose events were recorded.
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
		if sealErr != nil && len(rest) > 1 { // one event must not refuse its neighbours' changes
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

// engine is the only way to the store's Commit.
func (c *committer) engine(ctx context.Context, changes []store.Change, seal store.Seal) []error {
	c.entered = true
	return c.store.Commit(ctx, changes, seal)
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
		floor, rev, err := readFloor(ctx, c.store)
		if err != nil {
			return err
		}
		c.maxExp, c.loaded = floor.MaxExp, true
		if exp <= floor.MaxExp {
			return nil
		}
		floor.MaxExp = exp + expReserve
		value, err := json.Marshal(floor)
		if err != nil {
			return fmt.Errorf("encoding the floor: %w", err)
		}
		errs := c.engine(ctx, []store.Change{{Writes: []store.Write{
			{Key: floorKey, Value: value, Expect: rev},
		}}}, c.ledger.Seal)
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

// readFloor returns the floor record; a store without one has the zero floor.
func readFloor(ctx context.Context, r store.Reader) (floorRecord, store.Revision, error) {
	rec, err := r.Get(ctx, floorKey)
	if errors.Is(err, store.ErrNotFound) {
		return floorRecord{V: 1}, 0, nil
	}
	if err != nil {
		return floorRecord{}, 0, fmt.Errorf("reading the floor: %w", err)
	}
	var floor floorRecord
	if err := decodeRecord("the floor", rec.Value, &floor, &floor.V); err != nil {
		return floorRecord{}, 0, err
	}
	return floor, rec.Revision, nil
}
