package password

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Priority says which callers are served first.
type Priority int

const (
	// Low is for callers that anyone can send in any number.
	Low Priority = iota
	// High is for callers that a stranger cannot imitate: operators, and sign-ins from where
	// users are known to be.
	High
	priorities
)

// Caller is who waits for a hash.
type Caller struct {
	Priority Priority
	// Addr is the IP address that the caller comes from, without a port. Callers that have
	// none, and those of which it cannot be parsed, count as one address.
	Addr string
}

// lowTurn: of so many slots that become free while both classes wait, Low gets one.
const lowTurn = 4

// line is a number of slots and the callers that wait for one. A slot that becomes free goes to a
// caller of High priority, and every lowTurn-th one to a Low caller; while only one class
// waits, it gets all slots. In a class, networks take turns (see [turns]).
//
// Where there are more callers than places, one of the network that has the most waiting is
// refused. Each class has a quarter of the places to itself; High gets the rest before Low.
type line struct {
	places int
	wait   time.Duration // 0: without a limit

	mu      sync.Mutex // guards what is below
	free    int        // slots; above 0 only while no caller waits
	waiting [priorities]turns
	turn    int // slots that High got since Low had one while it waited
}

// acquire takes a slot, which the caller has to release. It waits if there is a place to wait
// in. Errors are ErrBusy and ctx.Err().
func (l *line) acquire(ctx context.Context, c Caller) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w := newWaiter(c.Addr)
	l.enter(c.Priority, w)
	var late <-chan time.Time
	if l.wait > 0 {
		timer := time.NewTimer(l.wait)
		defer timer.Stop()
		late = timer.C
	}
	var err error
	select {
	case err := <-w.answer:
		return err
	case <-late:
		err = ErrBusy
	case <-ctx.Done():
		err = ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case answer := <-w.answer: // at the same moment
		if answer == nil {
			l.handOver()
		}
	default:
		l.waiting[c.Priority].remove(w)
	}
	return err
}

// enter answers w at once if a slot is free. Otherwise w gets a place, and where that is one too
// many, a waiter is refused, which may be w.
func (l *line) enter(p Priority, w *waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.free > 0 {
		l.free--
		w.answer <- nil
		return
	}
	l.waiting[p].add(w)
	low, high, own := &l.waiting[Low], &l.waiting[High], l.places/4
	switch full := low.len+high.len > l.places; {
	case low.len > l.places-own, full && low.len > own:
		low.drop(w).answer <- ErrBusy
	case full:
		high.drop(w).answer <- ErrBusy
	}
}

// release returns a slot.
func (l *line) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.handOver()
}

// handOver passes a slot to the next who waits. l.mu is held.
func (l *line) handOver() {
	next := High
	switch low, high := l.waiting[Low].len > 0, l.waiting[High].len > 0; {
	case !low && !high:
		l.free++
		return
	case !high, low && l.turn == lowTurn-1:
		next, l.turn = Low, 0
	case low:
		l.turn++
	}
	l.waiting[next].next().answer <- nil
}

// waiter is a caller that waits for a slot.
type waiter struct {
	networks []netip.Prefix // of its address, the largest first
	answer   chan error     // gets nil for a slot, or ErrBusy; buffer 1
}

func newWaiter(addr string) *waiter {
	w := &waiter{networks: make([]netip.Prefix, 2), answer: make(chan error, 1)}
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return w
	}
	bits := [2]int{48, 64} // a site, which costs an attacker nothing, and one network
	if ip = ip.Unmap().WithZone(""); ip.Is4() {
		bits = [2]int{24, 32}
	}
	for i := range bits {
		w.networks[i], _ = ip.Prefix(bits[i]) // an address has that many bits
	}
	return w
}

// turns is a queue in which networks take turns: the /24 of IPv4 and the /48 of IPv6, and in each of
// them its addresses and its /64. Those of one address are served in the order in which they
// came. A caller waits for one caller of each other network, and otherwise only for those of its own,
// however many a network sends.
type turns struct {
	prefix netip.Prefix
	len    int
	parts  []*turns  // smaller networks in the order of their turns; none is empty
	queue  []*waiter // of the smallest network
}

// at returns the index of the part for a prefix, or -1.
func (t *turns) at(prefix netip.Prefix) int {
	return slices.IndexFunc(t.parts, func(part *turns) bool { return part.prefix == prefix })
}

func (t *turns) add(w *waiter) {
	t.len++
	for _, network := range w.networks {
		i := t.at(network)
		if i < 0 {
			i = len(t.parts)
			t.parts = append(t.parts, &turns{prefix: network})
		}
		t = t.parts[i]
		t.len++
	}
	t.queue = append(t.queue, w)
}

// next removes and returns the waiter whose turn it is.
func (t *turns) next() *waiter {
	t.len--
	if len(t.parts) == 0 {
		w := t.queue[0]
		t.queue = slices.Delete(t.queue, 0, 1)
		return w
	}
	part := t.parts[0]
	t.parts = slices.Delete(t.parts, 0, 1)
	w := part.next()
	if part.len > 0 {
		t.parts = append(t.parts, part)
	}
	return w
}

// drop removes and returns the latest waiter of the network that has the most. Among networks
// that have as many it takes the one of latest, so that no one loses a place to an equal, or else the
// one whose turn comes last.
func (t *turns) drop(latest *waiter) *waiter {
	from := t
	for len(from.parts) > 0 {
		most := from.parts[0]
		for _, part := range from.parts[1:] {
			if part.len > most.len || part.len == most.len && !slices.Contains(latest.networks, most.prefix) {
				most = part
			}
		}
		from = most
	}
	w := from.queue[len(from.queue)-1]
	t.remove(w)
	return w
}

func (t *turns) remove(w *waiter) {
	t.len--
	for _, network := range w.networks {
		i := t.at(network)
		part := t.parts[i]
		if part.len--; part.len == 0 {
			t.parts = slices.Delete(t.parts, i, i+1)
		}
		t = part
	}
	t.queue = slices.DeleteFunc(t.queue, func(other *waiter) bool { return other == w })
}
