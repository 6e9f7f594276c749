package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/store"
)

// collectAtOnce is how many records one commit of a collection deletes.
const collectAtOnce = 500

// Run collects at the configured pace until ctx ends, and watches the clock. On a shared engine it also follows what the
// other brokers record. It returns nil then, or an error that wraps [store.ErrUncertain] or [origins.ErrRewound]: the
// process has to end.
func (l *Ledger) Run(ctx context.Context) error {
	if l.shared == nil {
		return l.run(ctx, nil)
	}
	ctx, cancel := context.WithCancel(ctx)
	var following sync.WaitGroup
	following.Go(func() { l.shared.follow(ctx) })
	defer following.Wait()
	defer cancel()
	return l.run(ctx, l.shared.fatal)
}

func (l *Ledger) run(ctx context.Context, fatal <-chan error) error {
	ticker := time.NewTicker(l.config.CollectEvery)
	defer ticker.Stop()
	for {
		l.checkClock()
		stepped := l.stepped
		if err := l.ResetTimeFloor(ctx); errors.Is(err, store.ErrUncertain) {
			return err
		} else if err != nil && ctx.Err() == nil {
			l.config.Logger.Error("the clock is not trusted, and not all users could be signed out yet", "error", err)
			stepped = nil // until the next tick
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-fatal:
			return err
		case <-stepped:
			continue
		case <-ticker.C:
		}
		n, err := l.Collect(ctx)
		switch {
		case errors.Is(err, store.ErrUncertain):
			return err
		case err != nil && ctx.Err() == nil:
			l.config.Logger.Warn("collecting the ledger", "error", err)
		case n > 0:
			l.config.Logger.Debug("collected the ledger", "records", n)
		}
	}
}

// Collect deletes expired records and returns their number. A record is deleted only when the broker's
// clock is past its end and its full length has passed on the monotonic clock since this process wrote or
// loaded it. The time floor moves in the same commit, so no step of the wall clock, forward or back, makes
// a revoked token valid again. On a shared engine one broker at a time deletes, by the smallest clock of the live ones; the
// others only drop what they have in memory.
func (l *Ledger) Collect(ctx context.Context) (int, error) {
	l.collecting.Lock()
	defer l.collecting.Unlock()
	c := &collection{ledger: l, now: l.Now().Unix(), mono: l.config.Mono()}
	var err error
	if l.shared != nil {
		c.collected, err = l.shared.collect(ctx)
	} else {
		err = c.run(ctx)
	}
	l.collected.Add(uint64(c.collected))
	l.config.Denylist.Collect(l.TimeFloor())
	if err != nil {
		return c.collected, fmt.Errorf("collecting the ledger: %w", err)
	}
	return c.collected, nil
}

// Collected returns the number of expired records that this process has deleted.
func (l *Ledger) Collected() uint64 { return l.collected.Load() }

// collection is one run of [Ledger.Collect].
type collection struct {
	ledger *Ledger
	now    int64         // the broker's clock
	mono   time.Duration // the monotonic clock

	deletes   []store.Change
	floor     int64 // the newest end among deletes
	collected int
	failed    []error // of the records that cannot be read
}

func (c *collection) run(ctx context.Context) error {
	if err := c.scan(ctx, eventPrefix, pageSize, c.event); err != nil {
		return err
	}
	if err := c.scan(ctx, batchPrefix, batchPage, c.foreignBatch); err != nil {
		return err
	}
	c.ledger.unreadable.note(c.ledger.config.Logger, c.failed)
	return c.ownBatches(ctx)
}

// scan deletes the records below prefix that have expired according to judge, which returns their end. A
// record that cannot be read is kept: it may revoke something, and no full answer is made without it. The
// others are collected nevertheless.
func (c *collection) scan(ctx context.Context, prefix string, limit int, judge func(store.Record) (over bool, end int64, err error)) error {
	for after := ""; ; {
		page, err := c.ledger.config.Store.List(ctx, prefix, after, limit)
		if err != nil {
			return err
		}
		for _, r := range page {
			over, end, err := judge(r)
			if err != nil {
				c.failed = append(c.failed, err)
				continue
			}
			if over {
				// The revision: a stronger event may have been written since.
				if err := c.delete(ctx, store.Write{Key: r.Key, Delete: true, Expect: r.Revision}, end); err != nil {
					return err
				}
			}
		}
		if len(page) < limit {
			return c.flush(ctx)
		}
		after = page[len(page)-1].Key
	}
}

