package revocation

// table keeps until when each jti and sid is revoked, found by its kind and key, in the
// order in which they were put. It has no lock of its own. Entries lie in chunks and are
// linked by number, so that a million of them are nothing for the collector to follow. The
// room of the largest number there was is kept until the table is empty.
type table[K comparable] struct {
	limit  int        // of entries; 0: none
	evict  func(life) // told of what makes room; nil without a limit
	hash   func(K) uint64
	index  index
	count  [2]int // by kind
	chunks []*[entriesAChunk]entry[K]
	used   place // the highest place ever given
	free   place // the first of those that were given back, linked by next
	oldest place
	newest place
}

// place is where an entry lies, from 1; 0 is nowhere.
type place uint32

type entry[K comparable] struct {
	key        K
	life       life
	prev, next place // towards the older and the newer one
	kind       tableKind
}

// tableKind says which of the two kinds of a table a key is of.
type tableKind uint8

const (
	ofJTI tableKind = iota
	ofSID
)

func tableKindOf(k Kind) tableKind {
	if k == KindSID {
		return ofSID
	}
	return ofJTI
}

// entriesAChunk fills 24 KiB.
const entriesAChunk = 512

// newTable gives a table with room for limit entries, of whose evictions evict is told, or
// with a limit of 0 one that grows with what it is given. hash is seeded.
func newTable[K comparable](hash func(K) uint64, limit int, evict func(life)) table[K] {
	return table[K]{limit: limit, evict: evict, hash: hash}
}

// has changes nothing: a look-up makes no entry younger.
func (t *table[K]) has(kind tableKind, key K) bool {
	if t.count[kind] == 0 {
		return false
	}
	return t.find(t.hashOf(kind, key), kind, key) != 0
}

func (t *table[K]) len() int { return t.count[ofJTI] + t.count[ofSID] }

func (t *table[K]) hashOf(kind tableKind, key K) indexHash {
	return indexHash(t.hash(key)>>32) ^ indexHash(kind)
}

func (t *table[K]) find(h indexHash, kind tableKind, key K) place {
	for i := t.index.home(h); ; i = t.index.next(i) {
		h2, p := t.index.at(i)
		if p == 0 {
			return 0
		}
		if h2 != h {
			continue
		}
		if e := t.at(p); e.key == key && e.kind == kind {
			return p
		}
	}
}

func (t *table[K]) at(p place) *entry[K] {
	return &t.chunks[(p-1)/entriesAChunk][(p-1)%entriesAChunk]
}

// prolong lets an entry come or end later, which makes it the newest. It reports whether
// that changed anything.
func (t *table[K]) prolong(kind tableKind, key K, l life) bool {
	h := t.hashOf(kind, key)
	p := t.find(h, kind, key)
	if p == 0 {
		t.add(h, kind, key, l)
		return true
	}
	e := t.at(p)
	if l.end <= e.life.end {
		return false
	}
	e.life = e.life.longer(l)
	t.unlink(p)
	t.link(p)
	return true
}

// add takes in what is not here. What was put longest ago makes room: not always what ends
// soonest, but nearly so, as the lives are of about one length.
func (t *table[K]) add(h indexHash, kind tableKind, key K, l life) {
	if t.limit > 0 && t.len() == t.limit {
		t.evict(t.remove(t.oldest))
	}
	p := t.room()
	e := t.at(p)
	e.key, e.life, e.kind = key, l, kind
	t.count[kind]++
	t.index.put(h, p)
	t.link(p)
}

func (t *table[K]) room() place {
	if p := t.free; p != 0 {
		t.free = t.at(p).next
		return p
	}
	if int(t.used) == len(t.chunks)*entriesAChunk {
		t.chunks = append(t.chunks, new([entriesAChunk]entry[K]))
	}
	t.used++
	return t.used
}

func (t *table[K]) remove(p place) life {
	t.unlink(p)
	e := t.at(p)
	l := e.life
	t.count[e.kind]--
	t.index.remove(t.hashOf(e.kind, e.key), p)
	*e = entry[K]{next: t.free}
	t.free = p
	return l
}

// link makes an entry the newest.
func (t *table[K]) link(p place) {
	e := t.at(p)
	e.prev, e.next = t.newest, 0
	if t.newest != 0 {
		t.at(t.newest).next = p
	} else {
		t.oldest = p
	}
	t.newest = p
}

func (t *table[K]) unlink(p place) {
	e := t.at(p)
	if e.prev != 0 {
		t.at(e.prev).next = e.next
	} else {
		t.oldest = e.next
	}
	if e.next != 0 {
		t.at(e.next).prev = e.prev
	} else {
		t.newest = e.prev
	}
}

// collect removes dead entries. With a limit it stops at the first live one, so that it
// costs what it removes and not a walk over all. What waits behind that is dead: it hits no
// token that has not expired, and making room with it costs no promise.
func (t *table[K]) collect(dead func(life) bool) {
	for p := t.oldest; p != 0; {
		e := t.at(p)
		next := e.next
		if dead(e.life) {
			t.remove(p)
		} else if t.limit > 0 {
			break
		}
		p = next
	}
	if t.len() == 0 {
		*t = newTable(t.hash, t.limit, t.evict)
	}
}
