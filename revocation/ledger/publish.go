package ledger

import (
	"context"
	"fmt"
	"math/rand/v2"
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
		head, moved := h.ledger.headMoved()
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
	}
}

// extend adds the batches up to head to the snapshot. Snapshots share an array, but a reader of one sees
// only the elements that were written before it was stored.
func (h *Hub) extend(messages []message, head uint64) {
	h.update(func(s *hubState) {
		if len(messages) == 0 { // they were collected, which leaves a gap
			s.tail, s.size = nil, 0
		}
		s.head = head
		s.tail = append(s.tail, messages...)
		for _, m := range messages {
			s.size += len(m.jws)
		}
		for len(s.tail) > tailBatches || (s.size > tailBytes && len(s.tail) > 1) {
			s.size -= len(s.tail[0].jws)
			s.tail = s.tail[1:]
		}
	})
}

// after returns up to limit of the signed batches after cursor, if the snapshot has them.
func (s *hubState) after(cursor, limit uint64) ([]message, bool) {
	if len(s.tail) == 0 || cursor >= s.head || s.tail[0].seq > cursor+1 {
		return nil, false
	}
	tail := s.tail[cursor+1-s.tail[0].seq:]
	return tail[:min(uint64(len(tail)), limit)], true
}

// read takes up to limit batches of this origin after cursor from memory or the ledger and signs them. If
// they were collected, messages is empty and next is the cursor after them.
func (h *Hub) read(ctx context.Context, cursor, limit uint64) (messages []message, next uint64, err error) {
	batches := h.ledger.recentBatches(cursor, limit)
	if len(batches) == 0 {
		batches, err = h.ledger.readBatches(ctx, cursor, limit)
	}
	if err != nil {
		return nil, cursor, fmt.Errorf("reading batches after %d: %w", cursor, err)
	}
	if len(batches) == 0 {
		if first := h.ledger.firstKept(); first > cursor+1 {
			return nil, first - 1, nil
		}
		return nil, cursor, fmt.Errorf("batch %d is missing in the ledger", cursor+1)
	}
	messages = make([]message, len(batches))
	ack := h.ack()
	for i, b := range batches {
		b.Ack = ack
		jws, err := h.sign(revocation.BatchType, b)
		if err != nil {
			return nil, cursor, fmt.Errorf("signing batch %d: %w", b.Seq, err)
		}
		messages[i] = message{seq: b.Seq, jws: jws}
	}
	return messages, batches[len(batches)-1].Seq, nil
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

// Flushed waits until the batch with that sequence number was sent to the network, or ctx ends. It reports
// whether the batch was sent.
func (p *Publisher) Flushed(ctx context.Context, seq uint64) bool {
	for {
		p.mu.Lock()
		flushed, moved := p.flushed, p.moved
		p.mu.Unlock()
		if flushed >= seq {
			return true
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return false
		case <-p.ended:
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.flushed >= seq
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
	for _, m := range messages {
		if err := p.config.Bus.Publish(revocation.BatchSubject+p.config.Ledger.origin, m.jws); err != nil {
			return cursor, fmt.Errorf("publishing batch %d: %w", m.seq, err)
		}
		cursor = m.seq
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
	return p.flushed
}

func (p *Publisher) advance(flushed uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flushed = flushed
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
			err := p.config.Bus.Publish(revocation.HeartbeatSubject+p.config.Ledger.origin, s.beat)
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