func (c *collection) event(r store.Record) (bool, int64, error) {
	rec, err := decodeEvent(r)
	if err != nil {
		return false, 0, err
	}
	end := rec.Event.ExpiresAt
	return c.now > end && c.ledger.heldSince(rec.Origin, rec.Seq)+length(rec.Event) <= c.mono, end, nil
}

// heldSince returns the monotonic time at which this process wrote or loaded what a batch
// recorded.
func (l *Ledger) heldSince(origin string, seq uint64) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if origin != l.origin || seq < l.first { // loaded at the start, or older than every kept batch
		return l.opened
	}
	if seq > l.head { // on disk, but its commit is not yet acknowledged
		return l.config.Mono()
	}
	return l.batches[seq-l.first].written
}

// foreignBatch judges a batch of a process that ended.
func (c *collection) foreignBatch(r store.Record) (bool, int64, error) {
	if strings.HasPrefix(r.Key, batchPrefix+c.ledger.origin+".") {
		return false, 0, nil
	}
	var b revocation.Batch
	if err := decode(r, &b, &b.V); err != nil {
		return false, 0, err
	}
	var end int64
	for _, e := range b.Events {
		end = max(end, e.ExpiresAt)
		if c.now <= e.ExpiresAt || c.ledger.opened+length(e) > c.mono {
			return false, 0, nil
		}
	}
	return true, end, nil
}

// ownBatches deletes the oldest batches of this origin, up to the first that has not expired.
func (c *collection) ownBatches(ctx context.Context) error {
	l := c.ledger
	l.mu.Lock()
	first := l.first
	n := 0
	for n < len(l.batches) && c.now > l.batches[n].end && l.batches[n].written+l.batches[n].length <= c.mono {
		n++
	}
	ends := l.batches[:n:n]
	l.mu.Unlock()
	for i, info := range ends {
		w := store.Write{Key: batchKey(l.origin, first+uint64(i)), Delete: true, Blind: true}
		if err := c.delete(ctx, w, info.end); err != nil {
			return err
		}
	}
	if err := c.flush(ctx); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.first += uint64(n)
	l.batches = append([]batchInfo(nil), l.batches[n:]...)
	return nil
}

func (c *collection) delete(ctx context.Context, w store.Write, end int64) error {
	c.deletes = append(c.deletes, store.Change{Writes: []store.Write{w}})
	c.floor = max(c.floor, end)
	if len(c.deletes) < collectAtOnce {
		return nil
	}
	return c.flush(ctx)
}

// flush commits the deletions with the time floor. It raises the floor in memory first, so that a reader
// that misses a record sees the floor that covers it.
func (c *collection) flush(ctx context.Context) error {
	if len(c.deletes) == 0 {
		return nil
	}
	l := c.ledger
	l.raiseTimeFloor(c.floor)
	unix := l.TimeFloor()
	floor := store.Write{
		Key: timeFloorKey, Blind: true,
		Value: encode(timeFloorRecord{V: version, TimeFloor: unix}),
	}
	changes := append([]store.Change{{Writes: []store.Write{floor}}}, c.deletes...)
	for i, err := range l.config.Store.Commit(ctx, changes, nil) {
		switch {
		case err == nil && i == 0:
			l.recordedFloor.Store(unix)
		case err == nil:
			c.collected++
		case !errors.Is(err, store.ErrConflict):
			return err
		}
	}
	c.deletes = c.deletes[:0]
	return nil
}

// unreadable is how many records the last collection could not read.
type unreadable struct{ count atomic.Int64 }

// note logs an error whenever the number of unreadable records changes.
func (u *unreadable) note(logger *slog.Logger, failed []error) {
	now := int64(len(failed))
	was := u.count.Swap(now)
	if now > 0 && now != was {
		logger.Error("records of the ledger cannot be read: they are kept, and services that need them to catch up are refused",
			"records", now, "first", failed[0])
	}
	if now == 0 && was > 0 {
		logger.Info("every record of the ledger can be read again")
	}
}

// Unreadable returns the number of records that the last collection could not read. They are never
// collected. While there are any, no full answer is made and the ledger cannot be opened again, because it
// is not known what they revoke.
func (l *Ledger) Unreadable() int { return int(l.unreadable.count.Load()) }
