package etcdstore

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"tokenbroker/store"
)

// ErrCompacted is in the chain of the error of [Store.Each] if the cluster has compacted the revision that was read.
var ErrCompacted = errors.New("the etcd cluster has compacted the revision that was being read: begin again, and if that is not enough, keep revisions for longer (--auto-compaction-retention)")

// Each calls fn for every record whose key begins with prefix, in key order: as a blind write, with the expiry, for
// another store. All records are of the revision of the first page, however long fn takes, unless the cluster compacts
// it ([ErrCompacted]). Commits continue in the meantime. One page of up to 128 records is in memory at a time. fn owns
// the value. Its error ends Each and is returned.
func (s *Store) Each(ctx context.Context, prefix string, fn func(store.Write) error) error {
	view, from := s.view(), s.name(prefix)
	end := clientv3.GetPrefixRangeEnd(from)
	for {
		pairs, err := view.listPage(ctx, from, end, firstPage)
		if errors.Is(err, rpctypes.ErrCompacted) {
			err = fmt.Errorf("%w: %w", ErrCompacted, err)
		}
		if err != nil {
			return fmt.Errorf("reading the records below %q: %w", prefix, err)
		}
		if len(pairs) == 0 {
			return ctx.Err()
		}
		for _, kv := range pairs {
			w, live, err := s.export(kv)
			if live && err == nil {
				err = fn(w)
			}
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return err
			}
		}
		from = string(pairs[len(pairs)-1].Key) + "\x00"
	}
}
