package badgerstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	badger "github.com/dgraph-io/badger/v4"

	"tokenbroker/store"
)

// Scan implements [store.Scanner]. Close waits for it.
func (s *Store) Scan(ctx context.Context, from, to string, fn func(key, value []byte) error) error {
	if err := s.begin(); err != nil {
		return err
	}
	defer s.ops.Done()
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{})
	defer it.Close()
	end := []byte(to)
	var item *badger.Item
	show := func(value []byte) error { return fn(item.Key(), value) }
	for it.Seek([]byte(max(from, firstKey))); it.Valid(); it.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		item = it.Item()
		if bytes.Compare(item.Key(), end) >= 0 {
			break
		}
		if s.expired(item) {
			continue
		}
		if err := item.Value(show); err != nil {
			return err
		}
	}
	return nil
}

// Split implements [store.Scanner]. It assumes that the keys are evenly distributed between the first
// and the last one.
func (s *Store) Split(ctx context.Context, prefix string, parts int) ([]string, error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	defer s.ops.Done()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("dividing the records below %q: %w", prefix, err)
	}
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	first, last := edge(txn, prefix, false), edge(txn, prefix, true)
	shared := 0
	for shared < min(len(first), len(last)) && first[shared] == last[shared] {
		shared++
	}
	low, high := number(first[shared:]), number(last[shared:])
	step := (high - low) / uint64(max(parts, 1))
	if step == 0 {
		return nil, nil
	}
	var keys []string
	for i := 1; i < parts; i++ {
		keys = append(keys, string(binary.BigEndian.AppendUint64(bytes.Clone(first[:shared]), low+uint64(i)*step)))
	}
	return keys, nil
}

// edge returns the first or the last key below prefix, nil if there is none.
func edge(txn *badger.Txn, prefix string, last bool) []byte {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte(prefix), Reverse: last})
	defer it.Close()
	from := []byte(prefix)
	if last {
		from = append(from, 0xff)
	}
	if it.Seek(from); !it.Valid() {
		return nil
	}
	return it.Item().KeyCopy(nil)
}

// number returns the first eight bytes as a number.
func number(key []byte) uint64 {
	var eight [8]byte
	copy(eight[:], key)
	return binary.BigEndian.Uint64(eight[:])
}

// Each calls fn for every record whose key begins with prefix, in key order: as a blind
// write, with the expiry, for another store. All records are of one view, however long fn takes;
// commits continue in the meantime. fn owns the value. Its error ends Each and is returned.
func (s *Store) Each(ctx context.Context, prefix string, fn func(store.Write) error) error {
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
		if err := fn(store.Write{Key: string(item.Key()), Value: value, Blind: true, ExpiresAt: int64(item.ExpiresAt())}); err != nil {
			return err
		}
	}
	return nil
}
