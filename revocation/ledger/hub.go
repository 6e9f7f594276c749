package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"tokenbroker/revocation"
)

// Errors of [Hub.Listen] and [Listener.Next].
var (
	ErrTooManyListeners = errors.New("too many listeners")
	ErrHubClosed        = errors.New("listeners are no longer served")
)

const (
	defaultListeners = 5000
	// tailBatches and tailBytes bound what is kept signed of the last batches. Who is
	// further behind reads the ledger.
	tailBatches = 1024
	tailBytes   = 8 << 20
	// historyReaders is how many listeners read the ledger and sign at a time.
	historyReaders = 2
)

// message is a signed batch. It is shared and never changed.
type message struct {
	seq uint64
	jws []byte
}

// Hub signs each batch and each heartbeat once and shows them to all that pass them
// on: the NATS loop of the [Publisher] and the listeners of the stream. It has no queues:
// each of them has a cursor, reads the newest state and, further back, the ledger. So none
// can make the Hub, or another, wait. Safe for concurrent use.
type Hub struct {
	ledger *Ledger
	sign   func(typ string, payload any) ([]byte, error)
	etag   func() string
	ack    func() bool
	logger *slog.Logger
	limit  int

	heartbeatWanted chan struct{} // wakes the heartbeat
	history         chan struct{} // a token for each reader of the ledger
	failing         atomic.Bool   // what was last logged of signing

	now atomic.Pointer[hubState]

	mu        sync.Mutex
	listeners int            // mu guards it, clients, and who replaces now
	clients   map[string]int // listeners by client
}

// hubState is an immutable snapshot.
type hubState struct {
	head    uint64    // every batch up to it was signed
	tail    []message // the last of them without a gap, up to head
	size    int       // bytes in tail
	beat    []byte    // the newest heartbeat
	beats   uint64    // its number, zero before the first
	closed  bool
	changed chan struct{} // closed when there is a newer snapshot
}

func newHub(config PublisherConfig) *Hub {
	h := &Hub{
		ledger: config.Ledger, sign: config.Sign, etag: config.JWKSETag, ack: config.WantAck, logger: config.Logger,
		limit:   config.MaxListeners,
		clients: map[string]int{}, heartbeatWanted: make(chan struct{}, 1), history: make(chan struct{}, historyReaders),
	}
	if h.limit <= 0 {
		h.limit = defaultListeners
	}
	h.now.Store(&hubState{changed: make(chan struct{})})
	return h
}

// update replaces the snapshot and wakes all that wait for it.
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

// Listeners returns how many there are now.
func (h *Hub) Listeners() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.listeners
}

// Close ends every listener at once and refuses new ones. Batches and heartbeats still go
// to the network.
func (h *Hub) Close() { h.update(func(s *hubState) { s.closed = true }) }

// wakeHeartbeat has a heartbeat made at once; it never blocks.
func (h *Hub) wakeHeartbeat() {
	select {
	case h.heartbeatWanted <- struct{}{}:
	default:
	}
}

// run signs what is committed, and a heartbeat each second, until ctx ends.
func (h *Hub) run(ctx context.Context) {
	var beats sync.WaitGroup
	beats.Go(func() { h.heartbeats(ctx) })
	h.follow(ctx)
	beats.Wait()
	h.Close()
}

// follow moves the snapshot after the ledger's head.
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

// extend shows the batches up to head. Nobody sees more of a shared array than was written
// before it was shown.
func (h *Hub) extend(messages []message, head uint64) {
	h.update(func(s *hubState) {
		if len(messages) == 0 { // collected, and so no longer without a gap
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

// read takes up to limit own batches after cursor from memory or the ledger and signs them. Without
// one, next is the cursor behind those that were collected.
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

// report writes a line whenever signing begins or ceases to fail.
func (h *Hub) report(err error) {
	switch was := h.failing.Swap(err != nil); {
	case err != nil && !was:
		h.logger.Error("committed revocations cannot be sent; they are kept and retried, services learn of them by catch-up", "error", err)
	case err == nil && was:
		h.logger.Info("committed revocations can be sent again")
	}
}

// Heartbeat returns the heartbeat of this moment: up is read before the head, so that all
// acknowledged before up is in a batch at or below head. jwks is the token JWKS's ETag.
func (l *Ledger) Heartbeat(jwks string) revocation.Heartbeat {
	up := l.Up()
	floor := l.TimeFloor()
	return revocation.Heartbeat{
		V: revocation.Version, Store: l.storeID, Origin: l.origin,
		Head: l.Head(), Up: up,
		AtMS: max(l.Now().UnixMilli(), floor*1000), TimeFloor: floor,
		JWKS: jwks,
	}
}

// heartbeats makes one at once, each second and at a poke, until ctx ends. They do not wait
// for a backlog: heads make visible what did not go out.
func (h *Hub) heartbeats(ctx context.Context) {
	ticker := time.NewTicker(heartbeatEvery)
	defer ticker.Stop()
	failing := false
	for {
		message, err := h.sign(revocation.HeartbeatType, h.ledger.Heartbeat(h.etag()))
		if err == nil {
			h.update(func(s *hubState) { s.beat, s.beats = message, s.beats+1 })
		} else if !failing {
			h.logger.Error("signing heartbeats fails", "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-h.heartbeatWanted:
		}
	}
}

// backOff waits for d/2 and a random part of the other half, or until wake delivers. It
// reports whether ctx is still running.
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
