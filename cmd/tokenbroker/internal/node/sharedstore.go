package node

import (
	"context"
	"errors"
	"time"

	"tokenbroker/broker"
	"tokenbroker/store"
	"tokenbroker/store/origins"
)

// readTimeout bounds a read of the shared store, which otherwise would hold up all messages of a shard.
const readTimeout = 2 * time.Second

// sharedStore is the store of a run. Its reads are bounded, and failures of the engine are answered with 503, because a
// repetition or another broker may succeed.
type sharedStore struct {
	run    *origins.Run
	pauses *pauses
}

var (
	_ store.Store       = sharedStore{}
	_ store.Snapshotter = sharedStore{}
	_ store.Provisioner = sharedStore{}
)

// Get implements [store.Reader].
func (s sharedStore) Get(ctx context.Context, key string) (store.Record, error) {
	return boundedReader{s.run}.Get(ctx, key)
}

// GetMany implements [store.Reader].
func (s sharedStore) GetMany(ctx context.Context, keys []string) ([]store.Record, error) {
	return boundedReader{s.run}.GetMany(ctx, keys)
}

// List implements [store.Reader].
func (s sharedStore) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	return boundedReader{s.run}.List(ctx, prefix, after, limit)
}

// Snapshot implements [store.Snapshotter].
func (s sharedStore) Snapshot() (view store.Reader, release func(), err error) {
	return sessions{boundedReader{s.run}, s.pauses}.Snapshot()
}

// Provisional implements [store.Provisioner].
func (s sharedStore) Provisional() (store.Reader, func(context.Context) error) {
	r, confirm := s.run.Provisional()
	return sessions{boundedReader{r}, s.pauses}, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, readTimeout)
		defer cancel()
		return unavailable(confirm(ctx))
	}
}

// sessions is a reader with the snapshots on which sessions are decided. After a pause of the process there is none, so that
// a request which had been admitted before the pause is not decided on what other brokers have written since: its
// client may have sent it to one of them, and the copy would be taken for a stolen token.
type sessions struct {
	boundedReader
	pauses *pauses
}

// Snapshot implements [store.Snapshotter].
func (s sessions) Snapshot() (view store.Reader, release func(), err error) {
	if err := s.pauses.running(); err != nil {
		return nil, nil, err
	}
	view, release, err = store.Snapshot(s.Reader)
	if err != nil {
		return nil, nil, unavailable(err)
	}
	return boundedReader{view}, release, nil
}

// Commit implements [store.Store]. An unknown outcome, which a run returns only if ctx has ended, does not end the process:
// the run settles it before it commits anything else.
func (s sharedStore) Commit(ctx context.Context, changes []store.Change, seal store.Seal) []error {
	errs := s.run.Commit(ctx, changes, seal)
	for i, err := range errs {
		if errors.Is(err, store.ErrUncertain) {
			err = errors.New(err.Error())
		}
		errs[i] = unavailable(err)
	}
	return errs
}

type boundedReader struct{ store.Reader }

// Get implements [store.Reader].
func (r boundedReader) Get(ctx context.Context, key string) (store.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	record, err := r.Reader.Get(ctx, key)
	return record, unavailable(err)
}

// GetMany implements [store.Reader].
func (r boundedReader) GetMany(ctx context.Context, keys []string) ([]store.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	records, err := r.Reader.GetMany(ctx, keys)
	return records, unavailable(err)
}

// List implements [store.Reader].
func (r boundedReader) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	records, err := r.Reader.List(ctx, prefix, after, limit)
	return records, unavailable(err)
}

// unavailable returns err as a refusal with 503, unless a caller decides by it or it is a refusal already.
func unavailable(err error) error {
	var app *broker.Error
	if err == nil || errors.As(err, &app) {
		return err
	}
	for _, known := range []error{
		store.ErrNotFound, store.ErrConflict, store.ErrRetry, store.ErrTooBig, store.ErrReadOnly, store.ErrClosed,
	} {
		if errors.Is(err, known) {
			return err
		}
	}
	return &broker.Error{Code: broker.CodeUnavailable, Message: "The store does not answer; try again.", RetryAfter: time.Second, Err: err}
}
