package password

import (
	"net/netip"
	"slices"
)

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
