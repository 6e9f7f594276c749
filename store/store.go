// Package store is the port between the broker and the engine that keeps its records. A store is
// a set of keys with small values. Single keys are changed by compare-and-set; a change of several
// keys is all or nothing, and so is a whole commit with the revocation events that belong to it.
// One embedded Badger and a replicated key-value cluster can both implement it.
//
// Components read and write through a [Store]. An engine that several brokers share is an [Engine],
// whose commits carry a [Fence]; package origins makes a Store of it for one run of a broker.
//
// Engines: badgerstore (the default), etcdstore and pgstore (for several brokers), and memstore (the reference for tests). Every
// engine passes the conformance suite in storetest.
package store

import (
	"context"
	"errors"

	"tokenbroker/revocation"
)

// MaxMany is the number of keys that [Reader.GetMany] reads as of one view.
const MaxMany = 128

// MaxKeySize is the length of the longest key in bytes. A key has at least one byte, and its first
// byte is not zero.
const MaxKeySize = 1024

// Revision orders the versions of one key. Zero means that there is no record. Every write of a key
// gets a higher revision than any earlier one, also after the key was deleted or expired and after
// a restart of the engine. All writes of one commit get the same revision. Revisions of different
// keys have no other order, and revisions need not be consecutive.
type Revision uint64

// Errors of a store. Other errors are the engine's own, such as an I/O error; a change that gets one
// was not written.
var (
	// ErrNotFound is returned by Get for a key that has no record or an expired one.
	ErrNotFound = errors.New("store: no such record")
	// ErrConflict is a change's result when one of its expected revisions was not met:
	// read again and decide again. Nothing of that change was written, with one exception: a change
	// that only deletes records gets it also if its commit was uncertain and package origins has
	// settled it, because deleted records do not show who deleted them.
	ErrConflict = errors.New("store: revision conflict")
	// ErrUncertain wraps a failure after the engine's commit began: the changes may or
	// may not be stored, all of them or none, so the process has to end and read the store again.
	ErrUncertain = errors.New("store: commit outcome unknown")
	// ErrReadOnly is a change's result while the engine refuses writes, for example because the
	// disk is nearly full. Nothing was written.
	ErrReadOnly = errors.New("store: writes refused")
	// ErrTooBig is the result of a change, and of all after it, that did not fit into the
	// transaction together with the earlier ones: commit them again, with fewer. Nothing of them
	// was written. A change that gets it when committed on its own will never fit.
	ErrTooBig = errors.New("store: transaction too big")
	// ErrRetry is the result of a change that was not judged in this commit because of another change in
	// it: commit it again, without reading again. Nothing of it was written.
	ErrRetry = errors.New("store: commit the change again")
	// ErrFenced is the result of every change of a commit whose fence record does not have the expected
	// revision. Nothing was written.
	ErrFenced = errors.New("store: the fence has moved")
	// ErrUnavailable is returned while the engine cannot be reached or cannot guarantee an answer. A
	// change that gets it was not written.
	ErrUnavailable = errors.New("store: the engine is not available")
	// ErrClosed is returned after the store was closed.
	ErrClosed = errors.New("store: closed")
)

// Record is one stored value. The caller owns Value, which is never nil.
type Record struct {
	Key      string
	Value    []byte
	Revision Revision
}

// Write sets or deletes one key.
type Write struct {
	Key   string
	Value []byte
	// Delete removes the key; Value and ExpiresAt are ignored. Deleting a key that has no record
	// is not an error.
	Delete bool
	// Blind skips the comparison with Expect. Only for keys with one writer (the ledger's).
	Blind bool
	// Expect is the revision that the key must have now. Zero means that it must not exist.
	Expect Revision
	// ExpiresAt (Unix seconds) is for housekeeping: from then on the engine treats the record as
	// deleted and may remove it. It may round the time up. If zero, the record does not expire.
	// Security decisions must not depend on it.
	ExpiresAt int64
}

// Change is a set of writes and the revocation events that belong to it: all or nothing. If several
// writes have the same key, each must meet its expectation after the ones before it, and the last
// one is stored.
type Change struct {
	Writes []Write
	Events []revocation.Event
}

// Seal turns the events of the accepted changes, in commit order, into the ledger's
// writes. Commit calls it at most once, and only if there are events; changes are not called
// accepted before they have all been judged. Seal may read the store, where it sees nothing of the
// commit; it must not call Commit. It owns the slice accepted. An error, or a write of Seal's that
// does not meet its expectation, refuses the whole commit with nothing written.
type Seal func(accepted []revocation.Event) ([]Write, error)

// Reader reads records. It is safe for concurrent use. A read sees every commit that returned before
// the read began, and of each commit either all writes or none. If the engine cannot guarantee that,
// the read is an error. An error of the context is returned as it is or wrapped.
type Reader interface {
	// Get returns the record of key, or ErrNotFound. A key that no record can have, such as the
	// empty one, is not found.
	Get(ctx context.Context, key string) (Record, error)
	// GetMany returns the records of keys, in their order. A key without a record has a Record with only
	// the key. Up to [MaxMany] keys are read as of one view, more as of several.
	GetMany(ctx context.Context, keys []string) ([]Record, error)
	// List returns up to limit records whose keys begin with prefix and are greater than
	// after (after is a full key or empty), in the byte order of keys and as of one view. Successive
	// calls are different views. A limit of zero or less returns no records.
	List(ctx context.Context, prefix, after string, limit int) ([]Record, error)
}

