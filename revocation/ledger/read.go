package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/store"
)

// List returns up to limit of the events that a full catch-up answer has, by kind and value, and the value
// of after for the next page, or "" if these were the last. after is "" for the first page; any text
// stands for its place in the order. An expired event stays until it is collected. Pages are read at
// different times: an event that is recorded in the meantime may be on none of them.
func (l *Ledger) List(ctx context.Context, after string, limit int) (events []revocation.Event, next string, err error) {
	limit = min(max(limit, 1), pageSize)
	if l.shared != nil {
		return l.shared.list(ctx, after, limit)
	}
	position := ""
	if after != "" {
		position = eventPrefix + after
	}
	records, err := l.config.Store.List(ctx, eventPrefix, position, limit+1)
	if err != nil {
		return nil, "", fmt.Errorf("listing the revocations: %w", err)
	}
	if len(records) > limit {
		records = records[:limit]
		next = strings.TrimPrefix(records[limit-1].Key, eventPrefix)
	}
	events = make([]revocation.Event, len(records))
	for i, r := range records {
		rec, err := decodeEvent(r)
		if err != nil {
			return nil, "", fmt.Errorf("listing the revocations: %w", err)
		}
		events[i] = rec.Event
	}
	return events, next, nil
}

// Find returns the strongest event of the kind and value, and false if there is none. An expired event
// stays until it is collected. A key that the keyring lists as compromised is also found without an event:
// it is never valid again, so it has no end.
func (l *Ledger) Find(ctx context.Context, kind revocation.Kind, value string) (revocation.Recorded, bool, error) {
	find := l.findRecord
	if l.shared != nil {
		find = l.shared.find
	}
	found, ok, err := find(ctx, kind, value)
	if err != nil {
		return revocation.Recorded{}, false, fmt.Errorf("looking up a revocation: %w", err)
	}
	if !ok && kind == revocation.KindKID && slices.Contains(l.config.Kids(), value) {
		found.Event = revocation.Event{Kind: kind, Value: value, Reason: revocation.ReasonKeyCompromise}
		return found, true, nil
	}
	return found, ok, nil
}

// findRecord is Find in the records of events.
func (l *Ledger) findRecord(ctx context.Context, kind revocation.Kind, value string) (found revocation.Recorded, ok bool, err error) {
	r, err := l.config.Store.Get(ctx, eventKey(revocation.Event{Kind: kind, Value: value}))
	if errors.Is(err, store.ErrNotFound) {
		return found, false, nil
	}
	if err != nil {
		return found, false, err
	}
	rec, err := decodeEvent(r)
	if err != nil {
		return found, false, err
	}
	return revocation.Recorded{Event: rec.Event, By: rec.Event.By, Origin: rec.Origin, Seq: rec.Seq}, true, nil
}

// CommittedBatch is a batch of this origin with the time at which it was on disk.
type CommittedBatch struct {
	revocation.Batch
	// Written is by the ledger's monotonic clock.
	Written time.Duration
}

// Follow waits for batches of this broker after the batch seq of origin, and returns up to limit of them, oldest first. Batches
// that were collected in the meantime are left out, so the first may be later than seq+1. It returns ctx's
// error or an error of reading the ledger. It is safe for concurrent use. If origin is no longer this broker's
// ([Ledger.Rejoin]), the rest of its batches is followed by the first ones of the present origin.
func (l *Ledger) Follow(ctx context.Context, origin string, seq, limit uint64) ([]CommittedBatch, error) {
	if l.shared != nil {
		return l.shared.followOwn(ctx, origin, seq, limit)
	}
	if origin != l.origin {
		seq = 0
	}
	for {
		head, moved := l.last()
		seq = max(seq, l.firstKept()-1)
		if seq >= head {
			select {
			case <-moved:
				continue
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		batches, err := l.readBatches(ctx, seq, min(limit, head-seq))
		switch {
		case err != nil:
			return nil, fmt.Errorf("reading batches after %d: %w", seq, err)
		case len(batches) > 0:
			return l.committed(batches), nil
		case l.firstKept() <= seq+1: // and so it was not collected
			return nil, fmt.Errorf("batch %d is missing in the ledger", seq+1)
		}
	}
}

// logged is a batch with its index ([Ledger.last]), and the position of a reader that has everything up to it.
type logged struct {
	CommittedBatch
	index    uint64
	position string
}

// indexed returns up to limit batches after an index, from memory or the store, and the index that they reach. If
// they were collected, there are none, and the index is the last one collected. Their events must not be changed.
func (l *Ledger) indexed(ctx context.Context, index, limit uint64) (batches []logged, reached uint64, err error) {
	if l.shared != nil {
		return l.shared.indexed(index, limit)
	}
	plain := l.recentBatches(index, limit)
	if len(plain) == 0 {
		if plain, err = l.readBatches(ctx, index, limit); err != nil {
			return nil, index, err
		}
	}
	if len(plain) == 0 {
		if first := l.firstKept(); first > index+1 {
			return nil, first - 1, nil
		}
		return nil, index, fmt.Errorf("batch %d is missing in the ledger", index+1)
	}
	for _, b := range plain {
		batches = append(batches, logged{CommittedBatch: CommittedBatch{Batch: b}, index: b.Seq, position: position(b.Origin, b.Seq)})
	}
	return batches, plain[len(plain)-1].Seq, nil
}

// ownAt returns this broker's origin and its head when the batch with an index had arrived.
func (l *Ledger) ownAt(index uint64) (origin string, seq uint64) {
	if l.shared != nil {
		return l.shared.ownAt(index)
	}
	return l.origin, index
}

// committed adds to each batch the time when it was written. For a batch that was collected in the
// meantime this time is unknown, and zero.
func (l *Ledger) committed(batches []revocation.Batch) []CommittedBatch {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]CommittedBatch, len(batches))
	for i, b := range batches {
		all[i].Batch = b
		if b.Seq >= l.first {
			all[i].Written = l.batches[b.Seq-l.first].written
		}
	}
	return all
}

// batchesPerPage returns how many batches of this origin after seq are read at a time: at most pageSize
// and pageBytes, but at least one.
func (l *Ledger) batchesPerPage(seq uint64) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if seq+1 < l.first || seq >= l.head {
		return 1 // collected in the meantime
	}
	n, bytes := uint64(0), 0
	for _, info := range l.batches[seq+1-l.first:] {
		bytes += info.size
		if n == pageSize || n > 0 && bytes > pageBytes {
			break
		}
		n++
	}
	return n
}

// readBatches returns up to limit batches of this origin after seq, without a gap. It returns none if the
// next one was collected.
func (l *Ledger) readBatches(ctx context.Context, seq, limit uint64) ([]revocation.Batch, error) {
	prefix := batchPrefix + l.origin + "."
	records, err := l.config.Store.List(ctx, prefix, batchKey(l.origin, seq), int(limit))
	if err != nil {
		return nil, err
	}
	batches := make([]revocation.Batch, 0, len(records))
	for _, r := range records {
		var b revocation.Batch
		if err := decode(r, &b, &b.V); err != nil {
			return nil, err
		}
		if b.Seq != seq+1 {
			break
		}
		seq++
		batches = append(batches, b)
	}
	return batches, nil
}
