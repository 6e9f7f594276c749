package pgstore

import (
	"context"
	"fmt"

	"tokenbroker/store"
)

// Expired implements [store.Sweeper] by an index of the expiries: it examines only records that have expired.
func (s *Store) Expired(ctx context.Context, before int64, after string, limit int) (found []store.Record, next string, err error) {
	if limit <= 0 {
		return nil, after, nil
	}
	err = s.read(ctx, func(ctx context.Context, c *conn, p *primary) error {
		found = nil
		var a args
		a.int(p.server)
		a.int(before)
		a.bytes([]byte(after))
		a.int(int64(limit))
		return query(ctx, c, s.sql.expired, a, func(values [][]byte) error {
			found = append(found, store.Record{Key: string(values[0]), Revision: store.Revision(int64Of(values[1]))})
			return nil
		})
	})
	if err != nil {
		return nil, "", fmt.Errorf("looking for expired records: %w", err)
	}
	if len(found) == limit {
		next = found[limit-1].Key
	}
	return found, next, nil
}
