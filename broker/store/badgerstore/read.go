package badgerstore

import (
	"context"
	"errors"
	"fmt"

	badger "github.com/dgraph-io/badger/v4"

	"tokenbroker/broker/store"
)

// Get implements [store.Reader].
func (s *Store) Get(ctx context.Context, key string) (store.Record, error) {
	if err := s.begin(); err != nil {
		return store.Record{}, err
	}
	defer s.ops.Done()
	if err := ctx.Err(); err != nil {
		return store.Record{}, err
	}
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	item, err := txn.Get([]byte(key))
	if errors.Is(err, badger.ErrKeyNotFound) || errors.Is(err, badger.ErrEmptyKey) {
		return store.Record{}, store.ErrNotFound
	}
	if err != nil {
		return store.Record{}, fmt.Errorf("reading %q: %w", key, err)
	}
	if s.expired(item) {
		return store.Record{}, store.ErrNotFound
	}
	return record(item)
}

// List implements [store.Reader]. One call is one consistent view.
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	defer s.ops.Done()
	if limit <= 0 {
		return nil, ctx.Err()
	}
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	// Values stand beside their keys: to fetch them ahead costs a goroutine each and saves nothing.
	it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte(prefix)})
	defer it.Close()
	var records []store.Record
	for it.Seek([]byte(max(after, prefix, firstKey))); it.Valid() && len(records) < limit; it.Next() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		item := it.Item()
		if string(item.Key()) == after || s.expired(item) {
			continue
		}
		r, err := record(item)
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

func record(item *badger.Item) (store.Record, error) {
	value, err := item.ValueCopy(nil)
	if err != nil {
		return store.Record{}, fmt.Errorf("reading the value of %q: %w", item.Key(), err)
	}
	if value == nil {
		value = []byte{}
	}
	return store.Record{Key: string(item.Key()), Value: value, Revision: store.Revision(item.Version())}, nil
}
