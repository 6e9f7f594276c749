package etcdstore

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"tokenbroker/store"
)

// Expired implements [store.Sweeper]. It does not return a record whose stored value is damaged, because it is not known
// when that record expires.
func (s *Store) Expired(ctx context.Context, before int64, after string, limit int) (records []store.Record, next string, err error) {
	v := s.view()
	from, end := s.name(after)+"\x00", clientv3.GetPrefixRangeEnd(s.config.Prefix)
	for limit > 0 {
		pairs, err := v.listPage(ctx, from, end, limit)
		if err != nil {
			return nil, "", fmt.Errorf("looking for expired records: %w", err)
		}
		if len(pairs) == 0 {
			return records, "", nil
		}
		limit -= len(pairs)
		for _, kv := range pairs {
			next = s.key(kv.Key)
			if _, expires, err := decodeValue(kv.Value); err == nil && expires != 0 && expires <= before {
				records = append(records, store.Record{Key: next, Revision: store.Revision(kv.ModRevision)})
			}
		}
		from = s.name(next) + "\x00"
	}
	return records, next, nil
}
