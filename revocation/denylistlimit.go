package revocation

import (
	"maps"
	"time"
)

// NewCappedDenylist returns a [Denylist] with room for limit jti and sid in the form that the broker
// makes, about 80 bytes each, and for as many in other forms. limit is at least 1.
func NewCappedDenylist(limit int) *Denylist {
	d := NewDenylist()
	d.limit = max(limit, 1)
	d.ids = newTable(d.ids.hash, d.limit, d.evict)
	d.texts = newTable(d.texts.hash, d.limit, d.evict)
	return d
}

// evict records the end of an evicted entry. Only Apply calls it, with mu held: the version changes with
// it, so that stored verdicts are checked again.
func (d *Denylist) evict(l life) {
	d.evicted++
	d.incompleteUntil = max(d.incompleteUntil, l.end)
}

// Collect removes the entries that end at or before timeFloor (in Unix seconds of the broker's clock) and
// whose full length has passed on this process's monotonic clock since they were added. It returns their
// number. A service calls it only while it is fresh. In a capped denylist a jti or sid may be kept until
// an older entry is removed.
func (d *Denylist) Collect(timeFloor int64) int {
	now := time.Since(d.base)
	dead := func(l life) bool { return l.end <= timeFloor && l.until <= now }
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.size()
	d.ids.collect(dead)
	d.texts.collect(dead)
	for _, all := range []map[string]epochs{d.subs, d.clients, d.all} {
		maps.DeleteFunc(all, func(_ string, e epochs) bool { return dead(e.life) })
	}
	return before - d.size()
}

// DropStore removes the entries of the kinds sub, client and all, because epochs are counters of one store
// and have no meaning in another. Compromised keys, jti and sid stay.
func (d *Denylist) DropStore() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.subs)
	clear(d.clients)
	clear(d.all)
	d.version.Add(1)
}

// Len returns the number of entries, including compromised keys.
func (d *Denylist) Len() int {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.size()
}

func (d *Denylist) size() int {
	return d.ids.len() + d.texts.len() + len(d.subs) + len(d.clients) + len(d.all) + len(d.kids)
}

// Evictions returns the number of evicted entries.
func (d *Denylist) Evictions() uint64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.evicted
}

// Inserted returns how many jti and sid were added or prolonged. The number is a mark for
// [Denylist.Holds].
func (d *Denylist) Inserted() uint64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.inserted
}

// Holds reports whether every live entry that was added after the mark is still here, because too few were
// added since then for one of them to have been evicted. A caller that asked the broker about a token at
// that mark may continue to use the answer together with this denylist.
func (d *Denylist) Holds(mark uint64) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.limit == 0 || d.inserted-mark <= uint64(d.limit)
}
