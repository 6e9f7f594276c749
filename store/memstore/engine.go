package memstore

import (
	"context"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tokenbroker/store"
)

var (
	_ store.Engine      = (*Handle)(nil)
	_ store.Snapshotter = (*Handle)(nil)
	_ store.Sweeper     = (*Handle)(nil)
)

// Engine is a store in memory that several brokers share. Each uses it through a [Handle]. It judges a commit
// as etcd does: each change on the state before the commit, and the changes with events as one group. It
// has no goroutines, so that a simulation on one goroutine is deterministic. It is safe for concurrent use.
type Engine struct {
	table    *table
	replaced bool // see [Primary.Replace]

	mu      sync.Mutex
	limit   int // of operations in a commit; zero is none
	handles []*Handle
	kept    []func() // deliver what is on its way
}

// NewEngine returns an empty engine whose records expire by the clock now. If now is nil, time.Now is used.
func NewEngine(now func() time.Time) *Engine { return &Engine{table: newTable(now)} }

// Limit sets the number of operations of one commit: each write and each event of its changes is one. The changes that
// exceed it get [store.ErrTooBig]. Zero is no limit.
func (e *Engine) Limit(operations int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.limit = operations
}

// Open returns a connection of one broker. For each operation faults decides whether it fails; if nil, none
// does. It is called without a lock held, and may use other handles.
func (e *Engine) Open(faults func(Op) Fault) *Handle {
	if faults == nil {
		faults = func(Op) Fault { return OK }
	}
	h := &Handle{faults: faults}
	h.engine.Store(e)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.handles = append(e.handles, h)
	return h
}

// Handle is one broker's connection to an [Engine]. It implements [store.Engine] and is safe for concurrent use.
// Its commits are serialized.
type Handle struct {
	engine     atomic.Pointer[Engine] // a replaced one after [Primary.Replace]
	faults     func(Op) Fault
	hints      store.Hints
	committing sync.Mutex
}

// CommitFenced implements [store.Engine].
func (h *Handle) CommitFenced(ctx context.Context, fence store.Fence, changes []store.Change, seal store.Seal) (store.Revision, []error) {
	h.committing.Lock()
	defer h.committing.Unlock()
	errs := make([]error, len(changes))
	if err := ctx.Err(); err != nil {
		return 0, store.FailRest(errs, err)
	}
	engine := h.engine.Load()
	t, err := engine.prepare(fence, changes, errs, seal)
	if err != nil {
		return 0, store.FailRest(errs, err)
	}
	fault := h.faults(Op{Kind: OpCommit, Key: fence.Key, Fence: fence, Changes: changes})
	switch fault {
	case Refuse:
		return 0, store.FailRest(errs, store.ErrUnavailable)
	case Keep:
		engine.keep(t)
		return 0, store.FailRest(errs, errLost)
	case Duplicate:
		engine.keep(t)
	}
	answer := engine.apply(t)
	if fault == LoseAnswer || engine.replaced {
		return 0, store.FailRest(errs, errLost)
	}
	for i, err := range answer.errs {
		if errs[i] == nil {
			errs[i] = err
		}
	}
	return answer.revision, errs
}

// Follow implements [store.Engine].
func (h *Handle) Follow(ctx context.Context, prefix string) <-chan struct{} {
	return h.hints.Follow(ctx, prefix)
}

// Get implements [store.Reader].
func (h *Handle) Get(ctx context.Context, key string) (store.Record, error) {
	return h.reader().Get(ctx, key)
}

// GetMany implements [store.Reader].
func (h *Handle) GetMany(ctx context.Context, keys []string) ([]store.Record, error) {
	var records []store.Record
	for part := range slices.Chunk(keys, store.MaxMany) {
		got, err := h.reader().GetMany(ctx, part)
		if err != nil {
			return nil, err
		}
		records = append(records, got...)
	}
	return records, nil
}

// List implements [store.Reader].
func (h *Handle) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	return h.reader().List(ctx, prefix, after, limit)
}

// Each calls fn for every record whose key begins with prefix, in key order and as of one view: as a blind write, with
// the expiry, for another store. fn owns the value. Its error ends Each and is returned.
func (h *Handle) Each(ctx context.Context, prefix string, fn func(store.Write) error) error {
	v, err := h.reader().at(OpList, prefix)
	if err != nil {
		return err
	}
	records, err := v.List(ctx, prefix, "", math.MaxInt)
	if err != nil {
		return err
	}
	for _, r := range records {
		w := store.Write{Key: r.Key, Value: r.Value, Blind: true, ExpiresAt: v.records[r.Key].expiresAt}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := fn(w); err != nil {
			return err
		}
	}
	return nil
}

// Expired implements [store.Sweeper].
func (h *Handle) Expired(ctx context.Context, before int64, after string, limit int) (records []store.Record, next string, err error) {
	v, err := h.reader().at(OpList, "")
	if err != nil {
		return nil, "", err
	}
	return v.expired(ctx, before, after, limit)
}

// Snapshot implements [store.Snapshotter]. The view is that of its first read.
func (h *Handle) Snapshot() (store.Reader, func(), error) { return h.reader(), func() {}, nil }

func (h *Handle) reader() *reader { return &reader{handle: h} }

// reader reads one view: the records as they are at the first read.
type reader struct {
	handle *Handle
	view   *view
}

// at returns the view, or the error of a read that fails.
func (r *reader) at(kind OpKind, key string) (view, error) {
	switch r.handle.faults(Op{Kind: kind, Key: key}) {
	case OK, Duplicate:
	default:
		return view{}, store.ErrUnavailable
	}
	if r.view == nil {
		now := r.handle.engine.Load().table.snapshot()
		r.view = &now
	}
	return *r.view, nil
}

func (r *reader) Get(ctx context.Context, key string) (store.Record, error) {
	v, err := r.at(OpGet, key)
	if err != nil {
		return store.Record{}, err
	}
	return v.Get(ctx, key)
}

func (r *reader) GetMany(ctx context.Context, keys []string) ([]store.Record, error) {
	v, err := r.at(OpGetMany, "")
	if err != nil {
		return nil, err
	}
	return v.GetMany(ctx, keys)
}

func (r *reader) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	v, err := r.at(OpList, prefix)
	if err != nil {
		return nil, err
	}
	return v.List(ctx, prefix, after, limit)
}
