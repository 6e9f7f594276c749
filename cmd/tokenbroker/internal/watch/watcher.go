package watch

import (
	"context"
	"sync"

	"tokenbroker/api/admin"
)

// How much may wait for one watcher. The view of one that falls further behind ends.
const (
	maxWaiting      = 16 << 10
	maxWaitingBytes = 8 << 20
)

// Watcher is the view of one operator. Only one goroutine may call Next. The caller must close it.
type Watcher struct {
	hub       *Hub
	from      uint64 // the ledger's head at its start
	satisfied func() // ends the request for receipts
	ready     chan struct{}

	mu      sync.Mutex // guards what follows; taken after the hub's
	waiting []event
	bytes   int
	ended   error
}

var _ admin.Watcher = (*Watcher)(nil)

// Next implements [admin.Watcher]. It returns the events in their order, and then the reason for the end of the view,
// [ErrSlow] or [ErrClosed].
func (w *Watcher) Next(ctx context.Context) (admin.WatchEvent, error) {
	for {
		if e, ok, err := w.take(); ok || err != nil {
			return e, err
		}
		select {
		case <-w.ready:
		case <-ctx.Done():
			return admin.WatchEvent{}, ctx.Err()
		}
	}
}

func (w *Watcher) take() (admin.WatchEvent, bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended != nil {
		return admin.WatchEvent{}, false, w.ended
	}
	if len(w.waiting) == 0 {
		return admin.WatchEvent{}, false, nil
	}
	e := w.waiting[0].WatchEvent
	w.waiting[0] = event{}
	w.waiting = w.waiting[1:]
	w.bytes -= len(e.Data)
	return e, true, nil
}

// put adds e unless too much waits. It never blocks.
func (w *Watcher) put(e event) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.waiting) >= maxWaiting || w.bytes+len(e.Data) > maxWaitingBytes {
		return false
	}
	w.waiting = append(w.waiting, e)
	w.bytes += len(e.Data)
	w.signal()
	return true
}

// end makes Next return the reason for the end of the view, and drops the events that wait.
func (w *Watcher) end(why error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended, w.waiting, w.bytes = why, nil, 0
	w.signal()
}

func (w *Watcher) signal() {
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

// Close implements [admin.Watcher]. It may be called again.
func (w *Watcher) Close() {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	w.hub.drop(w, ErrClosed)
}
