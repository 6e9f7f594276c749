package password

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Priority is the order in which callers are served.
type Priority int

const (
	// Low is for callers that an attacker can create in any number.
	Low Priority = iota
	// High is for callers that a stranger cannot imitate: operators, and sign-ins from known
	// addresses.
	High
	priorities
)

// Caller describes a caller that waits for a hash.
type Caller struct {
	Priority Priority
	// Addr is the caller's IP address, without a port. All callers whose Addr is empty or cannot
	// be parsed count as one address.
	Addr string
}

// lowShare is the number of free slots of which Low gets one while both priorities wait.
const lowShare = 4

// semaphore has a number of slots and queues the callers that wait for one. A free slot goes to a
// caller of High priority, and every lowShare-th one to a Low caller. While callers of only one
// priority wait, they get all slots. In a priority, networks take turns (see [fairQueue]).
//
// If more than maxWaiting callers wait, a caller of the network with the most waiting callers is
// refused. A quarter of the places is reserved for each priority; High gets the rest before Low.
type semaphore struct {
	maxWaiting int
	wait       time.Duration // zero: without a limit

	mu        sync.Mutex // guards the fields below
	free      int        // free slots; above zero only while no caller waits
	waiting   [priorities]fairQueue
	highInRow int // slots that High got since the latest one for Low, while Low waited
}

// acquire takes a slot, which the caller must release. It waits if there is a place in the queue.
// Errors are ErrBusy and ctx.Err().
func (s *semaphore) acquire(ctx context.Context, c Caller) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w := newWaiter(c.Addr)
	s.enter(c.Priority, w)
	var late <-chan time.Time
	if s.wait > 0 {
		timer := time.NewTimer(s.wait)
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
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case answer := <-w.answer: // at the same moment
		if answer == nil {
			s.handOver()
		}
	default:
		s.waiting[c.Priority].remove(w)
	}
	return err
}

// enter answers w at once if a slot is free. Otherwise w enters the queue, and if the queue was full,
// a waiter is refused, which may be w.
func (s *semaphore) enter(p Priority, w *waiter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.free > 0 {
		s.free--
		w.answer <- nil
		return
	}
	s.waiting[p].add(w)
	low, high, own := &s.waiting[Low], &s.waiting[High], s.maxWaiting/4
	switch full := low.len+high.len > s.maxWaiting; {
	case low.len > s.maxWaiting-own, full && low.len > own:
		low.drop(w).answer <- ErrBusy
	case full:
		high.drop(w).answer <- ErrBusy
	}
}

// release returns a slot.
func (s *semaphore) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handOver()
}

// handOver passes a slot to the next waiter. The caller holds s.mu.
func (s *semaphore) handOver() {
	next := High
	switch low, high := s.waiting[Low].len > 0, s.waiting[High].len > 0; {
	case !low && !high:
		s.free++
		return
	case !high, low && s.highInRow == lowShare-1:
		next, s.highInRow = Low, 0
	case low:
		s.highInRow++
	}
	s.waiting[next].next().answer <- nil
}

// waiter is a caller that waits for a slot.
type waiter struct {
	networks []netip.Prefix // that contain its address, the largest first
	answer   chan error     // receives nil for a slot, or ErrBusy; buffer 1
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

// fairQueue is a queue in which networks take turns: each /24 of IPv4 and /48 of IPv6, and in each of
// them its addresses or /64 networks. Callers of one address are served in the order of their
// arrival. So a caller waits for one caller of each other network, and otherwise only for those of
// its own network, regardless of how many callers the others have.
type fairQueue struct {
	prefix  netip.Prefix
	len     int
	subnets []*fairQueue // smaller networks in the order of their turns; none is empty
	queue   []*waiter    // of the smallest network
}

// at returns the index of the subnet for a prefix, or -1.
func (q *fairQueue) at(prefix netip.Prefix) int {
	return slices.IndexFunc(q.subnets, func(part *fairQueue) bool { return part.prefix == prefix })
}

func (q *fairQueue) add(w *waiter) {
	q.len++
	for _, network := range w.networks {
		i := q.at(network)
		if i < 0 {
			i = len(q.subnets)
			q.subnets = append(q.subnets, &fairQueue{prefix: network})
		}
		q = q.subnets[i]
		q.len++
	}
	q.queue = append(q.queue, w)
}

// next removes and returns the next waiter.
func (q *fairQueue) next() *waiter {
	q.len--
	if len(q.subnets) == 0 {
		w := q.queue[0]
		q.queue = slices.Delete(q.queue, 0, 1)
		return w
	}
	part := q.subnets[0]
	q.subnets = slices.Delete(q.subnets, 0, 1)
	w := part.next()
	if part.len > 0 {
		q.subnets = append(q.subnets, part)
	}
	return w
}

// drop removes and returns the latest waiter of the network with the most waiters. Among networks
// with the same number it takes the network of latest, so that no waiter loses its place to one of an
// equal network, and otherwise the network whose turn comes last.
func (q *fairQueue) drop(latest *waiter) *waiter {
	from := q
	for len(from.subnets) > 0 {
		most := from.subnets[0]
		for _, part := range from.subnets[1:] {
			if part.len > most.len || part.len == most.len && !slices.Contains(latest.networks, most.prefix) {
				most = part
			}
		}
		from = most
	}
	w := from.queue[len(from.queue)-1]
	q.remove(w)
	return w
}

func (q *fairQueue) remove(w *waiter) {
	q.len--
	for _, network := range w.networks {
		i := q.at(network)
		part := q.subnets[i]
		if part.len--; part.len == 0 {
			q.subnets = slices.Delete(q.subnets, i, i+1)
		}
		q = part
	}
	q.queue = slices.DeleteFunc(q.queue, func(other *waiter) bool { return other == w })
}
