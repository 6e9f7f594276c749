package badgerstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"tokenbroker/store"
)

var (
	_ store.Snapshotter = (*Store)(nil)
	_ store.Scanner     = (*Store)(nil)
)

// firstKey is the lowest key that callers may use.
const firstKey = "\x01"

// begin counts an operation that Close has to wait for. The caller ends it with ops.Done.
func (s *Store) begin() error {
	s.closing.Lock()
	defer s.closing.Unlock()
	if s.closed {
		return store.ErrClosed
	}
	s.ops.Add(1)
	return nil
}

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
	// Values are stored with their keys: prefetching them would cost a goroutine each and save nothing.
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

// now returns the later of the two clocks by which records expire, in Unix seconds.
func (s *Store) now() int64 {
	return max(s.config.Now().Unix(), time.Now().Unix())
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
