package badgerstore

import (
	"context"
	"errors"
	"fmt"

	badger "github.com/dgraph-io/badger/v4"

	"tokenbroker/revocation"
	"tokenbroker/store"
)

const (
	// revisionKey is written by every commit, so that the newest version on disk is never
	// one that a compaction may drop, and revisions keep rising after a restart. Its value is
	// what the store holds after the commit ([contents]).
	revisionKey = "\x00revision"
	// firstKey is the lowest key that callers may use.
	firstKey = "\x01"
	// maxKey is the longest key, in bytes.
	maxKey = 1024

	entryOverhead = 64   // what Badger counts per entry beside key and value, rounded up
	eventReserve  = 1024 // what the seal writes for one event beside its value, rounded up
	sealReserve   = 4096 // what the seal writes for a batch
)

// Commit implements [store.Store]. One call is one Badger transaction and one fsync.
func (s *Store) Commit(ctx context.Context, changes []store.Change, seal store.Seal) []error {
	errs := make([]error, len(changes))
	if err := s.begin(); err != nil {
		return refuse(errs, err)
	}
	defer s.ops.Done()
	s.committing.Lock()
	defer s.committing.Unlock()
	if err := ctx.Err(); err != nil {
		return refuse(errs, err)
	}
	if err := s.writable(); err != nil {
		return refuse(errs, err)
	}
	txn := s.db.NewTransaction(true)
	defer txn.Discard()

	p := plan{
		store: s, txn: txn, pending: make(map[string]store.Write),
		stored: make(map[string]version), began: s.now(),
		entries: 2, bytes: sealReserve,
		maxEntries: s.db.MaxBatchCount() - 1, maxBytes: s.db.MaxBatchSize() - 1,
	}
	if s.contents != nil {
		p.bytes += s.contents.size()
	}
	accepted := p.judge(changes, errs)
	if len(accepted) > 0 {
		if seal == nil {
			return refuse(errs, errors.New("committing: revocation events without a seal"))
		}
		writes, err := seal(accepted)
		if err == nil {
			err = p.accept(writes)
		}
		if err != nil {
			return refuse(errs, fmt.Errorf("sealing: %w", err))
		}
	}
	if len(p.pending) == 0 {
		return errs
	}
	held, err := p.write()
	if err != nil {
		return refuse(errs, err)
	}
	if err := s.commit(txn); err != nil {
		return refuse(errs, err)
	}
	s.committed(held, p.revisionOfCommit())
	return errs
}

// committed moves the mark to a commit that is on disk. A mark that cannot be written stays
// behind the store, where it is valid, and detects less.
func (s *Store) committed(held *contents, revision uint64) {
	if held == nil {
		return
	}
	s.contents = held
	err := s.mark.write(mark{tag: held.tag, revision: revision, total: held.total()})
	if err != nil && !s.unmarked {
		s.config.Logger.Error("the store's mark cannot be written: commits that are lost from now on may go unnoticed", "error", err)
	}
	s.unmarked = err != nil
}

// commit makes the transaction durable. Once it began, an error or a panic leaves open
// what is on disk, so the store takes no more writes: a failed fsync is not retried.
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

// plan is one commit in the making.
type plan struct {
	store   *Store
	txn     *badger.Txn
	pending map[string]store.Write // the last accepted write of each key
	stored  map[string]version     // what was read of the keys before this commit
	began   int64                  // Unix seconds, before anything was read

	entries, maxEntries int64
	bytes, maxBytes     int64
}

// version is that of a stored record; the zero version: there is none.
type version struct {
	revision uint64
	expires  int64
}

// judge takes the changes in order, fills errs and returns the events of those accepted.
func (p *plan) judge(changes []store.Change, errs []error) []revocation.Event {
	var accepted []revocation.Event
	full := false
	for i, change := range changes {
		entries, bytes := need(change)
		switch {
		case full:
			errs[i] = store.ErrTooBig
			continue
		case 2+entries > p.maxEntries || sealReserve+bytes > p.maxBytes:
			// For ever, so not [store.ErrTooBig], which asks for another try.
			errs[i] = fmt.Errorf("committing: one change of %d writes and %d bytes exceeds the transaction limit", len(change.Writes), bytes)
			continue
		}
		fits := p.entries+entries <= p.maxEntries && p.bytes+bytes <= p.maxBytes
		if !fits {
			full = true
			errs[i] = store.ErrTooBig
			continue
		}
		if errs[i] = p.accept(change.Writes); errs[i] == nil {
			p.entries += entries
			p.bytes += bytes
			accepted = append(accepted, change.Events...)
		}
	}
	return accepted
}

