package ledger

import (
	"context"
	"errors"
	"log/slog"
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
	// tailBatches and tailBytes limit the signed batches that are kept in memory. A reader that is further
	// behind reads the ledger.
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

// Hub signs each batch and each heartbeat once, for all that pass them on: the NATS loop of the
// [Publisher] and the listeners of the stream. It has no queues: each of them has a cursor and reads the
// newest snapshot or, further back, the ledger. None can therefore block the Hub or another reader. It is
// safe for concurrent use.
type Hub struct {
	ledger *Ledger
	sign   func(typ string, payload any) ([]byte, error)
	etag   func() string
	ack    func() bool
	logger *slog.Logger
	limit  int

	heartbeatWanted chan struct{} // wakes the heartbeat
	history         chan struct{} // a token for each reader of the ledger
	failing         atomic.Bool   // signing failed when it was last logged

	now atomic.Pointer[hubState]

	mu        sync.Mutex
	listeners int            // mu guards it and clients, and is held to replace now
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

// Listeners returns how many there are now.
func (h *Hub) Listeners() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.listeners
}

// Close ends every listener at once and refuses new ones. Batches and heartbeats still go
// to the network.
func (h *Hub) Close() { h.update(func(s *hubState) { s.closed = true }) }

// wakeHeartbeat requests a heartbeat at once. It never blocks.
func (h *Hub) wakeHeartbeat() {
	select {
	case h.heartbeatWanted <- struct{}{}:
	default:
	}
}

// run signs committed batches, and a heartbeat each second, until ctx ends.
func (h *Hub) run(ctx context.Context) {
	var beats sync.WaitGroup
	beats.Go(func() { h.heartbeats(ctx) })
	h.follow(ctx)
	beats.Wait()
	h.Close()
}

// Heartbeat returns a heartbeat. up is read before the head, so that everything acknowledged before up is
// in a batch at or below head. jwks is the token JWKS's ETag.
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

// heartbeats makes a heartbeat at the start, each second and when it is woken, until ctx ends. Heartbeats
// do not wait for a backlog: their heads show which batches were not sent.
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
