package badgerstore

import (
	"context"
	"fmt"

	badger "github.com/dgraph-io/badger/v4"

	"tokenbroker/store"
)

// Each gives every record whose key begins with prefix, in key order, to give: as a blind
// write, with the expiry, for another store. All of it is one view, however long give takes;
// writes go on meanwhile. The callee owns the value.
func (s *Store) Each(ctx context.Context, prefix string, give func(store.Write) error) error {
	if err := s.begin(); err != nil {
		return err
	}
	defer s.ops.Done()
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	options := badger.DefaultIteratorOptions
	options.Prefix = []byte(prefix)
	it := txn.NewIterator(options)
	defer it.Close()
	for it.Seek([]byte(max(prefix, firstKey))); it.Valid(); it.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		item := it.Item()
		if s.expired(item) {
			continue
		}
		value, err := item.ValueCopy(nil)
		if err != nil {
			return fmt.Errorf("reading the value of %q: %w", item.Key(), err)
		}
		if err := give(store.Write{Key: string(item.Key()), Value: value, Blind: true, ExpiresAt: int64(item.ExpiresAt())}); err != nil {
			return err
		}
	}
	return nil
}