// Store reads and commits. It is safe for concurrent use; commits are serialized.
type Store interface {
	Reader
	// Commit judges the changes in order and writes those accepted, with seal's writes, in one
	// transaction, which is durable when Commit returns. A change sees the accepted ones before it
	// in the same commit. A refused change does not refuse others.
	//
	// The result has one entry for each change: nil if it is stored, ErrConflict, ErrTooBig, an
	// error about the change itself (such as an invalid key), or the error that refused all
	// changes that had no error of their own. It belongs to the caller.
	//
	// The revision of a commit is known only after it: within one commit, a write to a key that
	// an earlier write of it set must be Blind, and one to a key that an earlier write deleted
	// must be Blind or expect no record; otherwise its change gets ErrConflict.
	//
	// Changes with events need a seal; without events seal may be nil. If ctx has ended before the
	// transaction began, nothing is written; later it is ignored or its outcome is reported as
	// [ErrUncertain]. Commit does not change the changes, and keeps no reference to them after it
	// returned.
	Commit(ctx context.Context, changes []Change, seal Seal) []error
}

// Fence is the record of one run of a broker on a shared engine. Every commit of the run compares the
// record's revision and writes the record. So a commit that is sent twice is applied once, and a run
// whose record another broker changed can no longer write.
type Fence struct {
	// Key is the key of the record.
	Key string
	// Expect is the revision that the record must have, otherwise every change gets [ErrFenced].
	Expect Revision
	// Value is written to the record by a commit that records no events, and Sealed by one that does.
	Value, Sealed []byte
}

// Engine is a store that several brokers may share, as package origins uses it. It is safe for concurrent use.
type Engine interface {
	Reader
	// CommitFenced is [Store.Commit] under a fence. It returns the revision of the commit, or zero if nothing
	// was written. It differs as follows.
	//
	// The fence's record is written even if every change is refused, but not if the seal fails. No change may write
	// that record. If it does not have the expected revision, every change that has no error of its own
	// gets [ErrFenced].
	//
	// Each change may be judged on the state before the commit. A change that writes a key of an earlier
	// change in the commit, or of the seal, may therefore get [ErrRetry].
	//
	// The changes with events may be one group: if one of them is refused, none of them is written, and the
	// others get ErrRetry. The seal may therefore run before they are judged, with events that are then
	// not recorded. A write of the seal that does not meet its expectation refuses the group.
	//
	// If the engine cannot tell whether the commit was written, every change that was part of it gets [ErrUncertain].
	// The commit may still be written later, at most once, as long as the fence's record has the
	// expected revision. A change that has another error was not part of it.
	//
	// A fence without a key is none. It is for tools that run without brokers.
	CommitFenced(ctx context.Context, fence Fence, changes []Change, seal Seal) (Revision, []error)
	// Follow returns a channel that receives a value when records below prefix may have changed, until ctx
	// ends. It is a hint: values are merged, and may be lost, repeated or late. The channel has a
	// capacity of one and is not closed.
	Follow(ctx context.Context, prefix string) <-chan struct{}
}

// FailRest sets err as the result of every change that has no error of its own, and returns errs.
// It is for implementations of [Store.Commit].
func FailRest(errs []error, err error) []error {
	for i := range errs {
		if errs[i] == nil {
			errs[i] = err
		}
	}
	return errs
}

// Snapshotter is a [Reader] that can read many records in one consistent view, which costs
// less than as many single reads. It is optional for engines; [Snapshot] uses it if it is there.
type Snapshotter interface {
	// Snapshot returns the records as they are now or, if several brokers share the store, as they are
	// at the first read of the view. The view is for one goroutine, until release is called. Release
	// must be called exactly once; the view must not be used after it.
	Snapshot() (view Reader, release func(), err error)
}

// Snapshot returns a view of r and the function that releases it, which the caller has to call:
// r's own view if r is a [Snapshotter], otherwise r itself, whose reads are separate views.
func Snapshot(r Reader) (view Reader, release func(), err error) {
	if s, ok := r.(Snapshotter); ok {
		return s.Snapshot()
	}
	return r, func() {}, nil
}

// Scanner is a [Reader] that can read very many records without a copy of each, and several
// ranges of them concurrently. It is optional for engines.
type Scanner interface {
	// Split returns up to parts-1 ascending keys below prefix that divide its records into parts
	// of roughly equal size.
	Split(ctx context.Context, prefix string, parts int) ([]string, error)
	// Scan calls fn for each record whose key is at least from and less than to, in key order and
	// as of one view. fn must neither keep nor change key and value; its error ends the scan and
	// is returned.
	Scan(ctx context.Context, from, to string, fn func(key, value []byte) error) error
}

// Sweeper is an [Engine] that keeps expired records, which reads do not return, until they are written or deleted. It is
// optional for engines. A change that deletes such a record may expect its revision, as Expired returned it, and
// gets [ErrConflict] if the record was written or deleted since.
type Sweeper interface {
	// Expired examines up to limit records, at least one, whose keys are greater than after, in the order of keys. It
	// returns those whose ExpiresAt is at most before (Unix seconds), with key and revision but without the value, and
	// the key after which the next call continues, or "" if there are no more records. It never returns a record
	// without ExpiresAt. An engine that has an index of the expiries examines only the records that it returns.
	Expired(ctx context.Context, before int64, after string, limit int) (records []Record, next string, err error)
}
