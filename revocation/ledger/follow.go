package ledger

import (
	"context"
	"fmt"
	"time"

	"tokenbroker/revocation"
)

// CommittedBatch is an own batch with the moment at which it was on disk.
type CommittedBatch struct {
	revocation.Batch
	// Written is by the ledger's monotonic clock.
	Written time.Duration
}

// Follow waits for own batches after seq and returns up to limit of them, oldest first. What
// was collected meanwhile is left out: the first may be later than seq+1. An error is ctx's,
// or says that the ledger cannot be read. Safe for concurrent use.
func (l *Ledger) Follow(ctx context.Context, seq, limit uint64) ([]CommittedBatch, error) {
	for {
		head, moved := l.headMoved()
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

// committed adds to each when it was written; for one that was collected meanwhile it is not
// known any more, and given as the beginning.
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
