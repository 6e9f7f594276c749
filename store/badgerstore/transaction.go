package badgerstore

import (
	"errors"
	"fmt"
	"maps"

	badger "github.com/dgraph-io/badger/v4"

	"tokenbroker/revocation"
	"tokenbroker/store"
)

const (
	entryOverhead = 64   // what Badger counts for an entry in addition to key and value, rounded up
	eventReserve  = 1024 // what the seal writes for one event in addition to its value, rounded up
)

// transaction is a commit under construction.
type transaction struct {
	store   *Store
	txn     *badger.Txn
	pending map[string]store.Write // the last accepted write of each key
	stored  map[string]version     // what was read of the keys before this commit
	began   int64                  // Unix seconds, before anything was read
	fence   string                 // the key of the fence's record, which no change may write

	entries, maxEntries int64
	bytes, maxBytes     int64
}

// version is the version of a stored record. It is zero if the record does not exist.
type version struct {
	revision uint64
	expires  int64
}

// evaluate takes the changes in order, fills errs and returns the events of those accepted.
func (t *transaction) evaluate(changes []store.Change, errs []error) []revocation.Event {
	var accepted []revocation.Event
	full := false
	for i, change := range changes {
		entries, bytes := sizeOf(change)
		switch {
		case full:
			errs[i] = store.ErrTooBig
		case 2+entries > t.maxEntries || sealReserve+bytes > t.maxBytes:
			// It never fits, so the error is not [store.ErrTooBig], which asks for another try.
			errs[i] = fmt.Errorf("committing: one change of %d writes and %d bytes exceeds the transaction limit", len(change.Writes), bytes)
		case t.entries+entries > t.maxEntries || t.bytes+bytes > t.maxBytes:
			full = true
			errs[i] = store.ErrTooBig
		default:
			if errs[i] = t.accept(change.Writes); errs[i] == nil {
				t.entries, t.bytes = t.entries+entries, t.bytes+bytes
				accepted = append(accepted, change.Events...)
			}
		}
	}
	return accepted
}

// sizeOf returns what a change takes of the transaction, with what the seal adds for it.
func sizeOf(change store.Change) (entries, bytes int64) {
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

// accept adds writes to the transaction if each meets its expectation, or none of them.
func (t *transaction) accept(writes []store.Write) error {
	own := make(map[string]store.Write, len(writes))
	for _, w := range writes {
		if err := checkWrite(w); err != nil {
			return err
		}
		if t.fence != "" && w.Key == t.fence {
			return fmt.Errorf("committing: a change writes the fence's record %.40q", w.Key)
		}
		if !w.Blind {
			before, touched := own[w.Key]
			if !touched {
				before, touched = t.pending[w.Key]
			}
			if touched {
				// This commit assigns its revision, which no caller can know yet.
				if !before.Delete || w.Expect != 0 {
					return store.ErrConflict
				}
			} else if revision, err := t.revision(w.Key); err != nil {
				return err
			} else if revision != w.Expect {
				return store.ErrConflict
			}
		}
		own[w.Key] = w
	}
	maps.Copy(t.pending, own)
	return nil
}

func checkWrite(w store.Write) error {
	if w.Key < firstKey || len(w.Key) > store.MaxKeySize {
		return fmt.Errorf("committing: %.40q is not a key", w.Key)
	}
	if w.ExpiresAt < 0 {
		return fmt.Errorf("committing %q: negative expiry", w.Key)
	}
	return nil
}

// revision returns the revision of key before this commit, or zero if it had no record.
func (t *transaction) revision(key string) (store.Revision, error) {
	item, err := t.txn.Get([]byte(key))
	if errors.Is(err, badger.ErrKeyNotFound) {
		t.stored[key] = version{}
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading %q: %w", key, err)
	}
	t.stored[key] = version{item.Version(), int64(item.ExpiresAt())}
	if t.store.expired(item) {
		return 0, nil
	}
	return store.Revision(item.Version()), nil
}

// revisionOfCommit returns the revision that the engine will assign to this commit, which is known
// because commits are serialized.
func (t *transaction) revisionOfCommit() uint64 { return t.txn.ReadTs() + 1 }

// write puts the accepted writes into the transaction and returns the inventory after it, nil
// for a store in memory.
func (t *transaction) write() (*inventory, error) {
	after := t.store.inventory
	if after != nil {
		for key := range t.pending {
			if _, known := t.stored[key]; known {
				continue
			}
			if _, err := t.revision(key); err != nil {
				return nil, err
			}
		}
		after = after.clone()
		// The later of two readings of the clock: records that the engine hid as expired are forgotten.
		after.forget(max(t.began, t.store.now()))
	}
	for key, w := range t.pending {
		name := []byte(key)
		if was := t.stored[key]; after != nil && was.revision != 0 {
			after.remove(name, was.revision, was.expires)
		}
		var err error
		if w.Delete {
			err = t.txn.Delete(name)
		} else {
			e := badger.NewEntry(name, w.Value)
			expires := w.ExpiresAt // checked in accept: not negative
			if after != nil {
				expires = roundExpiry(expires, t.began)
				after.add(name, t.revisionOfCommit(), expires)
			}
			e.ExpiresAt = uint64(expires)
			err = t.txn.SetEntry(e)
		}
		if err := tooBig(err); err != nil {
			return nil, fmt.Errorf("writing %q: %w", key, err)
		}
	}
	var value []byte
	if after != nil {
		value = after.encode()
	}
	return after, tooBig(t.txn.Set([]byte(revisionKey), value))
}

func tooBig(err error) error {
	if errors.Is(err, badger.ErrTxnTooBig) {
		return store.ErrTooBig
	}
	return err
}
