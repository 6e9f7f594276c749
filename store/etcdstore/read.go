package etcdstore

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"tokenbroker/store"
)

// snapshot reads as of one revision, which its first read determines. It is used by one goroutine.
type snapshot struct {
	store    *Store
	revision int64 // zero before the first read, which is linearizable
	page     int   // the number of records that List asks for at once
}

// Bounds of a page. A member has no limit for the bytes of an answer, so pages are made so small that one arrives
// within a try.
const (
	firstPage = 128
	maxPage   = 1000
	pageBytes = 4 << 20
)

// Snapshot implements [store.Snapshotter].
func (s *Store) Snapshot() (view store.Reader, release func(), err error) {
	return s.view(), func() {}, nil
}

func (s *Store) view() *snapshot { return &snapshot{store: s, page: firstPage} }

// Get implements [store.Reader].
func (s *Store) Get(ctx context.Context, key string) (store.Record, error) {
	return s.view().Get(ctx, key)
}

// GetMany implements [store.Reader].
func (s *Store) GetMany(ctx context.Context, keys []string) ([]store.Record, error) {
	return s.view().GetMany(ctx, keys)
}

// List implements [store.Reader].
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	return s.view().List(ctx, prefix, after, limit)
}

// Get implements [store.Reader].
func (v *snapshot) Get(ctx context.Context, key string) (store.Record, error) {
	records, err := v.GetMany(ctx, []string{key})
	switch {
	case err != nil:
		return store.Record{}, err
	case records[0].Revision == 0:
		return store.Record{}, store.ErrNotFound
	}
	return records[0], nil
}

// GetMany implements [store.Reader].
func (v *snapshot) GetMany(ctx context.Context, keys []string) ([]store.Record, error) {
	records := make([]store.Record, 0, len(keys))
	for limit := min(store.MaxMany, v.store.config.MaxTxnOps); len(keys) > 0; {
		some := keys[:min(len(keys), limit)]
		keys = keys[len(some):]
		read, err := v.getSome(ctx, some)
		if err != nil {
			return nil, fmt.Errorf("reading records: %w", err)
		}
		records = append(records, read...)
	}
	return records, ctx.Err()
}

func (v *snapshot) getSome(ctx context.Context, keys []string) ([]store.Record, error) {
	ops := make([]clientv3.Op, len(keys))
	for i, key := range keys {
		ops[i] = clientv3.OpGet(v.store.name(key), clientv3.WithRev(v.revision)) // the newest if zero
	}
	var response *clientv3.TxnResponse
	err := v.store.attempt(ctx, func(ctx context.Context, c *clientv3.Client) (err error) {
		response, err = c.Txn(ctx).Then(ops...).Commit()
		return err
	})
	if err != nil {
		return nil, err
	}
	v.pin(response.Header.Revision)
	records := make([]store.Record, len(keys))
	for i, key := range keys {
		records[i].Key = key
		var expired int64
		for _, kv := range response.Responses[i].GetResponseRange().GetKvs() {
			r, live, err := v.store.record(kv)
			switch {
			case err != nil:
				return nil, err
			case live:
				records[i] = r
			default:
				expired = kv.ModRevision
			}
		}
		v.store.remember(key, expired)
	}
	return records, nil
}

// List implements [store.Reader]. It skips expired records and therefore may read several pages.
func (v *snapshot) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	var records []store.Record
	from := v.store.name(max(prefix, after+"\x00"))
	if after == "" {
		from = v.store.name(prefix)
	}
	end := clientv3.GetPrefixRangeEnd(v.store.name(prefix))
	for len(records) < limit && from < end {
		pairs, err := v.listPage(ctx, from, end, limit-len(records))
		if err != nil {
			return nil, fmt.Errorf("listing records below %q: %w", prefix, err)
		}
		for _, kv := range pairs {
			r, live, err := v.store.record(kv)
			if err != nil {
				return nil, err
			}
			if live {
				records = append(records, r)
			}
			from = string(kv.Key) + "\x00"
		}
		if len(pairs) == 0 {
			break
		}
	}
	return records, ctx.Err()
}

func (v *snapshot) listPage(ctx context.Context, from, end string, limit int) ([]*mvccpb.KeyValue, error) {
	var response *clientv3.GetResponse
	err := v.store.attempt(ctx, func(ctx context.Context, c *clientv3.Client) (err error) {
		page := int64(min(limit, v.page))
		response, err = c.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(page), clientv3.WithRev(v.revision))
		if err != nil && ctx.Err() != nil {
			v.page = max(v.page/4, 1) // perhaps the page was too large for the time
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	v.pin(response.Header.Revision)
	size := 0
	for _, kv := range response.Kvs {
		size += len(kv.Key) + len(kv.Value)
	}
	if size > 0 {
		v.page = min(max(pageBytes*len(response.Kvs)/size, 1), maxPage)
	}
	return response.Kvs, nil
}

func (v *snapshot) pin(revision int64) {
	if v.revision == 0 {
		v.revision = revision
	}
}
