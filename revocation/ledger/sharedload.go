package ledger

import (
	"context"
	"runtime"
	"sync"
	"time"

	"tokenbroker/store"
	"tokenbroker/store/origins"
)

const (
	// maxBatchPage is how many batches are read at a time while they are small.
	maxBatchPage  = 512
	smallPageSize = 1 << 20 // bytes of a page after which the next one may have twice the batches
)

// readOrigin reads the batches of an origin that the memory lacks.
func (s *sharedRecord) readOrigin(ctx context.Context, o origins.Origin) error {
	err := eachPage(ctx, s.l.config.Store, batchPrefix+o.ID+".", batchKey(o.ID, s.head(o.ID)), func(records []store.Record) error {
		return s.load(o.ID, records)
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.log.origin(o.ID); known.head < o.Head {
		known.head, s.gap = o.Head, true
	}
	return nil
}

// eachPage passes the batches below prefix and after a key to fn, one page at a time. It reads the next page while
// fn processes one.
func eachPage(ctx context.Context, r store.Reader, prefix, after string, fn func([]store.Record) error) error {
	ctx, cancel := context.WithCancel(ctx)
	limit := batchPage
	next := readPage(ctx, r, prefix, after, limit)
	defer func() {
		cancel()
		if next != nil {
			<-next
		}
	}()
	for next != nil {
		p := <-next
		next = nil
		if p.err != nil {
			return p.err
		}
		if len(p.records) == limit {
			limit = nextLimit(p.records)
			next = readPage(ctx, r, prefix, p.records[len(p.records)-1].Key, limit)
		}
		if err := fn(p.records); err != nil {
			return err
		}
	}
	return nil
}

// nextLimit returns how many batches to read after a full page.
func nextLimit(page []store.Record) int {
	size := 0
	for _, r := range page {
		size += len(r.Value)
	}
	switch limit := len(page); {
	case size <= smallPageSize:
		return min(2*limit, maxBatchPage)
	case size > pageBytes:
		return max(limit/2, batchPage)
	default:
		return limit
	}
}

// decoded is a batch that was read, or the error.
type decoded struct {
	entry   entry
	storeID string
	err     error
}

// load takes over batches of an origin in their order: first into the denylist, then into the log. It stops
// at one that cannot be read: what it revokes is not known, so the origin's head stays below it.
func (s *sharedRecord) load(origin string, records []store.Record) error {
	batches := decodeAll(records, origin, s.l.config.Mono())
	loader := s.l.config.Denylist.Loader()
	entries := make([]entry, 0, len(batches))
	var failed error
	replaced := false
	for _, b := range batches {
		if failed = b.err; failed == nil {
			failed = b.entry.each(func(event []byte, _ string) error { return loader.AddEncoded(event) })
		}
		if failed != nil {
			break
		}
		replaced = replaced || b.storeID != s.l.storeID
		entries = append(entries, b.entry)
	}
	loader.Flush()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gap = s.log.add(origin, entries...) || s.gap
	if replaced {
		s.log.origin(origin).replaced = true
	}
	s.wake()
	s.noteUnreadable(origin, failed)
	return failed
}

// noteUnreadable records whether the next batch of an origin can be read. The caller holds mu.
func (s *sharedRecord) noteUnreadable(origin string, err error) {
	if delete(s.bad, origin); err != nil {
		s.bad[origin] = err
	}
	var all []error
	for _, err := range s.bad {
		all = append(all, err)
	}
	s.l.unreadable.note(s.l.config.Logger, all)
}

// decodeAll decodes batches, several at a time.
func decodeAll(records []store.Record, origin string, loaded time.Duration) []decoded {
	all := make([]decoded, len(records))
	workers := min(runtime.GOMAXPROCS(0), scanners, len(records))
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for i := w; i < len(records); i += workers {
				all[i].entry, all[i].storeID, all[i].err = decodeBatch(records[i], origin, loaded)
			}
		})
	}
	group.Wait()
	return all
}
