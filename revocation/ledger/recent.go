package ledger

import (
	"slices"

	"tokenbroker/revocation"
)

// The newest batches are kept in memory, so that publishing them does not read the store: at most
// recentBatches, whose records have at most recentBytes.
const (
	recentBatches = 64
	recentBytes   = 1 << 20
)

// recent has the newest batches without a gap, as the store would return them.
type recent struct {
	batches []revocation.Batch
	sizes   []int
	bytes   int
}

func (r *recent) add(b revocation.Batch, size int) {
	b.Events = slices.Clone(b.Events)
	for i := range b.Events {
		b.Events[i].By = "" // batches do not contain it
	}
	r.batches, r.sizes, r.bytes = append(r.batches, b), append(r.sizes, size), r.bytes+size
	for len(r.batches) > recentBatches || r.bytes > recentBytes {
		r.bytes -= r.sizes[0]
		r.batches, r.sizes = slices.Delete(r.batches, 0, 1), slices.Delete(r.sizes, 0, 1)
	}
}

// recentBatches returns up to limit batches of this origin after seq, if all of these are in recent and
// none was collected. Their events are shared and must not be changed.
func (l *Ledger) recentBatches(seq, limit uint64) []revocation.Batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := l.recent.batches
	if len(kept) == 0 || seq+1 < max(kept[0].Seq, l.first) || seq >= l.head {
		return nil
	}
	kept = kept[seq+1-kept[0].Seq:]
	return slices.Clone(kept[:min(limit, uint64(len(kept)))])
}
