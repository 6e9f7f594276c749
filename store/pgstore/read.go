package pgstore

import (
	"bytes"
	"context"
	"fmt"

	"tokenbroker/store"
)

// reader reads with a connection and the primary that it has to name.
type reader interface {
	read(ctx context.Context, do func(context.Context, *conn, *primary) error) error
}

// records are the reads of a store or of a snapshot of it.
type records struct {
	store *Store
	from  reader
}

// Bounds of what one statement reads, so that its answer arrives in time.
const (
	firstPage = 200
	maxPage   = 2000
	pageBytes = 4 << 20
)

// nextPage returns how many records are read after a page.
func nextPage(page []store.Write) int {
	size := 0
	for _, w := range page {
		size += len(w.Key) + len(w.Value)
	}
	return min(max(pageBytes*len(page)/max(size, 1), 1), maxPage)
}

// Get implements [store.Reader].
func (s *Store) Get(ctx context.Context, key string) (store.Record, error) {
	return records{s, s}.Get(ctx, key)
}

// GetMany implements [store.Reader].
func (s *Store) GetMany(ctx context.Context, keys []string) ([]store.Record, error) {
	return records{s, s}.GetMany(ctx, keys)
}

// List implements [store.Reader].
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	if limit <= firstPage {
		return records{s, s}.List(ctx, prefix, after, limit)
	}
	view, release, err := s.Snapshot()
	if err != nil {
		return nil, err
	}
	defer release()
	return view.List(ctx, prefix, after, limit)
}

// Get implements [store.Reader].
func (v records) Get(ctx context.Context, key string) (store.Record, error) {
	found, err := v.GetMany(ctx, []string{key})
	switch {
	case err != nil:
		return store.Record{}, err
	case found[0].Revision == 0:
		return store.Record{}, store.ErrNotFound
	}
	return found[0], nil
}

// GetMany implements [store.Reader]. All keys are read as of one view.
func (v records) GetMany(ctx context.Context, keys []string) ([]store.Record, error) {
	wanted, first := array{of: bytea}, make(map[string]int, len(keys))
	for i, key := range keys {
		if _, again := first[key]; !again {
			first[key] = i
			wanted.bytes([]byte(key))
		}
	}
	var found []store.Record
	err := v.from.read(ctx, func(ctx context.Context, c *conn, p *primary) error {
		found = make([]store.Record, len(keys))
		now := v.store.config.Now().Unix()
		var a args
		a.int(p.server)
		a.array(&wanted)
		return query(ctx, c, v.store.sql.many, a, func(values [][]byte) error {
			if w, revision := recordOf(values); w.ExpiresAt == 0 || w.ExpiresAt > now {
				found[first[w.Key]] = store.Record{Value: w.Value, Revision: revision}
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("reading records: %w", err)
	}
	for i, key := range keys {
		if at := first[key]; at != i {
			found[i] = store.Record{Value: bytes.Clone(found[at].Value), Revision: found[at].Revision}
		}
		found[i].Key = key
	}
	return found, nil
}

// List implements [store.Reader].
func (v records) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	var list []store.Record
	for size := firstPage; limit > 0; {
		n := min(limit, size)
		page, err := v.page(ctx, prefix, after, n)
		if err != nil {
			return nil, fmt.Errorf("listing records below %q: %w", prefix, err)
		}
		for _, e := range page {
			list = append(list, store.Record{Key: e.Key, Value: e.Value, Revision: e.Expect})
		}
		if limit -= n; len(page) < n {
			break
		}
		after, size = list[len(list)-1].Key, nextPage(page)
	}
	return list, ctx.Err()
}

// page returns up to limit live records below prefix and after a key, with their revisions in Expect.
func (v records) page(ctx context.Context, prefix, after string, limit int) (page []store.Write, err error) {
	from := prefix
	if after != "" {
		from = max(prefix, after+"\x00")
	}
	sql, end := v.store.sql.list, prefixEnd(prefix)
	if end == nil {
		sql = v.store.sql.listAll
	}
	err = v.from.read(ctx, func(ctx context.Context, c *conn, p *primary) error {
		page = page[:0]
		var a args
		a.int(p.server)
		a.bytes([]byte(from))
		a.int(v.store.config.Now().Unix())
		a.int(int64(limit))
		if end != nil {
			a.bytes(end)
		}
		return query(ctx, c, sql, a, func(values [][]byte) error {
			w, revision := recordOf(values)
			w.Expect = revision
			page = append(page, w)
			return nil
		})
	})
	return page, err
}

// recordOf copies a record of a result.
func recordOf(values [][]byte) (w store.Write, revision store.Revision) {
	w = store.Write{Key: string(values[0]), Value: append([]byte{}, values[1]...), ExpiresAt: int64Of(values[3])}
	return w, store.Revision(int64Of(values[2]))
}

// prefixEnd returns the first key after those that begin with prefix, or nil if there is none.
func prefixEnd(prefix string) []byte {
	end := []byte(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return nil
}
