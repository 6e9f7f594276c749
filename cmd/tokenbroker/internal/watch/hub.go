// Package watch streams events to operators: revocations as they are committed, how far the services have applied
// them, services whose state changes, and changes of keys.
//
// It works only while an operator watches, in goroutines that [Hub.Run] owns. It reads what was committed from the
// ledger, so requests do not wait for it.
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
	ErrClosed  = errors.New("nothing is shown any more")
	// ErrSlow ends the view of a watcher that falls too far behind.
	ErrSlow = errors.New("the watcher is too slow")
)

const defaultWatchers = 16

// Ledger has the recorded revocations. [*ledger.Ledger] implements it.
type Ledger interface {
	Origin() string
	Head() uint64
	// Now is the broker's clock.
	Now() time.Time
	Follow(ctx context.Context, seq, limit uint64) ([]ledger.CommittedBatch, error)
}

// Broadcast reports whether a recorded batch was sent.
type Broadcast interface {
	Flushed(ctx context.Context, seq uint64) bool
}

// Receipts reports what the services have applied. [*receipts.Collector] implements it.
type Receipts interface {
	Expect() (done func())
	Begin(since time.Duration, seq uint64) *receipts.Wait
	Services() []receipts.Service
}

// Config configures a [Hub]. Username, MaxWatchers and Logger are optional.
type Config struct {
	Ledger    Ledger
	Broadcast Broadcast
	Receipts  Receipts
	// Mono is the monotonic clock of Ledger and Receipts.
	Mono func() time.Duration
	// Username returns the name of an event's user, or "". If nil, events have no names.
	Username func(ctx context.Context, e revocation.Event) string
	// MaxWatchers is how many watchers there may be at a time. If 0, it is 16.
	MaxWatchers int
	// Logger receives diagnostics. If nil, slog.Default is used.
	Logger *slog.Logger
}

// Hub encodes each event once and passes it to every watcher. It does not wait for watchers, and ends the view of one
// that falls too far behind. It is safe for concurrent use.
type Hub struct {
	config Config
	woken  chan struct{} // wakes Run when watchers come or go

	mu       sync.Mutex // guards what follows
	watchers map[*Watcher]struct{}
	// from is the ledger's head at the start of the first view.
	from     uint64
	services map[serviceName]admin.WatchService // as they were last shown
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

// Watch starts a view of what is committed from now on, with the services that are known. Its errors are [ErrTooMany]
// and [ErrClosed].
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
	w.from = h.config.Ledger.Head()
	if len(h.watchers) == 0 {
		h.from = w.from
	}
	for _, name := range sortedNames(h.services) {
		s := h.services[name]
		s.Before = ""
		w.put(h.encode(s.Type, 0, s))
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

// Close ends all views immediately and refuses new ones. It may be called again.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for w := range h.watchers {
		h.drop(w, ErrClosed)
	}
	h.wake()
}

// Key shows a change of the keyring. It never blocks.
func (h *Hub) Key(k admin.WatchKey) {
	k.Type = admin.WatchTypeKey
	if h.Watchers() > 0 {
		h.show(h.encode(k.Type, 0, k))
	}
}

// wake makes Run check whether there are watchers. It never blocks.
func (h *Hub) wake() {
	select {
	case h.woken <- struct{}{}:
	default:
	}
}

// event is an encoded event. Watchers share it, and it never changes.
type event struct {
	admin.WatchEvent
	seq uint64 // of the batch that it is about, or zero
}

func (h *Hub) encode(name string, seq uint64, v any) event {
	data, err := json.Marshal(v)
	if err != nil { // a bug in this package: events are plain structs
		h.config.Logger.Error("an event for watchers cannot be encoded", "type", name, "error", err)
		return event{}
	}
	return event{WatchEvent: admin.WatchEvent{Name: name, Data: data}, seq: seq}
}

// show passes e to every watcher, except batches that were committed before its view started.
func (h *Hub) show(e event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.showHeld(e)
}

// showHeld is show with mu held.
func (h *Hub) showHeld(e event) {
	if e.Data == nil {
		return
	}
	for w := range h.watchers {
		if (e.seq == 0 || e.seq > w.from) && !w.put(e) {
			h.drop(w, ErrSlow)
		}
	}
}

// drop ends w's view. It is called with mu held.
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
