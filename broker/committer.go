package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"tokenbroker/broker/actor"
	"tokenbroker/broker/store"
	"tokenbroker/revocation"
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

// commitRequest is what a shard or an operator wants written.
type commitRequest struct {
	changes []store.Change
	// signedExp is the largest exp that the answers to these changes will sign.
	signedExp int64
}

// commitResult has an error a change, and the ledger's head after the commit that held
// this request's events (zero when it had none).
type commitResult struct {
	errs []error
	seq  uint64
}

// committer owns the way to the disk: it merges what waits into one transaction.
type committer struct {
	store   store.Store
	ledger  Ledger
	fatal   func(error)
	observe Observer

	// maxExp is the largest exp on record, once loaded.
	maxExp int64
	loaded bool
}

// Observer is told what the committer did, for metrics. Safe for concurrent use.
type Observer interface {
	Committed(changes, events int)
}

func (c *committer) handle(ctx context.Context, batch []commitRequest) []actor.Result[commitResult] {
	results := make([]actor.Result[commitResult], len(batch))
	for i, req := range batch {
		results[i].Value.errs = make([]error, len(req.changes))
	}
	for begin := 0; begin < len(batch); {
		end := cut(batch, begin)
		c.commit(ctx, batch[begin:end], results[begin:end])
		begin = end
	}
	return results
}

// cut returns the end of the longest run of requests from begin that fits one commit. A
// request is never split: its changes succeed or fail by themselves, but travel together.
func cut(batch []commitRequest, begin int) int {
	writes, events, bytes := 0, 0, 0
	for i := begin; i < len(batch); i++ {
		for _, change := range batch[i].changes {
			writes += len(change.Writes)
			events += len(change.Events)
			for _, e := range change.Events {
				bytes += eventOverhead + 6*len(e.Value)
			}
		}
		if i > begin && (writes > maxCommitWrites || events > maxCommitEvents || bytes > maxCommitBytes) {
			return i
		}
	}
	return len(batch)
}

// commit writes one run of requests: disk, own denylist, head; the actor then replies.
func (c *committer) commit(ctx context.Context, run []commitRequest, results []actor.Result[commitResult]) {
	defer func() {
		if cause := recover(); cause != nil { // what is on disk is unknown: start anew
			c.fatal(fmt.Errorf("panic in a commit: %v", cause))
			panic(cause)
		}
	}()
	if err := c.reserve(ctx, run); err != nil {
		fail(results, err)
		return
	}
	var changes []store.Change
	for _, req := range run {
		changes = append(changes, req.changes...)
	}
	errs, seqs := c.write(ctx, changes)
	at := 0
	for i, req := range run {
		for j := range req.changes {
			results[i].Value.errs[j] = errs[at]
			results[i].Value.seq = max(results[i].Value.seq, seqs[at])
			at++
		}
	}
}

// write commits the changes, in one transaction unless the engine says that they do not
// fit one. seqs holds the ledger's head for each change whose events were recorded.
func (c *committer) write(ctx context.Context, changes []store.Change) (errs []error, seqs []uint64) {
	seqs = make([]uint64, len(changes))
	for len(errs) < len(changes) {
		rest := changes[len(errs):]
		sealed := 0
		var sealErr error
		got := c.store.Commit(ctx, rest, func(accepted []revocation.Event) (writes []store.Write, err error) {
			sealed = len(accepted)
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
		if sealed > 0 && anyEventAccepted(rest, got) {
			seq := c.ledger.Committed()
			for i, change := range rest {
				if got[i] == nil && len(change.Events) > 0 {
					seqs[len(errs)+i] = seq
				}
			}
		}
		c.observe.Committed(len(rest), sealed)
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
		errs := c.store.Commit(ctx, []store.Change{{Writes: []store.Write{
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

func anyEventAccepted(changes []store.Change, errs []error) bool {
	for i, change := range changes {
		if errs[i] == nil && len(change.Events) > 0 {
			return true
		}
	}
	return false
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
