package restore

import (
	"context"

	"tokenbroker/store"
	"tokenbroker/store/badgerstore"
)

// Bounds of one transaction of a fill.
const (
	fillRecords = 1000
	fillBytes   = 1 << 20
)

// oncePrefix begins the records of what may be used once.
const oncePrefix = "once."

// fill writes what each gives, many records at a time.
func fill(ctx context.Context, to store.Store, each func(give func(store.Write) error) error) error {
	var writes []store.Write
	bytes := 0
	flush := func() error {
		if len(writes) == 0 {
			return nil
		}
		err := to.Commit(ctx, []store.Change{{Writes: writes}}, nil)[0]
		writes, bytes = writes[:0], 0
		return err
	}
	err := each(func(w store.Write) error {
		writes = append(writes, w)
		if bytes += len(w.Key) + len(w.Value); len(writes) < fillRecords && bytes < fillBytes {
			return nil
		}
		return flush()
	})
	if err != nil {
		return err
	}
	return flush()
}

// keepOnce takes over what was used once since the backup, such as an upstream id token.
func keepOnce(ctx context.Context, made, old *badgerstore.Store) error {
	if old == nil {
		return nil
	}
	return fill(ctx, made, func(give func(store.Write) error) error { return old.Each(ctx, oncePrefix, give) })
}
