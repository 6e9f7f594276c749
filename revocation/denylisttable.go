package revocation

import (
	"crypto/rand"
	"encoding/binary"
	"hash/maphash"
	"math/bits"
)

// table stores how long each jti and sid is revoked, by kind and key, in the order in which the
// entries were put. It has no lock. Entries are stored in chunks and linked by number, so that a
// million of them contain no pointers for the garbage collector to follow. The memory of the
// largest number of entries is kept until the table is empty.
type table[K comparable] struct {
	limit  int        // of entries; zero means none
	evict  func(life) // called with each evicted entry; nil without a limit
	hash   func(K) uint64
	index  index
	count  [2]int // by kind
	chunks []*[entriesAChunk]entry[K]
	used   place // the highest place used so far
	free   place // the first free place; free places are linked by next
	oldest place
	newest place
}

// place is the number of an entry, from 1. Zero means no entry.
type place uint32

type entry[K comparable] struct {
	key        K
	life       life
	prev, next place // the older and the newer entry
	kind       tableKind
}

// tableKind is one of the two kinds of keys in a table.
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

// entriesAChunk is the number of entries in a chunk, which takes 24 KiB.
const entriesAChunk = 512

// newTable returns a table of at most limit entries, which calls evict for each eviction. With
// a limit of 0 it grows without bound. hash is seeded.
func newTable[K comparable](hash func(K) uint64, limit int, evict func(life)) table[K] {
	return table[K]{limit: limit, evict: evict, hash: hash}
}

// has reports whether an entry exists. A look-up does not change the order of eviction.
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

// prolong adds an entry or moves its end to a later time, which makes it the newest. It
// reports whether the table changed.
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

// add adds a new entry. If the table is full, the entry that was added first is evicted. It is not always
// the one that ends first, but nearly so, because entries have about the same length.
func (t *table[K]) add(h indexHash, kind tableKind, key K, l life) {
	if t.limit > 0 && t.len() == t.limit {
		t.evict(t.remove(t.oldest))
	}
	p := t.allocate()
	e := t.at(p)
	e.key, e.life, e.kind = key, l, kind
	t.count[kind]++
	t.index.put(h, p)
	t.link(p)
}

func (t *table[K]) allocate() place {
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

// collect removes dead entries. With a limit it stops at the first live one, so that its cost depends only
// on the number of removed entries. Dead entries after that one do not match any token that has not
// expired, and evicting them breaks no promise.
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

// idHash returns a seeded hash: the middle of a product of both halves, as in wyhash.
func idHash() func(id) uint64 {
	var seed [16]byte
	_, _ = rand.Read(seed[:]) // never fails
	one, two := binary.LittleEndian.Uint64(seed[:]), binary.LittleEndian.Uint64(seed[8:])
	return func(k id) uint64 {
		high, low := bits.Mul64(binary.LittleEndian.Uint64(k[:])^one, binary.LittleEndian.Uint64(k[8:])^two)
		return high ^ low
	}
}

// textHash is idHash for any text.
func textHash() func(string) uint64 {
	seed := maphash.MakeSeed()
	return func(s string) uint64 { return maphash.String(seed, s) }
}

// index finds places by their hash, with open addressing and linear probing, at most half full. A slot has
// the place in its lower half and the hash in its upper one, so that neither growing nor removing reads a
// key. A Go map would need twice the memory and, in a table of a million entries, twice the time, because
// it stores the keys again.
type index struct {
	slots []uint64 // their number is a power of two; zero is a free slot
	used  int
}

type indexHash uint32

const firstSlots = 16

// home returns the slot at which the search for a hash starts.
func (x *index) home(h indexHash) int { return int(h) & (len(x.slots) - 1) }

func (x *index) next(i int) int { return (i + 1) & (len(x.slots) - 1) }

// at returns the content of a slot; the place 0 ends a search.
func (x *index) at(i int) (indexHash, place) {
	if uint(i) >= uint(len(x.slots)) { // there are no slots; i may be negative where an int has 32 bits
		return 0, 0
	}
	s := x.slots[i]
	return indexHash(s >> 32), place(s)
}

// put adds a place that is not in the index.
func (x *index) put(h indexHash, p place) {
	if 2*x.used >= len(x.slots) {
		x.grow()
	}
	x.insert(uint64(h)<<32 | uint64(p))
	x.used++
}

func (x *index) insert(slot uint64) {
	i := x.home(indexHash(slot >> 32))
	for x.slots[i] != 0 {
		i = x.next(i)
	}
	x.slots[i] = slot
}

func (x *index) grow() {
	old := x.slots
	x.slots = make([]uint64, max(2*len(old), firstSlots))
	for _, s := range old {
		if s != 0 {
			x.insert(s)
		}
	}
}

// remove removes an existing place, and moves up the following slots that would not be
// found over the gap.
func (x *index) remove(h indexHash, p place) {
	gap := x.home(h)
	for place(x.slots[gap]) != p {
		gap = x.next(gap)
	}
	mask := len(x.slots) - 1
	for i := x.next(gap); x.slots[i] != 0; i = x.next(i) {
		if home := x.home(indexHash(x.slots[i] >> 32)); (i-home)&mask >= (i-gap)&mask {
			x.slots[gap] = x.slots[i]
			gap = i
		}
	}
	x.slots[gap] = 0
	x.used--
}
