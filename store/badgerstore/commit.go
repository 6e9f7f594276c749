package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"syscall"

	badger "github.com/dgraph-io/badger/v4"

	"tokenbroker/store"
)

const (
	// revisionKey is written by every commit, so that the newest version on disk is never
	// one that a compaction may drop, and revisions keep rising after a restart. Its value is
	// the inventory after the commit.
	revisionKey = "\x00revision"

	sealReserve = 4096 // bytes that the seal writes for a batch
)

// Commit implements [store.Store]. One call is one Badger transaction and one fsync.
func (s *Store) Commit(ctx context.Context, changes []store.Change, seal store.Seal) []error {
	_, errs := s.CommitFenced(ctx, store.Fence{}, changes, seal)
	return errs
}

// CommitFenced implements [store.Engine]. It judges the changes in order, as Commit does. After a commit whose
// result is unknown, the store accepts no more writes.
func (s *Store) CommitFenced(ctx context.Context, fence store.Fence, changes []store.Change, seal store.Seal) (store.Revision, []error) {
	errs := make([]error, len(changes))
	revision, err := s.commitFenced(ctx, fence, changes, errs, seal)
	if err != nil {
		return 0, store.FailRest(errs, err)
	}
	return revision, errs
}

func (s *Store) commitFenced(ctx context.Context, fence store.Fence, changes []store.Change, errs []error, seal store.Seal) (store.Revision, error) {
	if err := s.begin(); err != nil {
		return 0, err
	}
	defer s.ops.Done()
	s.committing.Lock()
	defer s.committing.Unlock()
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if err := s.writable(); err != nil {
		return 0, err
	}
	txn := s.db.NewTransaction(true)
	defer txn.Discard()

	t := transaction{
		store: s, txn: txn, pending: make(map[string]store.Write),
		stored: make(map[string]version), began: s.now(),
		entries: 2, bytes: sealReserve,
		maxEntries: s.db.MaxBatchCount() - 1, maxBytes: s.db.MaxBatchSize() - 1,
	}
	if s.inventory != nil {
		t.bytes += s.inventory.size()
	}
	if err := t.reserveFence(fence); err != nil {
		return 0, err
	}
	accepted := t.evaluate(changes, errs)
	if len(accepted) > 0 {
		if seal == nil {
			return 0, errors.New("committing: revocation events without a seal")
		}
		writes, err := seal(accepted)
		if err == nil {
			err = t.accept(writes)
		}
		if err != nil {
			return 0, fmt.Errorf("sealing: %w", err)
		}
	}
	t.writeFence(fence, len(accepted) > 0)
	if len(t.pending) == 0 {
		return 0, nil
	}
	after, err := t.write()
	if err != nil {
		return 0, err
	}
	if err := s.commit(txn); err != nil {
		return 0, err
	}
	s.advanceMark(after, t.revisionOfCommit())
	s.hints.Changed(maps.Keys(t.pending), nil)
	return store.Revision(t.revisionOfCommit()), nil
}

// advanceMark moves the mark to a commit that is on disk. A mark that cannot be written stays
// behind the store, where it is valid but detects less.
func (s *Store) advanceMark(after *inventory, revision uint64) {
	if after == nil {
		return
	}
	s.inventory = after
	err := s.mark.write(commitMark{tag: after.tag, revision: revision, total: after.total()})
	if err != nil && !s.markFailed {
		s.config.Logger.Error("the store's mark cannot be written: commits that are lost from now on may go unnoticed", "error", err)
	}
	s.markFailed = err != nil
}

// commit makes the transaction durable. After an error or a panic of Badger's commit it is unknown
// what is on disk, so the store accepts no more writes: a failed fsync is not retried.
func (s *Store) commit(txn *badger.Txn) error {
	err := errors.New("panic in the commit")
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w: %w", store.ErrUncertain, err)
			s.failed.Store(&err)
		}
	}()
	err = txn.Commit()
	if errors.Is(err, badger.ErrTxnTooBig) { // found before anything was written
		err = nil
		return store.ErrTooBig
	}
	if err != nil {
		return fmt.Errorf("%w: %w", store.ErrUncertain, err)
	}
	return nil
}

func (s *Store) writable() error {
	if failed := s.failed.Load(); failed != nil {
		return *failed
	}
	if s.config.InMemory {
		return nil
	}
	free, err := s.config.FreeSpace(s.config.Dir)
	if err != nil {
		return fmt.Errorf("%w: reading the free space of %s: %w", store.ErrReadOnly, s.config.Dir, err)
	}
	if free < s.config.MinFree {
		return fmt.Errorf("%w: %d MiB free below %s, %d MiB needed", store.ErrReadOnly, free>>20, s.config.Dir, s.config.MinFree>>20)
	}
	return nil
}

// freeSpace returns the bytes that an unprivileged process may still write below dir.
func freeSpace(dir string) (uint64, error) {
	var fs syscall.Statfs_t
	err := syscall.Statfs(dir, &fs)
	return fs.Bavail * uint64(fs.Bsize), err
}
