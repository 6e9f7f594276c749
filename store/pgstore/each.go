package pgstore

import (
	"context"
	"fmt"

	"tokenbroker/store"
)

// Each calls fn for every record whose key begins with prefix, in key order: as a blind write, with the expiry, for
// another store. All records are of one transaction, however long fn takes, which keeps a connection and delays the removal of dead
// rows. Commits continue in the meantime. One page of about 4 MiB is in memory at a time. fn owns the value. Its error ends Each and is returned.
func (s *Store) Each(ctx context.Context, prefix string, fn func(store.Write) error) error {
	view, release := s.snapshot()
	defer release()
	size := firstPage
	for after := ""; ; {
		page, err := view.page(ctx, prefix, after, size)
		if err != nil {
			return fmt.Errorf("reading the records below %q: %w", prefix, err)
		}
		for _, w := range page {
			after, w.Blind, w.Expect = w.Key, true, 0
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := fn(w); err != nil {
				return err
			}
		}
		if len(page) < size {
			return ctx.Err()
		}
		size = nextPage(page)
	}
}
