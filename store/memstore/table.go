package memstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"tokenbroker/store"
)

type record struct {
	value     []byte
	revision  store.Revision
	expiresAt int64
}

// table is the records and their last revision.
type table struct {
	now func() time.Time

	mu       sync.RWMutex
	records  map[string]record
	shared   bool // records belongs to a snapshot, so that the next write copies it
	revision store.Revision
	commits  int
}

func newTable(now func() time.Time) *table {
	if now == nil {
		now = time.Now
	}
	return &table{now: now, records: make(map[string]record)}
}

// view returns the present records. The caller holds mu while it uses them.
func (t *table) view() view { return view{records: t.records, now: t.now} }

// snapshot returns the present records, which do not change.
func (t *table) snapshot() view {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shared = true
	return t.view()
}

// last returns the revision of the last commit.
func (t *table) last() store.Revision {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.revision
}

// apply writes what was accepted and returns the revision. The caller holds mu.
func (t *table) apply(written map[string]store.Write) store.Revision {
	if len(written) == 0 {
		return 0
	}
	if t.shared {
		t.records, t.shared = maps.Clone(t.records), false
	}
	t.revision++
	t.commits++
	for key, w := range written {
		if w.Delete {
			delete(t.records, key)
			continue
		}
		t.records[key] = record{value: slices.Clone(w.Value), revision: t.revision, expiresAt: w.ExpiresAt}
	}
	return t.revision
}

// view implements [store.Reader] with a map.
type view struct {
	records map[string]record
	now     func() time.Time
	sweeps  bool // a delete may expect the revision of an expired record
}

// live returns the record of key unless it has expired.
func (v view) live(key string) (record, bool) {
	r, ok := v.records[key]
	if !ok || r.expiresAt != 0 && r.expiresAt <= v.now().Unix() {
		return record{}, false
	}
	return r, true
}

func (v view) Get(ctx context.Context, key string) (store.Record, error) {
	if err := ctx.Err(); err != nil {
		return store.Record{}, err
	}
	r, ok := v.live(key)
	if !ok {
		return store.Record{}, store.ErrNotFound
	}
	return store.Record{Key: key, Value: append([]byte{}, r.value...), Revision: r.revision}, nil
}

func (v view) GetMany(ctx context.Context, keys []string) ([]store.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	records := make([]store.Record, len(keys))
	for i, key := range keys {
		records[i].Key = key
		if r, ok := v.live(key); ok {
			records[i].Value, records[i].Revision = append([]byte{}, r.value...), r.revision
		}
	}
	return records, nil
}

func (v view) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var keys []string
	for key := range v.records {
		if !strings.HasPrefix(key, prefix) || key <= after {
			continue
		}
		if _, ok := v.live(key); ok {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	if len(keys) > max(limit, 0) {
		keys = keys[:max(limit, 0)]
	}
	var records []store.Record
	for _, key := range keys {
		r := v.records[key]
		records = append(records, store.Record{Key: key, Value: append([]byte{}, r.value...), Revision: r.revision})
	}
	return records, nil
}

func (v view) expired(ctx context.Context, before int64, after string, limit int) (records []store.Record, next string, err error) {
	var keys []string
	for key := range v.records {
		if key > after {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	if len(keys) > limit {
		keys = keys[:limit]
		next = keys[limit-1]
	}
	for _, key := range keys {
		if r := v.records[key]; r.expiresAt != 0 && r.expiresAt <= before {
			records = append(records, store.Record{Key: key, Revision: r.revision})
		}
	}
	return records, next, ctx.Err()
}

// validate returns an error if no record can have the key of one of writes.
func validate(writes []store.Write) error {
	for _, w := range writes {
		if w.Key == "" || w.Key[0] == 0 || len(w.Key) > store.MaxKeySize {
			return fmt.Errorf("committing: %.40q is not a key", w.Key)
		}
	}
	return nil
}

// accept adds writes to written if each of them meets its expectation, otherwise none.
func (v view) accept(writes []store.Write, written map[string]store.Write) error {
	if err := validate(writes); err != nil {
		return err
	}
	own := make(map[string]store.Write, len(writes))
	for _, w := range writes {
		if !w.Blind {
			before, touched := own[w.Key]
			if !touched {
				before, touched = written[w.Key]
			}
			r, ok := v.live(w.Key)
			if v.sweeps && w.Delete && w.Expect != 0 {
				r, ok = v.records[w.Key]
			}
			switch {
			case touched && (!before.Delete || w.Expect != 0):
				return store.ErrConflict
			case !touched && ok && r.revision != w.Expect, !touched && !ok && w.Expect != 0:
				return store.ErrConflict
			}
		}
		own[w.Key] = w
	}
	maps.Copy(written, own)
	return nil
}

var errNoSeal = errors.New("committing: revocation events without a seal")
