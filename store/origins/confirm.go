package origins

import (
	"context"

	"tokenbroker/store"
)

// Get implements [store.Reader].
func (r *Run) Get(ctx context.Context, key string) (store.Record, error) {
	return r.confirmed().Get(ctx, key)
}

// GetMany implements [store.Reader].
func (r *Run) GetMany(ctx context.Context, keys []string) ([]store.Record, error) {
	return r.confirmed().GetMany(ctx, keys)
}

// List implements [store.Reader].
func (r *Run) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	return r.confirmed().List(ctx, prefix, after, limit)
}

// Snapshot implements [store.Snapshotter].
func (r *Run) Snapshot() (view store.Reader, release func(), err error) {
	if _, ok := r.engine.(store.Confirmer); !ok {
		return store.Snapshot(r.engine)
	}
	from, confirm := r.Provisional()
	if view, release, err = store.Snapshot(from); err != nil {
		return nil, nil, err
	}
	return store.ConfirmedBy(view, confirm), release, nil
}

// Provisional implements [store.Provisioner]. Reads of an engine that is not a [store.Confirmer] need no confirmation.
func (r *Run) Provisional() (store.Reader, func(context.Context) error) {
	from := r.provisional()
	return from, store.Confirmation(from)
}

func (r *Run) confirmed() store.Reader { return store.Confirmed(r.provisional()) }

func (r *Run) provisional() store.Reader {
	engine, ok := r.engine.(store.Confirmer)
	if !ok {
		return r.engine
	}
	return &provisional{r.engine, &reads{run: r, engine: engine}}
}

// writes numbers the durable writes of a run. Run.mu guards it.
type writes struct {
	begun     uint64 // the number of the last one that has begun
	succeeded uint64 // the highest number of those that have succeeded
}

// beginWrite returns the number of a write that begins now.
func (r *Run) beginWrite() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writes.begun++
	return r.writes.begun
}

// succeeded records that a write was made durable by the primary to which it was sent.
func (r *Run) succeeded(write uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writes.succeeded = max(r.writes.succeeded, write)
}

// reads is when provisional reads were done. It implements [store.Confirmer]: a write of the run that began after the
// last read, and has succeeded, confirms them as well as one of its own.
type reads struct {
	run    *Run
	engine store.Confirmer
	after  uint64 // the last write that had begun when the last read returned
}

// done records that a read has returned.
func (r *reads) done() {
	r.run.mu.Lock()
	defer r.run.mu.Unlock()
	r.after = r.run.writes.begun
}

// Primary implements [store.Confirmer].
func (r *reads) Primary() uint64 { return r.engine.Primary() }

// Confirm implements [store.Confirmer].
func (r *reads) Confirm(ctx context.Context) error {
	run := r.run
	run.mu.Lock()
	proved := run.writes.succeeded > r.after
	run.mu.Unlock()
	if proved {
		return nil
	}
	_, err := run.confirms.do(ctx, func(ctx context.Context) (struct{}, error) {
		write := run.beginWrite()
		err := r.engine.Confirm(ctx)
		if err == nil {
			run.succeeded(write)
		}
		return struct{}{}, err
	})
	return err
}

// provisional is a reader of the engine, or of a snapshot of it, whose reads are confirmed later.
type provisional struct {
	from store.Reader
	*reads
}

var (
	_ store.Confirmer   = (*provisional)(nil)
	_ store.Snapshotter = (*provisional)(nil)
)

// Get implements [store.Reader].
func (p *provisional) Get(ctx context.Context, key string) (store.Record, error) {
	defer p.done()
	return p.from.Get(ctx, key)
}

// GetMany implements [store.Reader].
func (p *provisional) GetMany(ctx context.Context, keys []string) ([]store.Record, error) {
	defer p.done()
	return p.from.GetMany(ctx, keys)
}

// List implements [store.Reader].
func (p *provisional) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	defer p.done()
	return p.from.List(ctx, prefix, after, limit)
}

// Snapshot implements [store.Snapshotter].
func (p *provisional) Snapshot() (store.Reader, func(), error) {
	view, release, err := store.Snapshot(p.from)
	return &provisional{view, p.reads}, release, err
}
