package badgerstore

import (
	"context"

	"tokenbroker/store"
)

// Follow implements [store.Engine]. There is a hint after every commit that writes below prefix.
func (s *Store) Follow(ctx context.Context, prefix string) <-chan struct{} {
	return s.hints.Follow(ctx, prefix)
}

// reserveFence compares the fence's record and reserves the room for its next version.
func (t *transaction) reserveFence(fence store.Fence) error {
	if fence.Key == "" {
		return nil
	}
	write := store.Write{Key: fence.Key, Value: fence.Value, Expect: fence.Expect}
	if len(fence.Sealed) > len(fence.Value) {
		write.Value = fence.Sealed
	}
	if err := checkWrite(write); err != nil {
		return err
	}
	revision, err := t.revision(fence.Key)
	if err != nil {
		return err
	}
	if revision != fence.Expect {
		return store.ErrFenced
	}
	entries, bytes := sizeOf(store.Change{Writes: []store.Write{write}})
	t.entries, t.bytes, t.fence = t.entries+entries, t.bytes+bytes, fence.Key
	return nil
}

// writeFence adds the fence's record to the transaction.
func (t *transaction) writeFence(fence store.Fence, sealed bool) {
	if fence.Key == "" {
		return
	}
	write := store.Write{Key: fence.Key, Value: fence.Value}
	if sealed {
		write.Value = fence.Sealed
	}
	t.pending[fence.Key] = write
}
