// Package watch streams events to operators: revocations as they are committed, how many services have
// applied them, services whose state changes, and changes of keys.
//
// It works only while there are watchers, in goroutines that [Hub.Run] owns. Requests never wait for it:
// it reads the committed revocations from the ledger.
package watch

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"tokenbroker/api/admin"
	"tokenbroker/broker/receipts"
	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
)

// Errors of [Hub.Watch] and [Watcher.Next].
var (
	ErrTooMany = errors.New("too many are watching")
	ErrClosed  = errors.New("the event stream is closed")
	// ErrSlow ends the view of a watcher that falls too far behind.
	ErrSlow = errors.New("the watcher is too slow")
)

const defaultWatchers = 16

// Ledger is the record of revocations. [*ledger.Ledger] implements it.
type Ledger interface {
	Origin() string
	Head() uint64
	// Now is the broker's clock.
	Now() time.Time
	Follow(ctx context.Context, origin string, seq, limit uint64) ([]ledger.CommittedBatch, error)
}

// Broadcast reports whether a recorded batch was sent to NATS.
type Broadcast interface {
	// Flushed waits until the batch seq of the broker's origin was sent, and reports false if ctx ends first.
	Flushed(ctx context.Context, origin string, seq uint64) bool
}

// Receipts reports how many services have applied a batch. [*receipts.Collector] implements it.
type Receipts interface {
	Expect() (done func())
	Begin(since time.Duration, heads map[string]uint64) *receipts.Wait
	Services() []receipts.Service
}

// Config configures a [Hub]. All fields except Username, BrokerName, MaxWatchers and Logger are required.
type Config struct {
	Ledger    Ledger
	Broadcast Broadcast
	Receipts  Receipts
	// Mono is the monotonic clock of Ledger and Receipts.
	Mono func() time.Duration
	// Username returns the name of an event's user, or "" if it is not known. If nil, events have no names.
	Username func(ctx context.Context, e revocation.Event) string
	// BrokerName returns the name of the broker of an origin, or "" if it is not known. If nil, there is only one broker, and
	// events about services do not name the one that the service hears.
	BrokerName func(origin string) string
	// MaxWatchers is the maximum number of watchers. If zero, it is 16.
	MaxWatchers int
	// Logger receives diagnostics. If nil, slog.Default is used.
	Logger *slog.Logger
}

// Hub encodes each event once and passes it to every watcher. It never waits for a watcher: one that falls
// too far behind is cut off. Hub is safe for concurrent use.
type Hub struct {
	config Config
	woken  chan struct{} // wakes Run after a change of the watchers

	mu       sync.Mutex // guards what follows
	watchers map[*Watcher]struct{}
	// from is the ledger's last batch when the first of the present watchers came.
	from     batchID
	services map[serviceName]admin.WatchService // as last shown
	closed   bool
}

// New returns a hub. It shows events while [Hub.Run] runs.
func New(config Config) *Hub {
	if config.MaxWatchers <= 0 {
		config.MaxWatchers = defaultWatchers
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	return &Hub{config: config, woken: make(chan struct{}, 1), watchers: map[*Watcher]struct{}{}}
}

// Watch returns a view that starts with the known services and continues with everything that is committed
// from now on. The caller must close it. Errors: [ErrTooMany] and [ErrClosed].
func (h *Hub) Watch() (*Watcher, error) {
	w := &Watcher{hub: h, ready: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return nil, ErrClosed
	case len(h.watchers) >= h.config.MaxWatchers:
		return nil, ErrTooMany
	}
	w.satisfied = h.config.Receipts.Expect()
	w.from.origin = h.config.Ledger.Origin() // first: a new origin starts with no batch
	w.from.seq = h.config.Ledger.Head()
	if len(h.watchers) == 0 {
		h.from = w.from
	}
	for _, name := range sortedNames(h.services) {
		s := h.services[name]
		s.Before = ""
		w.put(h.encode(s.Type, batchID{}, s))
	}
	h.watchers[w] = struct{}{}
	h.wake()
	return w, nil
}

// Watchers returns the number of watchers.
func (h *Hub) Watchers() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.watchers)
}

// Close ends every view at once and refuses new ones. It may be called more than once.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for w := range h.watchers {
		h.drop(w, ErrClosed)
	}
	h.wake()
}

// Key shows a change of the keyring to the watchers. It never blocks.
func (h *Hub) Key(k admin.WatchKey) {
	k.Type = admin.WatchTypeKey
	if h.Watchers() > 0 {
		h.show(h.encode(k.Type, batchID{}, k))
	}
}

// wake makes Run check the watchers. It never blocks.
func (h *Hub) wake() {
	select {
	case h.woken <- struct{}{}:
	default:
	}
}

// batchID identifies a batch. The zero value is none.
type batchID struct {
	origin string
	seq    uint64
}

// event is an encoded event. It is shared by the watchers and never changed.
type event struct {
	admin.WatchEvent
	batch batchID // the event's, if it has one
}

func (h *Hub) encode(name string, batch batchID, v any) event {
	data, err := json.Marshal(v)
	if err != nil { // a bug in this package: plain structs can always be encoded
		h.config.Logger.Error("an event for watchers cannot be encoded", "type", name, "error", err)
		return event{}
	}
	return event{WatchEvent: admin.WatchEvent{Name: name, Data: data}, batch: batch}
}

// show passes e to every watcher, except to those that came after e's batch was committed.
func (h *Hub) show(e event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.showHeld(e)
}

// showHeld is show for callers that hold mu.
func (h *Hub) showHeld(e event) {
	if e.Data == nil {
		return
	}
	for w := range h.watchers {
		before := e.batch.origin == w.from.origin && e.batch.seq <= w.from.seq
		if !before && !w.put(e) {
			h.drop(w, ErrSlow)
		}
	}
}

// drop ends w's view. The caller holds mu.
func (h *Hub) drop(w *Watcher, why error) {
	if _, there := h.watchers[w]; !there {
		return
	}
	delete(h.watchers, w)
	w.satisfied()
	w.end(why)
	if len(h.watchers) == 0 {
		h.wake()
	}
}
