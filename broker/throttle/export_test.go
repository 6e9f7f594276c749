package throttle

import "slices"

// UnderWay is how many tries are charged at all levels and to all accounts.
func (t *Throttle) UnderWay() int {
	n := len(t.pending)
	for _, l := range slices.Concat(t.ipv4, t.ipv6, t.knownIPv4, t.knownIPv6) {
		n += len(l.pending)
	}
	return n
}
