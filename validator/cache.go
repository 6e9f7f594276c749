package validator

import (
	"crypto/rand"
	"encoding/binary"
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
)

// cache remembers the latest verified tokens, up to a number and a number of bytes. Readers take no lock
// and write nothing, so they never wait for each other or for a writer. An entry is found by a seeded hash
// of the signature's end in an index that is small enough for the processor's cache, and confirmed by
// comparing the whole token: a collision costs a comparison, never a wrong verdict. Only tokens with a
// valid signature are added, so a flood of invalid ones evicts nothing.
//
// Entries are stored in slabs in the order in which they were added. Each is written once. Memory is freed
// when a whole slab is dropped, and the collector frees it when the last reader is done. A hit therefore
// waits for memory twice: for a line of the index and for the entry.
type cache struct {
	seed  [2]uint64
	index []bucket
	slabs []atomic.Pointer[slab]
	count atomic.Int64 // entries that can be found

	mu sync.Mutex // held only by writers, which have just verified a signature
	// mu guards everything below.
	limit, maxBytes int
	bytes           int
	notes           []slabNote // of each slab
	filling         int        // the slab that is being filled
	cursor          int        // the next slab to look at for expired tokens
}

const (
	// unsettled is the version of a token without a verdict that could be stored. No denylist reaches it.
	unsettled = math.MaxUint64

	hashedTail = 16 // characters: 92 bits of the signature

	// maxRemembered is the maximum number of tokens, because an index slot has room for their number.
	maxRemembered = 1<<24 - 2*slabSize

	bytesPerToken = 3 << 10 // what Config.CacheSize promises
)

// newCache returns a cache with room for limit tokens of common length.
func newCache(limit int) *cache {
	limit = min(max(limit, 1), maxRemembered)
	slabs := limit/slabSize + 2
	var secret [16]byte
	_, _ = rand.Read(secret[:]) // it never fails
	return &cache{
		seed:     [2]uint64{binary.NativeEndian.Uint64(secret[:8]), binary.NativeEndian.Uint64(secret[8:])},
		index:    make([]bucket, limit/bucketLoad+1),
		slabs:    make([]atomic.Pointer[slab], slabs),
		notes:    make([]slabNote, slabs),
		limit:    limit,
		maxBytes: limit * bytesPerToken,
	}
}

// hash mixes the last characters of the signature, which have at least 90 bits, with a secret, so that an
// attacker cannot cause collisions.
func (c *cache) hash(token string) uint64 {
	n := len(token)
	if n < hashedTail {
		return c.seed[0]
	}
	high, low := bits.Mul64(word(token[n-16:n-8])^c.seed[0], word(token[n-8:])^c.seed[1])
	return high ^ low
}

// word reads the first eight characters of text, with one load.
func word(t string) uint64 {
	_ = t[7]
	return uint64(t[0]) | uint64(t[1])<<8 | uint64(t[2])<<16 | uint64(t[3])<<24 |
		uint64(t[4])<<32 | uint64(t[5])<<40 | uint64(t[6])<<48 | uint64(t[7])<<56
}

func (c *cache) bucket(hash uint64) *bucket {
	n, _ := bits.Mul64(hash, uint64(len(c.index)))
	return &c.index[n]
}

// find returns the token's entry, or nil.
func (c *cache) find(token string) *entry {
	e, _ := c.lookup(c.hash(token), token)
	return e
}

func (c *cache) lookup(hash uint64, token string) (*entry, uint32) {
	b, tag := c.bucket(hash), tagOf(hash)
	for half := range b.tags {
		for found := match(b.tags[half].Load(), tag) & used[half]; found != 0; found &= found - 1 {
			number, ok := b.number(half*8+bits.TrailingZeros64(found)/8, hash)
			if !ok {
				continue
			}
			if e := c.entry(number); e != nil && e.is(token) {
				return e, number
			}
		}
	}
	return nil, 0
}

// entry returns the entry of a number, or nil if its slab was dropped.
func (c *cache) entry(number uint32) *entry {
	s := c.slabs[number/slabSize].Load()
	if s == nil {
		return nil
	}
	return &s[number%slabSize]
}

// put remembers a token that was verified, found good at version and expires with its
// claims. It drops expired entries that it finds, and the oldest ones if the cache is full.
func (c *cache) put(token string, claims *Claims, key verificationKey, version uint64, nowMS int64) {
	hash := c.hash(token)
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, number := c.lookup(hash, token); e != nil { // two requests may have verified it at once
		if sameKey(e.key, key) {
			e.version.Store(version)
			return
		}
		c.bucket(hash).remove(number)
		c.forgot(number)
	}
	if n := &c.notes[c.cursor]; n.used > 0 && nowMS >= n.lastMS {
		c.drop(c.cursor)
	}
	c.cursor = (c.cursor + 1) % len(c.slabs)

	e, number := c.allocate(footprint(token, claims))
	e.write(token, claims, key, version, hash)
	n := &c.notes[number/slabSize]
	n.lastMS = max(n.lastMS, e.expMS)
	if out, ok := c.bucket(hash).put(hash, number, c.age); ok {
		c.forgot(out)
	}
	c.count.Add(1)
}

// forgot records that an entry can no longer be found.
func (c *cache) forgot(number uint32) {
	c.notes[number/slabSize].live--
	c.count.Add(-1)
}

// allocate returns the next entry to write, for a token that takes size bytes.
func (c *cache) allocate(size int) (*entry, uint32) {
	for c.count.Load() > 0 && (int(c.count.Load()) >= c.limit || c.bytes+size > c.maxBytes) {
		c.drop(c.oldestSlab())
	}
	s := c.slabs[c.filling].Load()
	if s == nil || c.notes[c.filling].used == slabSize {
		c.filling = c.freeSlab()
		c.drop(c.filling)
		s = new(slab)
		c.slabs[c.filling].Store(s)
	}
	n := &c.notes[c.filling]
	e := &s[n.used]
	number := uint32(c.filling*slabSize + n.used)
	n.used++
	n.live++
	n.bytes += size
	c.bytes += size
	return e, number
}

// freeSlab returns the next slab to fill: an empty one or, if entries that cannot be found use too much
// memory, the oldest.
func (c *cache) freeSlab() int {
	for i := range c.slabs {
		if k := (c.filling + 1 + i) % len(c.slabs); c.slabs[k].Load() == nil {
			return k
		}
	}
	return c.oldestSlab()
}

// oldestSlab returns the slab that was started first.
func (c *cache) oldestSlab() int {
	for i := range c.slabs {
		if k := (c.filling + 1 + i) % len(c.slabs); c.notes[k].used > 0 {
			return k
		}
	}
	return c.filling
}

// age orders numbers: the older the entry, the higher its age.
func (c *cache) age(number uint32) int {
	slabsAgo := (c.filling - int(number)/slabSize + len(c.slabs)) % len(c.slabs)
	return slabsAgo*slabSize - int(number)%slabSize
}

// drop removes a slab.
func (c *cache) drop(k int) {
	s, n := c.slabs[k].Load(), &c.notes[k]
	if s == nil {
		return
	}
	for i := range s[:n.used] {
		c.bucket(s[i].hash).remove(uint32(k*slabSize + i))
	}
	c.slabs[k].Store(nil)
	c.count.Add(-int64(n.live))
	c.bytes -= n.bytes
	*n = slabNote{}
}
