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

// lowShare: of so many slots that become free while both classes wait, Low gets one.
const lowShare = 4

// semaphore is a number of slots and the callers that wait for one. A slot that becomes free goes to a
// caller of High priority, and every lowShare-th one to a Low caller; while only one class
// waits, it gets all slots. In a class, networks take turns (see [fairQueue]).
//
// Where there are more than maxWaiting callers, one of the network that has the most waiting is
// refused. Each class has a quarter of those places to itself; High gets the rest before Low.
type semaphore struct {
	maxWaiting int
	wait       time.Duration // 0: without a limit

	mu        sync.Mutex // guards what is below
	free      int        // slots; above 0 only while no caller waits
	waiting   [priorities]fairQueue
	highInRow int // slots that High got since Low had one while it waited
}

// acquire takes a slot, which the caller has to release. It waits if there is a place to wait
// in. Errors are ErrBusy and ctx.Err().
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

// enter answers w at once if a slot is free. Otherwise w gets a place, and where that is one too
// many, a waiter is refused, which may be w.
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

// handOver passes a slot to the next who waits. s.mu is held.
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

// fairQueue is a queue in which networks take turns: the /24 of IPv4 and the /48 of IPv6, and in each of
// them its addresses and its /64. Those of one address are served in the order in which they
// came. A caller waits for one caller of each other network, and otherwise only for those of its own,
// however many a network sends.
type fairQueue struct {
	prefix  netip.Prefix
	len     int
	subnets []*fairQueue // smaller networks in the order of their turns; none is empty
	queue   []*waiter    // of the smallest network
}

// at returns the index of the part for a prefix, or -1.
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

// next removes and returns the waiter whose turn it is.
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

// drop removes and returns the latest waiter of the network that has the most. Among networks
// that have as many it takes the one of latest, so that no one loses a place to an equal, or else the
// one whose turn comes last.
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
