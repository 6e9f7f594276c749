package ledger

import (
	"context"
	"errors"
	"fmt"
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
	index  uint64 // of [Ledger.last]
	origin string
	seq    uint64
	// position is that of a reader which has this batch and all before it.
	position string
	jws      []byte
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
	headsMoved      chan struct{} // wakes it, but not more often than each heartbeatPause
	history         chan struct{} // a token for each reader of the ledger
	failing         atomic.Bool   // signing failed when it was last logged

	now atomic.Pointer[hubState]

	mu        sync.Mutex
	listeners int            // mu guards it and clients, and is held to replace now
	clients   map[string]int // listeners by client
}

// hubState is an immutable snapshot.
type hubState struct {
	head    uint64    // the index up to which every batch was signed
	tail    []message // the last of them, up to head
	from    uint64    // the index after which tail lacks none
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
		clients: map[string]int{}, heartbeatWanted: make(chan struct{}, 1), headsMoved: make(chan struct{}, 1), history: make(chan struct{}, historyReaders),
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
func (h *Hub) wakeHeartbeat() { signal(h.heartbeatWanted) }

// signal puts a token into a channel that holds one. It never blocks.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
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

// Heartbeat returns a heartbeat. up is read before the heads, so that everything acknowledged before up is
// in a batch at or below them. jwks is the token JWKS's ETag. On a shared engine the heads are read from it; the errors
// are those of [Ledger.EncodedAnswer].
func (l *Ledger) Heartbeat(ctx context.Context, jwks string) (revocation.Heartbeat, error) {
	h := revocation.Heartbeat{V: revocation.Version, Store: l.storeID, Origin: l.Origin(), Up: l.Up(), JWKS: jwks}
	if l.shared != nil {
		var err error
		if h.Heads, err = l.shared.heads(ctx, h.Origin); err != nil {
			return h, fmt.Errorf("making a heartbeat: %w", err)
		}
	} else {
		h.Heads = map[string]uint64{h.Origin: l.Head()}
	}
	h.Head = h.Heads[h.Origin]
	h.TimeFloor = l.TimeFloor()
	h.AtMS = max(l.Now().UnixMilli(), h.TimeFloor*1000)
	return h, nil
}

// heartbeat returns a signed heartbeat.
func (h *Hub) heartbeat(ctx context.Context) ([]byte, error) {
	beat, err := h.ledger.Heartbeat(ctx, h.etag())
	if err != nil {
		return nil, err
	}
	return h.sign(revocation.HeartbeatType, beat)
}

// heartbeats makes a heartbeat at the start, each second, when it is woken, and when other brokers have recorded batches,
// until ctx ends. Heartbeats do not wait for a backlog: their heads show which batches were not sent.
func (h *Hub) heartbeats(ctx context.Context) {
	ticker := time.NewTicker(heartbeatEvery)
	defer ticker.Stop()
	failing := false
	for {
		message, err := h.heartbeat(ctx)
		if err == nil {
			h.update(func(s *hubState) { s.beat, s.beats = message, s.beats+1 })
		} else if !failing && ctx.Err() == nil {
			level := slog.LevelError
			if errors.Is(err, ErrSilent) { // the reason of the silence has been logged with its own level
				level = slog.LevelInfo
			}
			h.logger.Log(ctx, level, "heartbeats cannot be sent", "error", err)
		}
		failing = err != nil
		pause := time.Now().Add(heartbeatPause)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-h.heartbeatWanted:
		case <-h.headsMoved:
			wait(ctx, time.Until(pause), h.heartbeatWanted)
		}
	}
}
