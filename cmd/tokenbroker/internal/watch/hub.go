// Package watch shows operators who look on what happens: revocations as they are committed,
// how far the services have applied them, services whose state changes, and changes of keys.
//
// It works only while somebody watches, in goroutines that [Hub.Run] owns, beside the road of
// a request: nothing waits for it. It reads what was committed from the ledger.
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
	// ErrSlow ends the view of who falls too far behind.
	ErrSlow = errors.New("the watcher is too slow")
)

const defaultWatchers = 16

// Ledger is the record of what is revoked; [*ledger.Ledger] is one.
type Ledger interface {
	Origin() string
	Head() uint64
	// Now is the broker's clock.
	Now() time.Time
	Follow(ctx context.Context, seq, limit uint64) ([]ledger.CommittedBatch, error)
}

// Broadcast tells whether a recorded batch went out.
type Broadcast interface {
	Flushed(ctx context.Context, seq uint64) bool
}

// Receipts tells how far the services are; [*receipts.Collector] is one.
type Receipts interface {
	Expect() (done func())
	Begin(since time.Duration, seq uint64) *receipts.Wait
	Services() []receipts.Service
}

// Config of a [Hub]. All but Username, MaxWatchers and Logger is required.
type Config struct {
	Ledger    Ledger
	Broadcast Broadcast
	Receipts  Receipts
	// Mono is the monotonic clock of Ledger and Receipts.
	Mono func() time.Duration
	// Username is the name of an event's user, or "". If nil, events have no names.
	Username func(ctx context.Context, e revocation.Event) string
	// MaxWatchers bounds [Hub.Watch]; zero: 16.
	MaxWatchers int
	// Logger receives diagnostics. If nil, slog.Default is used.
	Logger *slog.Logger
}

// Hub encodes each event once and hands it to every watcher. One that falls behind is cut off,
// none is waited for. Safe for concurrent use.
type Hub struct {
	config Config
	woken  chan struct{} // of Run: the watchers came or went

	mu       sync.Mutex // guards what follows
	watchers map[*Watcher]struct{}
	// from is the head when the first of them came.
	from     uint64
	services map[serviceName]admin.WatchService // as they were last shown
	closed   bool
}

// New returns a hub that shows nothing yet; [Hub.Run] does the work.
func New(config Config) *Hub {
	if config.MaxWatchers <= 0 {
		config.MaxWatchers = defaultWatchers
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	return &Hub{config: config, woken: make(chan struct{}, 1), watchers: map[*Watcher]struct{}{}}
}

// Watch begins a view of what is committed from now on, with the services that are known.
// Errors are [ErrTooMany] and [ErrClosed].
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

// Watchers returns how many there are now.
func (h *Hub) Watchers() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.watchers)
}

// Close ends every view at once and refuses new ones. It may be called again.
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

// wake has Run look who is there; it never blocks.
func (h *Hub) wake() {
	select {
	case h.woken <- struct{}{}:
	default:
	}
}

// event is what watchers get; it is shared and never changed.
type event struct {
	admin.WatchEvent
	seq uint64 // of the batch that it is about, or zero
}

func (h *Hub) encode(name string, seq uint64, v any) event {
	data, err := json.Marshal(v)
	if err != nil { // plain structs: a fault in this package
		h.config.Logger.Error("an event for watchers cannot be encoded", "type", name, "error", err)
		return event{}
	}
	return event{WatchEvent: admin.WatchEvent{Name: name, Data: data}, seq: seq}
}

// show gives e to every watcher; batches from before it came are none of its business.
func (h *Hub) show(e event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.showHeld(e)
}

// showHeld is show; mu is held.
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

// drop ends w's view; mu is held.
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
