package ledger

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	heartbeatEvery = time.Second
	// heartbeatPause is the shortest time between heartbeats that batches of other brokers cause.
	heartbeatPause = 100 * time.Millisecond
	flushTimeout   = 5 * time.Second
	firstBackoff   = 50 * time.Millisecond
	maxBackoff     = 5 * time.Second
	// publishAtOnce is the number of batches that are sent before a flush, and the maximum in memory.
	publishAtOnce = 16
)

// Bus publishes to the network. A flush confirms that the server has received everything before it.
type Bus interface {
	Publish(subject string, data []byte) error
	Flush(ctx context.Context) error
}

// PublisherConfig configures a [Publisher]. Ledger, Bus and Sign are required.
type PublisherConfig struct {
	Ledger *Ledger
	Bus    Bus
	// Sign returns payload as a compact JWS of the given typ, by the current feed key.
	Sign func(typ string, payload any) ([]byte, error)
	// JWKSETag returns the ETag of the token JWKS. If nil, heartbeats have none.
	JWKSETag func() string
	// WantAck reports whether a batch that is signed now asks the services for receipts at once. If nil,
	// no batch does. The ledger does not store it.
	WantAck func() bool
	// MaxListeners limits the listeners of [Hub.Listen], of which one client may have a fifth. If zero, it
	// is 5,000.
	MaxListeners int
	// Logger receives changes of state and failures. If nil, [slog.Default] is used.
	Logger *slog.Logger
}

// Publisher sends the ledger's own batches, in order, and a heartbeat each second. Those of other brokers go only to the
// listeners of its [Hub]. It is a cursor over the
// ledger: one loop serves live batches, a reconnect and a backlog, and it keeps no copy. If the network
// loses messages, heartbeats reveal it and services make a catch-up. Its [Hub] serves listeners
// independently of the network.
type Publisher struct {
	config PublisherConfig
	hub    *Hub

	stop    context.CancelFunc
	stopped context.Context
	retry   chan struct{} // ends a back-off
	failing atomic.Bool   // publishing failed when it was last logged

	mu      sync.Mutex
	running bool
	sent    uint64        // the index up to which every own batch was sent, or was collected before
	origin  string        // of flushed
	flushed uint64        // the own batch at sent
	moved   chan struct{} // closed when flushed moves
	ended   chan struct{} // closed when Run returned
}

// NewPublisher returns a publisher; [Publisher.Run] does the work.
func NewPublisher(config PublisherConfig) (*Publisher, error) {
	if config.Ledger == nil || config.Bus == nil || config.Sign == nil {
		return nil, errors.New("making the publisher: ledger, bus and sign are required")
	}
	if config.JWKSETag == nil {
		config.JWKSETag = func() string { return "" }
	}
	if config.WantAck == nil {
		config.WantAck = func() bool { return false }
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	stopped, stop := context.WithCancel(context.Background())
	return &Publisher{
		config: config, hub: newHub(config), stop: stop, stopped: stopped,
		retry: make(chan struct{}, 1),
		moved: make(chan struct{}), ended: make(chan struct{}),
	}, nil
}

// Hub returns the hub with what Run signs, for listeners. It is closed when Run returns.
func (p *Publisher) Hub() *Hub { return p.hub }

// Run publishes until ctx ends or Close is called, then returns nil. It may be called once.
// A network that does not answer is retried without end; nothing is lost in the meantime.
func (p *Publisher) Run(ctx context.Context) error {
	p.mu.Lock()
	if p.running {
		p.mu.Unlock()
		return errors.New("running the publisher: it was run before")
	}
	p.running = true
	p.mu.Unlock()
	defer close(p.ended)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.stopped, cancel)()

	var parts sync.WaitGroup
	parts.Go(func() { p.hub.run(ctx) })
	parts.Go(func() { p.heartbeats(ctx) })
	p.publish(ctx)
	parts.Wait()
	return nil
}

// Close stops Run and waits for it. It may be called again, and without Run.
func (p *Publisher) Close() {
	p.stop()
	p.mu.Lock()
	running := p.running
	p.running = true
	p.mu.Unlock()
	if running {
		<-p.ended
		return
	}
	p.hub.Close()
	close(p.ended)
}

// Poke says that the network is back: a heartbeat and what is waiting go out at once. It
// never blocks.
func (p *Publisher) Poke() {
	p.hub.wakeHeartbeat()
	select {
	case p.retry <- struct{}{}:
	default:
	}
}

// PublisherStats is what waits to be published.
type PublisherStats struct {
	Backlog uint64
	// Oldest is how long the oldest of the backlog has been waiting.
	Oldest time.Duration
	// Failing says that the last attempt failed.
	Failing bool
}

// Stats returns the present backlog.
func (p *Publisher) Stats() PublisherStats {
	s := PublisherStats{Failing: p.failing.Load() || p.hub.failing.Load()}
	var oldest time.Duration
	if s.Backlog, oldest = p.config.Ledger.waiting(p.cursor()); s.Backlog > 0 {
		s.Oldest = max(p.config.Ledger.config.Mono()-oldest, 0)
	}
	return s
}

// waiting returns the number of own batches after an index, and when the first of them was committed.
func (l *Ledger) waiting(index uint64) (n uint64, since time.Duration) {
	if l.shared != nil {
		return l.shared.waiting(index)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	oldest := max(index+1, l.first) // what was collected waits no more
	if oldest > l.head {
		return 0, 0
	}
	return l.head - oldest + 1, l.batches[oldest-l.first].written
}
