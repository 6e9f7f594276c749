package validator

import (
	"sync/atomic"
	"unsafe"

	"tokenbroker/internal/plainjson"
)

const (
	bucketWays = 12
	bucketLoad = 5 // entries in a bucket when the cache is full
	maxNumber  = 1<<24 - 1
)

// bucket is a cache line of the index. For each of up to twelve entries it has, in tags, a
// byte of the hash, which is never 0, and in slots another byte and the entry's number.
// The two are written apart: a reader that sees them disagree misses, or compares without success.
type bucket struct {
	tags  [2]atomic.Uint64
	slots [bucketWays]atomic.Uint32
}

func tagOf(hash uint64) byte { return byte(hash)%255 + 1 }

const (
	lows  = 0x0101010101010101
	highs = 0x8080808080808080
)

// match sets the highest bit of each byte of tags that equals tag. It may also set that of some bytes
// above the first such byte.
func match(tags uint64, tag byte) uint64 {
	x := tags ^ lows*uint64(tag)
	return (x - lows) &^ x & highs
}

// used masks the bytes of tags that belong to a slot.
var used = [2]uint64{highs, highs >> 32}

// number returns the number in a slot, and whether it can be that of the hash.
func (b *bucket) number(way int, hash uint64) (uint32, bool) {
	slot := b.slots[way].Load()
	return slot & maxNumber, slot>>24 == uint32(byte(hash>>8))
}

// put adds a number. If the bucket is full, the oldest number in it, by age, is replaced.
func (b *bucket) put(hash uint64, number uint32, age func(number uint32) int) (out uint32, full bool) {
	way := 0
	for i := range b.slots {
		if b.tag(i) == 0 {
			way, out, full = i, 0, false
			break
		}
		if other := b.slots[i].Load() & maxNumber; !full || age(other) > age(out) {
			way, out, full = i, other, true
		}
	}
	b.set(way, tagOf(hash), uint32(byte(hash>>8))<<24|number)
	return out, full
}

// remove removes a number and reports whether it was there.
func (b *bucket) remove(number uint32) bool {
	for i := range b.slots {
		if b.tag(i) != 0 && b.slots[i].Load()&maxNumber == number {
			b.set(i, 0, 0)
			return true
		}
	}
	return false
}

func (b *bucket) tag(way int) byte { return byte(b.tags[way/8].Load() >> (way % 8 * 8)) }

func (b *bucket) set(way int, tag byte, slot uint32) {
	b.slots[way].Store(slot)
	tags, shift := &b.tags[way/8], way%8*8
	tags.Store(tags.Load()&^(0xff<<shift) | uint64(tag)<<shift)
}

const (
	slabSize   = 64
	entryBytes = 1152 // a multiple of the cache line, with room for the tokens of most brokers
	inline     = entryBytes - 128
)

// slab holds entries in the order in which they came. Each is written once.
type slab [slabSize]entry

// slabNote is the state of a slab that only writers use.
type slabNote struct {
	used   int   // entries written
	live   int   // entries that can be found
	bytes  int   // of these entries
	lastMS int64 // when the last one of them expires
}

// entry is a verified token. All but version is immutable once size is set, which comes
// last. What a hit reads is in the first line; the token's characters follow in the same
// page, so that the processor fetches both at once.
type entry struct {
	size atomic.Int64 // of the token
	// version is the denylist's as it was read before the look-ups that found the token
	// good; if it has moved, they are made again.
	version atomic.Uint64
	expMS   int64
	claims  *Claims
	hash    uint64
	rest    string // what room does not hold
	key     verificationKey
	_       [24]byte // room begins on a cache line
	room    [inline]byte
}

// footprint returns about how many bytes a remembered token uses, including its claims.
func footprint(token string, c *Claims) int {
	return entryBytes + max(0, len(token)-inline) + int(unsafe.Sizeof(*c)) +
		len(c.payload) + cap(c.members)*int(unsafe.Sizeof(plainjson.Member{}))
}

// is reports whether the entry is that of token.
func (e *entry) is(token string) bool {
	size := int(e.size.Load())
	if size != len(token) || size == 0 {
		return false
	}
	if size <= inline {
		return string(e.room[:size]) == token
	}
	return string(e.room[:]) == token[:inline] && e.rest == token[inline:]
}

// write fills the entry and publishes it. The characters are copied, because the token is usually a part
// of a request's headers, which should not be kept in memory.
func (e *entry) write(token string, claims *Claims, key verificationKey, version, hash uint64) {
	e.version.Store(version)
	e.expMS = claims.ExpiresAt.UnixMilli()
	e.claims, e.key, e.hash = claims, key, hash
	if n := copy(e.room[:], token); n < len(token) {
		e.rest = string([]byte(token[n:]))
	}
	e.size.Store(int64(len(token)))
}
