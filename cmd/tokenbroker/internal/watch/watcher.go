package watch

import (
	"context"
	"sync"

	"tokenbroker/api/admin"
)

// The events that may wait for one watcher, in number and in bytes. With more, the watcher is cut off.
const (
	maxWaiting      = 16 << 10
	maxWaitingBytes = 8 << 20
)

// Watcher is one operator's view. Only one goroutine may call Next at a time; Close may be called
// concurrently with it. The caller must close the watcher.
type Watcher struct {
	hub       *Hub
	from      batchID // the ledger's last batch when the view started
	satisfied func()  // reports that this watcher no longer needs receipts
	ready     chan struct{}

	mu      sync.Mutex // guards what follows; locked after the hub's mu
	waiting []event
	bytes   int
	ended   error
}

var _ admin.Watcher = (*Watcher)(nil)

// Next implements [admin.Watcher]. It returns the events in order. After the end of the view the error is
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

// put adds e, or reports false if too many events are waiting. It never blocks.
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

// end makes Next return the error why, and drops the waiting events.
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

// Close implements [admin.Watcher]. It may be called more than once.
func (w *Watcher) Close() {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	w.hub.drop(w, ErrClosed)
}
