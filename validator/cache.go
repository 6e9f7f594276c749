package validator

import (
	"hash/maphash"
	"math"
	"math/bits"
	"strings"
	"sync"
	"sync/atomic"
)

// cache remembers verified tokens. It is a fixed table of buckets, each one cache line:
// readers take no lock and write nothing, so they never wait for each other or for a
// writer. A bucket is found by a seeded hash of the signature's tail, an entry by the
// whole token: a collision costs a comparison, never a wrong verdict. Only tokens with a
// good signature enter, so a flood of bad ones moves nothing.
type cache struct {
	seed    maphash.Seed
	limit   int
	buckets []bucket
	count   atomic.Int64

	mu     sync.Mutex // held by writers only: they have just paid for a signature
	cursor int        // guarded by mu: the next bucket to sweep
}

const (
	// unsettled is the version of a token without a verdict that could be stored; no
	// denylist gets there.
	unsettled = math.MaxUint64

	bucketWays = 7
	hashedTail = 32 // characters: 192 bits of the signature
)

// bucket holds up to seven entries and, in tags, a byte of each one's hash. The two are
// written apart; a reader that sees them disagree misses, or compares once in vain.
type bucket struct {
	tags    atomic.Uint64
	entries [bucketWays]atomic.Pointer[entry]
}

// entry is a verified token. All but version is immutable.
type entry struct {
	hash   uint64
	token  string
	expMS  int64
	claims *Claims
	// version is the denylist's as it was read before the look-ups that found the token
	// good; if it has moved, they are made again.
	version atomic.Uint64
	key     verificationKey
}

// second is where a token goes when its own bucket is full.
func (c *cache) second(hash uint64) *bucket { return c.bucket(hash >> 28) }

// newCache makes room for limit tokens, with buckets that are half full then.
func newCache(limit int) *cache {
	wanted := max(1, limit/4)
	return &cache{
		seed:    maphash.MakeSeed(),
		limit:   limit,
		buckets: make([]bucket, 1<<bits.Len(uint(wanted-1))),
	}
}

func (c *cache) hash(token string) uint64 {
	return maphash.String(c.seed, token[max(0, len(token)-hashedTail):])
}

func (c *cache) bucket(hash uint64) *bucket {
	return &c.buckets[hash&uint64(len(c.buckets)-1)]
}

// find returns the token's entry, or nil.
func (c *cache) find(token string) *entry {
	hash := c.hash(token)
	if e := c.bucket(hash).find(hash, token); e != nil {
		return e
	}
	return c.second(hash).find(hash, token)
}

func (b *bucket) find(hash uint64, token string) *entry {
	tags, tag := b.tags.Load(), byte(hash>>56)
	for i := range b.entries {
		if byte(tags>>(8*i)) != tag {
			continue
		}
		if e := b.entries[i].Load(); e != nil && e.hash == hash && e.token == token {
			return e
		}
	}
	return nil
}

// put remembers a token that was verified, found good at version and expires at expMS.
// It drops what has expired on its way, and makes room by dropping what is in its way.
func (c *cache) put(token string, claims *Claims, key verificationKey, version uint64, nowMS int64) {
	// The token is usually a part of a request's headers: do not keep those alive.
	e := &entry{token: strings.Clone(token), expMS: claims.ExpiresAt.UnixMilli(), claims: claims, key: key}
	e.hash = c.hash(token)
	e.version.Store(version)

	c.mu.Lock()
	defer c.mu.Unlock()
	c.sweep(nowMS, false)
	for int(c.count.Load()) >= c.limit {
		c.sweep(nowMS, true)
	}
	first, second := c.bucket(e.hash), c.second(e.hash)
	for _, b := range []*bucket{first, second} { // two requests may have verified it at once
		for way := range b.entries {
			if old := b.entries[way].Load(); old != nil && old.hash == e.hash && old.token == e.token {
				b.set(way, e)
				return
			}
		}
	}
	b, way := first, first.room()
	if b.entries[way].Load() != nil {
		if other := second.room(); second.entries[other].Load() == nil {
			b, way = second, other
		}
	}
	if b.entries[way].Load() == nil {
		c.count.Add(1)
	}
	b.set(way, e)
}

// room is an empty way of the bucket, or else the one that expires first.
func (b *bucket) room() (way int) {
	for i := range b.entries {
		e := b.entries[i].Load()
		if e == nil {
			return i
		}
		if e.expMS < b.entries[way].Load().expMS {
			way = i
		}
	}
	return way
}

func (b *bucket) set(way int, e *entry) {
	shift := 8 * way
	b.entries[way].Store(e)
	b.tags.Store(b.tags.Load()&^(0xff<<shift) | e.hash>>56<<shift)
}

// sweep goes on to the next bucket and drops its expired entries, or all of them.
func (c *cache) sweep(nowMS int64, all bool) {
	b := &c.buckets[c.cursor]
	c.cursor = (c.cursor + 1) & (len(c.buckets) - 1)
	for i := range b.entries {
		if e := b.entries[i].Load(); e != nil && (all || nowMS >= e.expMS) {
			b.entries[i].Store(nil)
			c.count.Add(-1)
		}
	}
}
