// Package badgerstore keeps the broker's records in an embedded Badger: one process per
// directory, and one transaction and one fsync for each commit.
package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"tokenbroker/store"
)

var (
	_ store.Store       = (*Store)(nil)
	_ store.Engine      = (*Store)(nil)
	_ store.Snapshotter = (*Store)(nil)
	_ store.Scanner     = (*Store)(nil)
)

// firstKey is the lowest key that callers may use.
const firstKey = "\x01"

// Store implements [store.Store]. It is safe for concurrent use.
type Store struct {
	config Config
	db     *badger.DB
	lock   *DirLock // nil when the caller holds it

	committing sync.Mutex // one transaction at a time
	failed     atomic.Pointer[error]
	hints      store.Hints
	inventory  *inventory // after the last commit; nil in memory; guarded by committing
	mark       *markFile  // nil in memory; guarded by committing
	markFailed bool       // the last write of the mark failed; guarded by committing

	scratch string // the directory of the store if it is a copy that Close removes, otherwise empty

	stop context.CancelFunc // of the garbage collection
	done chan struct{}

	closing  sync.Mutex
	closed   bool // guarded by closing
	ops      sync.WaitGroup
	closeErr error
	ended    chan struct{} // closed when the first Close has finished
}

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

// Close waits for the operations in progress and closes the store. Every call waits and
// returns the result of the first one. If the disk is too full for what Badger writes when it closes,
// the files stay as they are, with everything that was committed, and the next start reads the log.
func (s *Store) Close() error {
	s.closing.Lock()
	first := !s.closed
	s.closed = true
	s.closing.Unlock()
	if first {
		s.stop()
		<-s.done
		s.ops.Wait()
		if err := s.checkSpaceToClose(); err != nil {
			s.config.Logger.Warn("the store's files are left as they are", "error", err)
		} else if err := s.db.Close(); err != nil {
			s.closeErr = fmt.Errorf("closing the store: %w", err)
		}
		if s.mark != nil {
			s.closeErr = errors.Join(s.closeErr, s.mark.close())
		}
		s.closeErr = errors.Join(s.closeErr, s.removeScratch())
		s.releaseDir()
		close(s.ended)
	}
	<-s.ended
	return s.closeErr
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

// GetMany implements [store.Reader]. One call is one consistent view.
func (s *Store) GetMany(ctx context.Context, keys []string) ([]store.Record, error) {
	view, release, err := s.Snapshot()
	if err != nil {
		return nil, err
	}
	defer release()
	return view.GetMany(ctx, keys)
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

// GetMany implements [store.Reader].
func (v snapshot) GetMany(ctx context.Context, keys []string) ([]store.Record, error) {
	records := make([]store.Record, len(keys))
	for i, key := range keys {
		r, err := v.Get(ctx, key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		r.Key = key
		records[i] = r
	}
	return records, nil
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

// logger passes on Badger's errors and warnings.
type logger struct{ *slog.Logger }

func (l logger) Errorf(f string, a ...any) { l.Error("badger", "message", fmt.Sprintf(f, a...)) }

func (l logger) Warningf(f string, a ...any) { l.Warn("badger", "message", fmt.Sprintf(f, a...)) }

func (l logger) Infof(string, ...any) {}

func (l logger) Debugf(string, ...any) {}
