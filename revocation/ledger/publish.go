package ledger

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"time"

	"tokenbroker/revocation"
)

// A committed batch takes two steps: the Hub reads and signs it (follow), the Publisher sends it to the
// network (publish).

// update replaces the snapshot and wakes all goroutines that wait for it.
func (h *Hub) update(change func(*hubState)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	old := h.now.Load()
	s := *old
	s.changed = make(chan struct{})
	change(&s)
	h.now.Store(&s)
	close(old.changed)
}

// follow advances the snapshot to the ledger's head.
func (h *Hub) follow(ctx context.Context) {
	backoff := firstBackoff
	for {
		head, moved := h.ledger.last()
		cursor := h.now.Load().head
		if cursor >= head {
			select {
			case <-moved:
				continue
			case <-ctx.Done():
				return
			}
		}
		messages, next, err := h.read(ctx, cursor, min(head-cursor, publishAtOnce))
		if ctx.Err() != nil && err != nil {
			return
		}
		h.report(err)
		if err != nil {
			if !backOff(ctx, backoff, nil) {
				return
			}
			backoff = min(2*backoff, maxBackoff)
			continue
		}
		backoff = firstBackoff
		h.extend(messages, next)
		if slices.ContainsFunc(messages, func(m message) bool { return m.origin != h.ledger.Origin() }) {
			signal(h.headsMoved)
		}
	}
}

// extend adds the batches up to head to the snapshot. Snapshots share an array, but a reader of one sees
// only the elements that were written before it was stored.
func (h *Hub) extend(messages []message, head uint64) {
	h.update(func(s *hubState) {
		if len(messages) == 0 { // they were collected, which leaves a gap
			s.tail, s.size, s.from = nil, 0, head
		}
		s.head = head
		s.tail = append(s.tail, messages...)
		for _, m := range messages {
			s.size += len(m.jws)
		}
		for len(s.tail) > tailBatches || (s.size > tailBytes && len(s.tail) > 1) {
			s.size -= len(s.tail[0].jws)
			s.from = s.tail[0].index
			s.tail = s.tail[1:]
		}
	})
}

// after returns up to limit of the signed batches after cursor, if the snapshot has them.
func (s *hubState) after(cursor, limit uint64) ([]message, bool) {
	if cursor >= s.head || cursor < s.from {
		return nil, false
	}
	i := sort.Search(len(s.tail), func(i int) bool { return s.tail[i].index > cursor })
	tail := s.tail[i:]
	return tail[:min(uint64(len(tail)), limit)], len(tail) > 0
}

// read takes up to limit batches after cursor from memory or the ledger and signs them. If
// they were collected, messages is empty and next is the cursor after them.
func (h *Hub) read(ctx context.Context, cursor, limit uint64) (messages []message, next uint64, err error) {
	batches, next, err := h.ledger.indexed(ctx, cursor, limit)
	if err != nil {
		return nil, cursor, fmt.Errorf("reading batches after %d: %w", cursor, err)
	}
	messages = make([]message, len(batches))
	ack := h.ack()
	for i, b := range batches {
		b.Ack = ack && b.Origin == h.ledger.Origin()
		jws, err := h.sign(revocation.BatchType, b.Batch)
		if err != nil {
			return nil, cursor, fmt.Errorf("signing batch %d: %w", b.Seq, err)
		}
		messages[i] = message{index: b.index, origin: b.Origin, seq: b.Seq, position: b.position, jws: jws}
	}
	return messages, next, nil
}

// report writes a line when signing starts or stops failing.
func (h *Hub) report(err error) {
	switch was := h.failing.Swap(err != nil); {
	case err != nil && !was:
		h.logger.Error("committed revocations cannot be sent; they are kept and retried, services learn of them by catch-up", "error", err)
	case err == nil && was:
		h.logger.Info("committed revocations can be sent again")
	}
}

