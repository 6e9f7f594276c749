// Package store is the port between the broker and whatever keeps its records:
// single-key compare-and-set with ordered, all-or-nothing changes, so that one
// embedded Badger and a replicated key-value cluster can both serve it.
//
// Engines: badgerstore (the default) and memstore (the simple twin for tests).
// storetest is the one conformance suite that every engine passes.
package store

import (
	"context"
	"errors"

	"tokenbroker/revocation"
)

// Revision orders the versions of one key. Zero stands for "no such record".
// A key that was deleted and written again never gets an earlier revision back.
type Revision uint64

var (
	// ErrNotFound is returned by Get for a key without a live record.
	ErrNotFound = errors.New("store: no such record")
	// ErrConflict is a change's result when one of its expected revisions was not met:
	// read again and decide again. Nothing of that change was written.
	ErrConflict = errors.New("store: revision conflict")
	// ErrUncertain wraps a failure after the engine's commit began: the changes may or
	// may not be on disk, so the process has to end and read anew.
	ErrUncertain = errors.New("store: commit outcome unknown")
	// ErrReadOnly is a change's result while the engine refuses writes (disk nearly full).
	ErrReadOnly = errors.New("store: writes refused")
	// ErrTooBig is the result of a change, and of all after it, that did not fit into the
	// transaction beside the earlier ones: commit them again, with fewer. Nothing of them
	// was written. A change that gets it when committed alone will never fit.
	ErrTooBig = errors.New("store: transaction too big")
	// ErrClosed is returned after the store was closed.
	ErrClosed = errors.New("store: closed")
)

// Record is one stored value. The caller owns Value.
type Record struct {
	Key      string
	Value    []byte
	Revision Revision
}

// Write sets or deletes one key.
type Write struct {
	Key   string
	Value []byte
	// Delete removes the key; Value is ignored.
	Delete bool
	// Blind skips the comparison with Expect. Only for keys with one writer (the ledger's).
	Blind bool
	// Expect is the revision that the key must have now; zero: it must not exist.
	Expect Revision
	// ExpiresAt (Unix seconds) is housekeeping: from then on the engine may forget the
	// record. Zero: never. No security decision rests on it.
	ExpiresAt int64
}

// Change is a set of writes and the revocation events that belong to it: all or nothing.
type Change struct {
	Writes []Write
	Events []revocation.Event
}

// Seal turns the events of the accepted changes, in commit order, into the ledger's
// writes. It runs once inside the commit, and only when there are events. An error
// refuses the whole commit with nothing written.
type Seal func(accepted []revocation.Event) ([]Write, error)

// Reader reads records. Safe for concurrent use.
type Reader interface {
	// Get returns the record of key, or ErrNotFound.
	Get(ctx context.Context, key string) (Record, error)
	// List returns up to limit records whose keys begin with prefix and are greater than
	// after (after is a full key or empty), in key order.
	List(ctx context.Context, prefix, after string, limit int) ([]Record, error)
}

// Snapshotter is a [Reader] that can read many records in one consistent view, which costs
// less than as many reads by themselves. Engines may have it; [Snapshot] asks.
type Snapshotter interface {
	// Snapshot returns the records as they are now, for one goroutine, until release is called.
	Snapshot() (view Reader, release func(), err error)
}

// Snapshot returns a view of r, which release has to be called for: r's own, or else r itself.
func Snapshot(r Reader) (view Reader, release func(), err error) {
	if s, ok := r.(Snapshotter); ok {
		return s.Snapshot()
	}
	return r, func() {}, nil
}

// Store reads and commits. Safe for concurrent use; commits are serialised.
type Store interface {
	Reader
	// Commit judges the changes in order, each seeing the earlier ones, and writes those
	// accepted, with seal's writes, in one durable transaction. The result has one entry a
	// change: nil, ErrConflict, ErrTooBig, or the error that refused all of them. A revision
	// that a commit gives is known only after it: within one commit, a write to a key that
	// an earlier write of it touched must be Blind, or expect no record where that one deleted.
	Commit(ctx context.Context, changes []Change, seal Seal) []error
}
