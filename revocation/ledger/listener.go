package ledger

import (
	"context"
	"fmt"
	"strconv"
)

// Names of a [StreamEvent].
const (
	StreamBatch     = "batch"
	StreamHeartbeat = "heartbeat"
	// StreamReset says that the position was not recognised, or was collected: what came
	// after it is not sent. The reader makes a catch-up and goes on.
	StreamReset = "reset"
)

const (
	tailPage    = 16 // batches between two looks for a heartbeat
	historyPage = 4  // batches that one listener holds of the ledger at most
)

// StreamEvent is what a [Listener] hands out.
type StreamEvent struct {
	Name string
	// Position is where the listener stands behind this event: <origin>.<seq>.
	Position string
	// Data is the compact JWS, shared and not to be changed; nil for a reset.
	Data []byte
}

// Listener is one reader's place in the batches. It is used by one goroutine and holds a
// few batches at most, however slowly it is read. Close it.
type Listener struct {
	hub    *Hub
	client string
	cursor uint64
	beats  uint64 // number of the last heartbeat handed out
	page   []message
	paged  bool // a page was handed out since the last heartbeat
	reset  bool
	closed bool
}

// Listen begins behind the position after, as of [Ledger.Answer], or with what is committed
// from now on if it is empty. A position that is not of this origin, is ahead of its head or
// was collected makes a [StreamReset] the first event. client is whose place it takes: one client
// may have a fifth of the places, and a tenth of them is kept for clients that have none. Errors
// wrap [ErrBadPosition], [ErrTooManyListeners] or [ErrHubClosed].
func (h *Hub) Listen(client, after string) (*Listener, error) {
	positions, err := parsePosition(after)
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	if err := h.admit(client); err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	l := h.ledger
	l.mu.Lock()
	head, first := l.head, l.first
	l.mu.Unlock()
	seq, known := positions[l.origin]
	known = known && len(positions) == 1 && seq <= head && seq+1 >= first
	if !known {
		seq = head
	}
	return &Listener{hub: h, client: client, cursor: seq, reset: !known && after != ""}, nil
}

func (h *Hub) admit(client string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.now.Load().closed:
		return ErrHubClosed
	case h.listeners >= h.limit:
		return fmt.Errorf("%w: %d", ErrTooManyListeners, h.limit)
	case h.clients[client] >= max(h.limit/5, 1):
		return fmt.Errorf("%w: %d of the client %q", ErrTooManyListeners, h.clients[client], client)
	case h.clients[client] > 0 && h.listeners >= h.limit-h.limit/10:
		return fmt.Errorf("%w: %d, and the others are kept for clients that have none", ErrTooManyListeners, h.listeners)
	}
	h.listeners++
	h.clients[client]++
	return nil
}

// Close frees the place. It may be called again.
func (l *Listener) Close() {
	if l.closed {
		return
	}
	l.closed = true
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	l.hub.listeners--
	if l.hub.clients[l.client]--; l.hub.clients[l.client] == 0 {
		delete(l.hub.clients, l.client)
	}
}

// Next waits for the next event: every batch behind the position, in order and without a
// gap, and among them the newest heartbeat, the first one at once. It fails with ctx's
// error, with [ErrHubClosed], or when the ledger cannot be read; the listener is over then.
func (l *Listener) Next(ctx context.Context) (StreamEvent, error) {
	for {
		s := l.hub.now.Load()
		switch {
		case s.closed:
			return StreamEvent{}, ErrHubClosed
		case ctx.Err() != nil:
			return StreamEvent{}, ctx.Err()
		case l.reset:
			l.reset = false
			return l.event(StreamReset, nil), nil
		case len(l.page) > 0:
			m := l.page[0]
			l.page = l.page[1:]
			l.cursor = m.seq
			return l.event(StreamBatch, m.jws), nil
		case s.beats > l.beats && (s.head <= l.cursor || l.paged):
			l.beats, l.paged = s.beats, false
			return l.event(StreamHeartbeat, s.beat), nil
		case s.head > l.cursor:
			if err := l.turn(ctx, s); err != nil {
				return StreamEvent{}, err
			}
		default:
			select {
			case <-s.changed:
			case <-ctx.Done():
			}
		}
	}
}

// turn takes the next page of batches.
func (l *Listener) turn(ctx context.Context, s *hubState) error {
	l.paged = true
	if page, ok := s.after(l.cursor, tailPage); ok {
		l.page = page
		return nil
	}
	select {
	case l.hub.history <- struct{}{}:
		defer func() { <-l.hub.history }()
	case <-ctx.Done():
		return ctx.Err()
	}
	page, next, err := l.hub.read(ctx, l.cursor, historyPage)
	switch {
	case err != nil:
		return fmt.Errorf("listening: %w", err)
	case len(page) == 0: // collected while we were on the way
		l.cursor, l.reset = max(next, l.hub.ledger.Head()), true
	}
	l.page = page
	return nil
}

func (l *Listener) event(name string, data []byte) StreamEvent {
	return StreamEvent{
		Name: name, Data: data,
		Position: l.hub.ledger.origin + "." + strconv.FormatUint(l.cursor, 10),
	}
}
