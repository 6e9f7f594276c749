// Package bulkwrite writes very many records to a store, and deletes those that are there.
package bulkwrite

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"tokenbroker/store"
)

// The limits of one change, which every engine accepts, and of one commit. A change of one record, and a commit of one change,
// may have more bytes.
const (
	changeRecords, changeBytes = 50, 64 << 10
	commitChanges, commitBytes = 20, 1 << 20
)

// Fill writes to the store the records that each passes to write, many in one commit. If done is not nil, it is called
// with the number of records of each commit after the commit.
func Fill(ctx context.Context, to store.Store, each func(write func(store.Write) error) error, done func(records int)) error {
	b := &batch{to: to, done: done}
	if err := each(func(w store.Write) error { return b.add(ctx, w) }); err != nil {
		return err
	}
	return b.flush(ctx)
}

// batch has the records of the next commit.
type batch struct {
	to      store.Store
	done    func(int)
	changes []store.Change
	last    int // bytes of the last change
	bytes   int // of all changes
}

func (b *batch) add(ctx context.Context, w store.Write) error {
	size := len(w.Key) + len(w.Value)
	n := len(b.changes)
	if n == 0 || len(b.changes[n-1].Writes) == changeRecords || b.last+size > changeBytes {
		if n == commitChanges || n > 0 && b.bytes+size > commitBytes {
			if err := b.flush(ctx); err != nil {
				return err
			}
		}
		b.changes, b.last = append(b.changes, store.Change{}), 0
	}
	c := &b.changes[len(b.changes)-1]
	c.Writes = append(c.Writes, w)
	b.last, b.bytes = b.last+size, b.bytes+size
	return nil
}

// flush commits the changes. Those that did not fit into one commit of the engine are committed again, and deletions of which it is not
// known whether they were written: a run reports them as a conflict (package origins).
func (b *batch) flush(ctx context.Context) error {
	for len(b.changes) > 0 {
		var rest []store.Change
		written, unknown := 0, false
		for i, err := range b.to.Commit(ctx, b.changes, nil) {
			c := b.changes[i]
			switch {
			case err == nil:
				written += len(c.Writes)
			case len(b.changes) > 1 && (errors.Is(err, store.ErrTooBig) || errors.Is(err, store.ErrRetry)):
				rest = append(rest, c)
			case errors.Is(err, store.ErrConflict) && !slices.ContainsFunc(c.Writes, func(w store.Write) bool { return !w.Blind || !w.Delete }):
				rest, unknown = append(rest, c), true
			default:
				return fmt.Errorf("writing %q and the %d records after it: %w", c.Writes[0].Key, len(c.Writes)-1, err)
			}
		}
		if len(rest) == len(b.changes) && !unknown {
			return fmt.Errorf("writing %d changes from %q on: %w", len(rest), rest[0].Writes[0].Key, store.ErrTooBig)
		}
		if b.changes = rest; b.done != nil {
			b.done(written)
		}
	}
	b.changes, b.last, b.bytes = nil, 0, 0
	return nil
}

// Clear deletes all records but those for whose keys keep returns true.
func Clear(ctx context.Context, from store.Store, keep func(key string) bool) error {
	const page = changeRecords * commitChanges
	return Fill(ctx, from, func(write func(store.Write) error) error {
		for after := ""; ; {
			records, err := from.List(ctx, "", after, page)
			if err != nil || len(records) == 0 {
				return err
			}
			for _, r := range records {
				if after = r.Key; keep(r.Key) {
					continue
				}
				if err := write(store.Write{Key: r.Key, Delete: true, Blind: true}); err != nil {
					return err
				}
			}
		}
	}, nil)
}