// need returns what a change takes of the transaction, with what the seal adds for it.
func need(change store.Change) (entries, bytes int64) {
	for _, w := range change.Writes {
		entries++
		bytes += int64(len(w.Key)+len(w.Value)) + entryOverhead
	}
	for _, e := range change.Events {
		entries++
		bytes += int64(4*len(e.Value)) + eventReserve
	}
	return entries, bytes
}

// accept adds writes to the plan if each meets its expectation, or none of them.
func (p *plan) accept(writes []store.Write) error {
	own := make(map[string]store.Write, len(writes))
	for _, w := range writes {
		if w.Key < firstKey || len(w.Key) > maxKey {
			return fmt.Errorf("committing: %.40q is not a key", w.Key)
		}
		if w.ExpiresAt < 0 {
			return fmt.Errorf("committing %q: negative expiry", w.Key)
		}
		if !w.Blind {
			before, touched := own[w.Key]
			if !touched {
				before, touched = p.pending[w.Key]
			}
			if touched {
				// Its revision is given by this commit: nobody can know it yet.
				if !before.Delete || w.Expect != 0 {
					return store.ErrConflict
				}
			} else if revision, err := p.revision(w.Key); err != nil {
				return err
			} else if revision != w.Expect {
				return store.ErrConflict
			}
		}
		own[w.Key] = w
	}
	for key, w := range own {
		p.pending[key] = w
	}
	return nil
}

// revision returns the revision of key before this commit, zero if there is no record.
func (p *plan) revision(key string) (store.Revision, error) {
	item, err := p.txn.Get([]byte(key))
	if errors.Is(err, badger.ErrKeyNotFound) {
		p.stored[key] = version{}
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading %q: %w", key, err)
	}
	p.stored[key] = version{item.Version(), int64(item.ExpiresAt())}
	if p.store.expired(item) {
		return 0, nil
	}
	return store.Revision(item.Version()), nil
}

// revisionOfCommit is the one that the engine gives to this commit: commits are serialised.
func (p *plan) revisionOfCommit() uint64 { return p.txn.ReadTs() + 1 }

// write puts what was accepted into the transaction and returns what the store will hold; nil
// for one in memory.
func (p *plan) write() (*contents, error) {
	held := p.store.contents
	if held != nil {
		for key := range p.pending {
			if _, known := p.stored[key]; known {
				continue
			}
			if _, err := p.revision(key); err != nil {
				return nil, err
			}
		}
		held = held.clone()
		// The later of two looks at the clock: what the engine hid as expired is forgotten.
		held.forget(max(p.began, p.store.now()))
	}
	for key, w := range p.pending {
		name := []byte(key)
		if was := p.stored[key]; held != nil && was.revision != 0 {
			held.remove(name, was.revision, was.expires)
		}
		var err error
		if w.Delete {
			err = p.txn.Delete(name)
		} else {
			e := badger.NewEntry(name, w.Value)
			expires := w.ExpiresAt // checked in accept: not negative
			if held != nil {
				expires = roundExpiry(expires, p.began)
				held.add(name, p.revisionOfCommit(), expires)
			}
			e.ExpiresAt = uint64(expires)
			err = p.txn.SetEntry(e)
		}
		if err := tooBig(err); err != nil {
			return nil, fmt.Errorf("writing %q: %w", key, err)
		}
	}
	var value []byte
	if held != nil {
		value = held.encode()
	}
	return held, tooBig(p.txn.Set([]byte(revisionKey), value))
}

func tooBig(err error) error {
	if errors.Is(err, badger.ErrTxnTooBig) {
		return store.ErrTooBig
	}
	return err
}

// refuse gives err to every change that was not refused for its own reason.
func refuse(errs []error, err error) []error {
	for i := range errs {
		if errs[i] == nil {
			errs[i] = err
		}
	}
	return errs
}
