package commit

import (
	"context"
	"errors"

	"tokenbroker/revocation"
	"tokenbroker/store"
)

// maxTogether is how many commits may ask for changes again before each of those is committed by itself, so that
// a change that another broker keeps overtaking cannot hold up the others.
const maxTogether = 3

// write commits the changes, in one transaction unless the store asks for some of them again. Their order
// stays. seqs holds the ledger's head for each change whose events were recorded.
func (c *committer) write(ctx context.Context, changes []store.Change) (errs []error, seqs []uint64) {
	w := writing{changes: changes, errs: make([]error, len(changes)), seqs: make([]uint64, len(changes))}
	left := make([]int, len(changes))
	for i := range left {
		left[i] = i
	}
	for retries := 0; len(left) > 0; {
		part := left
		if retries >= maxTogether {
			part = left[:1]
		}
		again, retry := c.writePart(ctx, &w, part)
		if retry {
			retries++
		}
		left = append(again, left[len(part):]...)
	}
	return w.errs, w.seqs
}

// writing is changes that are being written, and their results.
type writing struct {
	changes []store.Change
	errs    []error
	seqs    []uint64
}

// at returns the changes at indexes.
func (w *writing) at(indexes []int) []store.Change {
	if len(indexes) == len(w.changes) {
		return w.changes
	}
	changes := make([]store.Change, len(indexes))
	for i, at := range indexes {
		changes[i] = w.changes[at]
	}
	return changes
}

// writePart commits the changes at part as one transaction. It returns those that have to be committed
// again, without a new decision, and whether the store asked for that because of the others.
func (c *committer) writePart(ctx context.Context, w *writing, part []int) (again []int, retry bool) {
	if c.rejoin.needed {
		for _, at := range part {
			w.errs[at] = store.ErrFenced
		}
		return nil, false
	}
	changes := w.at(part)
	sealed := false
	var sealErr error
	got := c.engine(ctx, changes, func(accepted []revocation.Event) (writes []store.Write, err error) {
		sealed = true
		writes, sealErr = c.ledger.Seal(accepted)
		return writes, sealErr
	})
	if sealErr != nil && len(part) > 1 { // one event must not fail the other changes
		for i := range part {
			c.writePart(ctx, w, part[i:i+1])
		}
		return nil, false
	}
	var recorded []revocation.Event
	if sealed {
		recorded = acceptedEvents(changes, got)
	}
	var seq uint64
	if len(recorded) > 0 {
		seq = c.ledger.Committed()
	}
	for i, at := range part {
		w.errs[at] = got[i]
		switch {
		case errors.Is(got[i], store.ErrRetry) && len(part) == 1:
			w.errs[at] = errConflicts // the store does not keep its contract
		case errors.Is(got[i], store.ErrRetry):
			again, retry = append(again, at), true
		case errors.Is(got[i], store.ErrTooBig) && i > 0:
			again = append(again, at)
		case got[i] == nil && len(changes[i].Events) > 0:
			w.seqs[at] = seq
		}
	}
	c.observe.Committed(len(part)-len(again), recorded)
	return again, retry
}

// engine makes all calls of the store's Commit.
func (c *committer) engine(ctx context.Context, changes []store.Change, seal store.Seal) []error {
	c.entered = true
	errs := c.store.Commit(ctx, changes, seal)
	for _, err := range errs {
		switch {
		case errors.Is(err, store.ErrUncertain):
			c.fatal(err)
			return errs
		case errors.Is(err, store.ErrFenced):
			c.rejoin.needed = true
		}
	}
	return errs
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
