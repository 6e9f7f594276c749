package ledger

import (
	"context"
	"fmt"
	"strconv"

	"tokenbroker/revocation"
)

// Names of a [StreamEvent].
const (
	StreamBatch     = "batch"
	StreamHeartbeat = "heartbeat"
	// StreamReset reports that the position is unknown or was collected. The batches after it are not
	// sent: the reader makes a catch-up and continues.
	StreamReset = "reset"
)

const (
	tailPage    = 16 // batches between two checks for a heartbeat
	historyPage = 4  // batches that one listener reads from the ledger at a time
)

// StreamEvent is an event that a [Listener] returns.
type StreamEvent struct {
	Name string
	// Position is the listener's position after this event: <origin>.<seq>[,<origin>.<seq>…].
	Position string
	// Data is the compact JWS. It is shared and must not be changed. It is nil for a reset.
	Data []byte
}

// Listener reads the batches from one position. It is used by one goroutine and holds only a few batches,
// however slowly it is read. The caller must close it.
type Listener struct {
	hub    *Hub
	client string
	all    bool // the batches of all origins
	cursor uint64
	at     string // the position at cursor
	beats  uint64 // number of the last heartbeat returned
	page   []message
	paged  bool // a page was returned since the last heartbeat
	reset  bool
	closed bool
}

// Listen starts after the position after, in the form of [Ledger.Answer], or with the batches committed
// from now on if after is empty. If the position is not of this origin, is ahead of its head or was
// collected, the first event is a [StreamReset]. On a shared engine, a listener of a service that speaks at least
// [revocation.Speaks] gets the batches of all origins, another one those of this origin, as long as no other is live. The
// listener counts for client: one client may have a fifth of the listeners, and a tenth of them is reserved for
// clients that have none. Errors wrap [ErrBadPosition], [ErrTooManyListeners], [ErrHubClosed], [ErrOutdated] or
// [ErrNoView].
func (h *Hub) Listen(ctx context.Context, client, after string, speaks int) (*Listener, error) {
	positions, err := parsePosition(after)
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	l := &Listener{hub: h, client: client, all: speaks >= revocation.Speaks || h.ledger.shared == nil}
	known := false
	if l.cursor, l.at, known, err = h.ledger.listenFrom(ctx, positions, l.all); err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	l.reset = !known && after != ""
	if err := h.admit(client); err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	return l, nil
}

// listenFrom returns the index from which a listener at a position starts, and the position there. If the position is
// not known, that is the head.
func (l *Ledger) listenFrom(ctx context.Context, positions map[string]uint64, all bool) (index uint64, at string, known bool, err error) {
	if l.shared != nil {
		return l.shared.listenFrom(ctx, positions, all)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	seq, known := positions[l.origin]
	known = known && len(positions) == 1 && seq <= l.head && seq+1 >= l.first
	if !known {
		seq = l.head
	}
	return seq, position(l.origin, seq), known, nil
}

// position returns the text of the position of one origin.
func position(origin string, seq uint64) string {
	return origin + "." + strconv.FormatUint(seq, 10)
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

// Close releases the listener. Further calls do nothing.
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

// Next waits for the next event: every batch after the position, in order and without a gap, and between
// them the newest heartbeat, the first one at once. It returns ctx's error, [ErrHubClosed], or an error of
// reading the ledger. After an error the listener cannot be used again.
func (l *Listener) Next(ctx context.Context) (StreamEvent, error) {
	for {
		s := l.hub.now.Load()
		switch {
		case s.closed:
			return StreamEvent{}, ErrHubClosed
		case ctx.Err() != nil:
			return StreamEvent{}, ctx.Err()
		case !l.all && l.hub.ledger.shared.run.Live() > 1:
			return StreamEvent{}, ErrOutdated
		case l.reset:
			l.reset = false
			return l.event(StreamReset, nil), nil
		case len(l.page) > 0:
			m := l.page[0]
			l.page = l.page[1:]
			l.cursor = m.index
			if l.all {
				l.at = m.position
			} else if m.origin == l.hub.ledger.Origin() {
				l.at = position(m.origin, m.seq)
			} else {
				continue
			}
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
	page, _, err := l.hub.read(ctx, l.cursor, historyPage)
	switch {
	case err != nil:
		return fmt.Errorf("listening: %w", err)
	case len(page) == 0: // collected in the meantime
		l.reset = true
		l.cursor, l.at, _, err = l.hub.ledger.listenFrom(ctx, nil, l.all)
		return err
	}
	l.page = page
	return nil
}

func (l *Listener) event(name string, data []byte) StreamEvent {
	return StreamEvent{Name: name, Data: data, Position: l.at}
}
