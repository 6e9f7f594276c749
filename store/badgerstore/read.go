package badgerstore

import (
	"context"
	"errors"
	"fmt"

	badger "github.com/dgraph-io/badger/v4"

	"tokenbroker/store"
)

var _ store.Snapshotter = (*Store)(nil)

// Snapshot implements [store.Snapshotter]. Close waits for its release.
func (s *Store) Snapshot() (view store.Reader, release func(), err error) {
	if err := s.begin(); err != nil {
		return nil, nil, err
	}
	txn := s.db.NewTransaction(false)
	return snapshot{s, txn}, func() { txn.Discard(); s.ops.Done() }, nil
}

// Get implements [store.Reader].
func (s *Store) Get(ctx context.Context, key string) (store.Record, error) {
	view, release, err := s.Snapshot()
	if err != nil {
		return store.Record{}, err
	}
	defer release()
	return view.Get(ctx, key)
}

// List implements [store.Reader]. One call is one consistent view.
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	view, release, err := s.Snapshot()
	if err != nil {
		return nil, err
	}
	defer release()
	return view.List(ctx, prefix, after, limit)
}

// snapshot reads in one transaction.
type snapshot struct {
	store *Store
	txn   *badger.Txn
}

// Get implements [store.Reader].
func (v snapshot) Get(ctx context.Context, key string) (store.Record, error) {
	if err := ctx.Err(); err != nil {
		return store.Record{}, err
	}
	item, err := v.txn.Get([]byte(key))
	if errors.Is(err, badger.ErrKeyNotFound) || errors.Is(err, badger.ErrEmptyKey) {
		return store.Record{}, store.ErrNotFound
	}
	if err != nil {
		return store.Record{}, fmt.Errorf("reading %q: %w", key, err)
	}
	if v.store.expired(item) {
		return store.Record{}, store.ErrNotFound
	}
	return record(key, item)
}

// List implements [store.Reader].
func (v snapshot) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	if limit <= 0 {
		return nil, ctx.Err()
	}
	// Values stand beside their keys: to fetch them ahead costs a goroutine each and saves nothing.
	it := v.txn.NewIterator(badger.IteratorOptions{Prefix: []byte(prefix)})
	defer it.Close()
	var records []store.Record
	for it.Seek([]byte(max(after, prefix, firstKey))); it.Valid() && len(records) < limit; it.Next() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		item := it.Item()
		if string(item.Key()) == after || v.store.expired(item) {
			continue
		}
		r, err := record(string(item.Key()), item)
		if err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	return records, nil
}

func (s *Store) expired(item *badger.Item) bool {
	end := item.ExpiresAt()
	return end != 0 && end <= uint64(max(s.config.Now().Unix(), 0))
}

func record(key string, item *badger.Item) (store.Record, error) {
	value, err := item.ValueCopy(nil)
	if err != nil {
		return store.Record{}, fmt.Errorf("reading the value of %q: %w", key, err)
	}
	if value == nil {
		value = []byte{}
	}
	return store.Record{Key: key, Value: value, Revision: store.Revision(item.Version())}, nil
}
