package revocation

import "github.com/hashicorp/golang-lru/v2/simplelru"

// table keeps until when each key is revoked. It has no lock of its own.
type table[K comparable] interface {
	// get changes nothing: a look-up makes no entry younger.
	get(key K) (life, bool)
	put(key K, l life)
	// collect removes dead entries.
	collect(dead func(life) bool)
	len() int
}

var (
	_ table[id] = mapTable[id]{}
	_ table[id] = lruTable[id]{}
)

// prolong lets an entry come or end later. It reports whether that changed anything.
func prolong[K comparable](t table[K], key K, l life) bool {
	old, ok := t.get(key)
	if ok {
		if l.end <= old.end {
			return false
		}
		l = old.longer(l)
	}
	t.put(key, l)
	return true
}

// mapTable grows with what it is given.
type mapTable[K comparable] map[K]life

func newMapTable[K comparable]() table[K] { return make(mapTable[K]) }

func (m mapTable[K]) get(key K) (life, bool) { l, ok := m[key]; return l, ok }
func (m mapTable[K]) put(key K, l life)      { m[key] = l }
func (m mapTable[K]) len() int               { return len(m) }

func (m mapTable[K]) collect(dead func(life) bool) {
	for k, l := range m {
		if dead(l) {
			delete(m, k)
		}
	}
}

// lruTable has a cap. What was put longest ago makes room: not always what ends soonest,
// but nearly so, as the lives are of about one length.
type lruTable[K comparable] struct {
	lru   *simplelru.LRU[K, life]
	limit int
	evict func(life)
}

// newLRUTable tells evict of what makes room. limit is at least 1.
func newLRUTable[K comparable](limit int, evict func(life)) table[K] {
	// No callback: it would be called for what is collected, too.
	lru, err := simplelru.NewLRU[K, life](limit, nil)
	if err != nil {
		panic(err) // only for a limit below 1
	}
	return lruTable[K]{lru: lru, limit: limit, evict: evict}
}

func (t lruTable[K]) get(key K) (life, bool) { return t.lru.Peek(key) }
func (t lruTable[K]) len() int               { return t.lru.Len() }

func (t lruTable[K]) put(key K, l life) {
	if t.lru.Len() == t.limit && !t.lru.Contains(key) {
		if _, oldest, ok := t.lru.RemoveOldest(); ok {
			t.evict(oldest)
		}
	}
	t.lru.Add(key, l)
}

// collect stops at the first live entry, so that it costs what it removes and not a walk
// over all. What waits behind it is dead: it hits no token that has not expired, and
// making room with it costs no promise.
func (t lruTable[K]) collect(dead func(life) bool) {
	for {
		_, l, ok := t.lru.GetOldest()
		if !ok || !dead(l) {
			return
		}
		t.lru.RemoveOldest()
	}
}
