package revocation

import (
	"maps"
	"time"
)

// NewCappedDenylist is [NewDenylist] with room for limit jti and sid in the forms that the
// broker makes, about 80 bytes each, and as many in other forms. limit is at least 1.
func NewCappedDenylist(limit int) *Denylist {
	d := NewDenylist()
	d.limit = max(limit, 1)
	d.ids = newTable(d.ids.hash, d.limit, d.evict)
	d.texts = newTable(d.texts.hash, d.limit, d.evict)
	return d
}

// evict notes what made room. It is called with mu held, only by Apply: the version moves
// with it, so that stored verdicts are looked at again.
func (d *Denylist) evict(l life) {
	d.evicted++
	d.incompleteUntil = max(d.incompleteUntil, l.end)
}

// Collect removes the entries that end at or below timeFloor (Unix seconds, the broker's)
// and whose full length has passed on this process's monotonic clock since they were added. It
// returns their number. A service calls it only while it is fresh. With a cap, a jti or sid
// may wait for an older one to go first.
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

// DropStore removes the sub, client and all entries: epochs are counters of one store and
// mean nothing in another. Compromised keys, jti and sid stay.
func (d *Denylist) DropStore() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.subs)
	clear(d.clients)
	clear(d.all)
	d.version.Add(1)
}

// Len returns the number of entries, compromised keys included.
func (d *Denylist) Len() int {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.size()
}

func (d *Denylist) size() int {
	return d.ids.len() + d.texts.len() + len(d.subs) + len(d.clients) + len(d.all) + len(d.kids)
}

// Evictions returns how many entries were evicted.
func (d *Denylist) Evictions() uint64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.evicted
}

// Inserted returns how many jti and sid were added or prolonged: a mark for
// [Denylist.Holds].
func (d *Denylist) Inserted() uint64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.inserted
}

// Holds reports whether every live entry that was added after the mark is still here: too few
// were added since for one of them to have been evicted. A caller that asked the broker about a token
// at that mark may continue to use the answer together with this denylist.
func (d *Denylist) Holds(mark uint64) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.limit == 0 || d.inserted-mark <= uint64(d.limit)
}
