package watch

import (
	"context"
	"sync"
	"time"

	"tokenbroker/api/admin"
	"tokenbroker/broker/receipts"
	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
)

const (
	// flushPatience is how long a batch is held back until it is sent to NATS, appliedPatience how
	// long to wait for its services. Both count from the commit of the batch, so that the waits of
	// several batches do not add up.
	flushPatience   = 250 * time.Millisecond
	appliedPatience = 2 * time.Second
	// batchesAtOnce is the number of batches that are read from the ledger at a time.
	batchesAtOnce = 4
	// waitingBatches is the number of batches that may wait for their services; the next one is shown later.
	waitingBatches = 256
	// retryPause is the pause after an error of reading the ledger.
	retryPause = time.Second
)

// Run shows events while there are watchers, until ctx ends. It then closes the hub and returns nil. It must
// be called at most once.
func (h *Hub) Run(ctx context.Context) error {
	defer h.Close()
	for {
		for h.Watchers() == 0 {
			select {
			case <-h.woken:
			case <-ctx.Done():
				return nil
			}
		}
		h.feed(ctx)
		if ctx.Err() != nil {
			return nil
		}
	}
}

// feed shows events until there are no watchers or ctx ends.
func (h *Hub) feed(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	batches := make(chan shownBatch, waitingBatches)
	var parts sync.WaitGroup
	parts.Go(func() { h.follow(ctx, batches) })
	parts.Go(func() { h.applied(ctx, batches) })
	parts.Go(func() { h.watchServices(ctx) })
	for ctx.Err() == nil && h.Watchers() > 0 {
		select {
		case <-h.woken:
		case <-ctx.Done():
		}
	}
	cancel()
	parts.Wait()
	close(batches)
	for b := range batches {
		b.services.End(ctx)
	}
}

// shownBatch is a batch that waits for its services.
type shownBatch struct {
	batchID
	written  time.Duration
	services *receipts.Wait
	shown    chan struct{} // closed when the batch itself has been shown
}

// follow shows the batches as they are committed.
func (h *Hub) follow(ctx context.Context, batches chan<- shownBatch) {
	h.mu.Lock()
	at := h.from
	h.mu.Unlock()
	failing := false
	for ctx.Err() == nil {
		page, err := h.config.Ledger.Follow(ctx, at.origin, at.seq, batchesAtOnce)
		if err != nil {
			if ctx.Err() == nil && !failing {
				h.config.Logger.Error("revocations cannot be shown to watchers", "error", err)
			}
			failing = true
			pause(ctx, retryPause)
			continue
		}
		failing = false
		for _, b := range page {
			at = batchID{b.Origin, b.Seq}
			shown := shownBatch{at, b.Written, h.config.Receipts.Begin(b.Written, map[string]uint64{b.Origin: b.Seq}), make(chan struct{})}
			select {
			case batches <- shown:
			case <-ctx.Done():
				shown.services.End(ctx)
				return
			}
			h.showBatch(ctx, b)
			close(shown.shown)
		}
	}
}

// namedEvents is how many events of a batch are shown with the names of their users: each name is a look-up.
const namedEvents = 20

// usernames returns the names of the events' users, by the events' values.
func (h *Hub) usernames(ctx context.Context, events []revocation.Event) map[string]string {
	if h.config.Username == nil {
		return nil
	}
	names := map[string]string{}
	for _, e := range events[:min(len(events), namedEvents)] {
		if name := h.config.Username(ctx, e); name != "" {
			names[e.Value] = name
		}
	}
	return names
}

// showBatch shows a batch when it has been sent to NATS, or after flushPatience.
func (h *Hub) showBatch(ctx context.Context, b ledger.CommittedBatch) {
	wait, cancel := context.WithTimeout(ctx, b.Written+flushPatience-h.config.Mono())
	defer cancel()
	v := admin.WatchRevocation{Type: admin.WatchTypeRevocation, Origin: b.Origin, Seq: b.Seq, Events: b.Events, Users: h.usernames(ctx, b.Events)}
	flushed := h.config.Broadcast.Flushed(wait, b.Origin, b.Seq)
	age := max(h.config.Mono()-b.Written, 0)
	if flushed {
		ms := age.Milliseconds()
		v.FlushedMS = &ms
	}
	v.At = h.config.Ledger.Now().Add(-age).UTC().Truncate(time.Millisecond)
	h.show(h.encode(v.Type, batchID{b.Origin, b.Seq}, v))
}

// applied shows how many services have applied each batch, in the order of the batches.
func (h *Hub) applied(ctx context.Context, batches <-chan shownBatch) {
	for {
		var b shownBatch
		select {
		case b = <-batches:
		case <-ctx.Done():
			return
		}
		wait, cancel := context.WithTimeout(ctx, b.written+appliedPatience-h.config.Mono())
		s := b.services.End(wait)
		cancel()
		select {
		case <-b.shown:
		case <-ctx.Done():
			return
		}
		v := admin.WatchApplied{
			Type: admin.WatchTypeApplied, Origin: b.origin, Seq: b.seq,
			Applied: s.Applied, Of: s.Of, SlowestMS: s.SlowestMS, Laggards: s.Laggards,
		}
		h.show(h.encode(v.Type, b.batchID, v))
	}
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