// backOff waits for a random time between d/2 and d, or until wake delivers. It reports whether ctx is
// still running.
func backOff(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	timer := time.NewTimer(d/2 + rand.N(d/2)) //nolint:gosec // jitter
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-wake:
		return true
	case <-ctx.Done():
		return false
	}
}

// Flushed waits until this broker's batch of that origin with that sequence number was sent to the network, or ctx ends. It
// reports whether the batch was sent. A batch of an earlier origin ([Ledger.Rejoin]) is not sent any more.
func (p *Publisher) Flushed(ctx context.Context, origin string, seq uint64) bool {
	for {
		p.mu.Lock()
		flushed, moved := p.flushed, p.moved
		if p.origin != origin {
			flushed = 0
		}
		p.mu.Unlock()
		switch {
		case flushed >= seq:
			return true
		case p.config.Ledger.Origin() != origin:
			return false
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return false
		case <-p.ended:
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.origin == origin && p.flushed >= seq
		}
	}
}

// publish advances the cursor to the head of the signed batches.
func (p *Publisher) publish(ctx context.Context) {
	backoff := firstBackoff
	for {
		s := p.hub.now.Load()
		cursor := p.cursor()
		if cursor >= s.head {
			select {
			case <-s.changed:
				continue
			case <-ctx.Done():
				return
			}
		}
		next, err := p.send(ctx, s, cursor)
		if ctx.Err() != nil && err != nil {
			return
		}
		p.report(err)
		if err != nil {
			if !backOff(ctx, backoff, p.retry) {
				return
			}
			backoff = min(2*backoff, maxBackoff)
			continue
		}
		backoff = firstBackoff
		p.advance(next)
	}
}

// send publishes some batches after cursor and flushes. It returns the new cursor.
func (p *Publisher) send(ctx context.Context, s *hubState, cursor uint64) (uint64, error) {
	if first := p.config.Ledger.firstKept(); first > cursor+1 {
		return first - 1, nil // collected before the network accepted it
	}
	messages, ok := s.after(cursor, publishAtOnce)
	if !ok {
		var err error
		if messages, cursor, err = p.hub.read(ctx, cursor, min(s.head-cursor, publishAtOnce)); err != nil {
			return cursor, err
		}
	}
	own := p.config.Ledger.Origin()
	for _, m := range messages {
		if m.origin == own { // the other brokers publish theirs
			if err := p.config.Bus.Publish(revocation.BatchSubject+own, m.jws); err != nil {
				return cursor, fmt.Errorf("publishing batch %d: %w", m.seq, err)
			}
		}
		cursor = m.index
	}
	flush, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	if err := p.config.Bus.Flush(flush); err != nil {
		return cursor, fmt.Errorf("flushing batches: %w", err)
	}
	return cursor, nil
}

func (p *Publisher) cursor() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent
}

func (p *Publisher) advance(sent uint64) {
	origin, flushed := p.config.Ledger.ownAt(sent)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent, p.origin, p.flushed = sent, origin, flushed
	close(p.moved)
	p.moved = make(chan struct{})
}

// report writes a line when publishing starts or stops failing.
func (p *Publisher) report(err error) {
	switch was := p.failing.Swap(err != nil); {
	case err != nil && !was:
		p.config.Logger.Warn("publishing revocations fails; they are kept and retried, services learn of them by catch-up", "error", err)
	case err == nil && was:
		p.config.Logger.Info("publishing revocations works again")
	}
}

// heartbeats publishes each heartbeat of the hub, but only the newest if the network was too slow.
func (p *Publisher) heartbeats(ctx context.Context) {
	failing := false
	for sent := uint64(0); ; {
		s := p.hub.now.Load()
		if s.beats > sent {
			sent = s.beats
			err := p.config.Bus.Publish(revocation.HeartbeatSubject+p.config.Ledger.Origin(), s.beat)
			if err != nil && !failing {
				p.config.Logger.Warn("sending heartbeats fails", "error", err)
			}
			failing = err != nil
			continue
		}
		select {
		case <-s.changed:
		case <-ctx.Done():
			return
		}
	}
}
