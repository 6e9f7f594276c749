package validator

import (
	"sync/atomic"
	"unsafe"

	"tokenbroker/internal/plainjson"
)

const (
	slabSize   = 64
	entryBytes = 1152 // a multiple of the cache line, with room for the tokens of most brokers
	inline     = entryBytes - 128
)

// slab holds entries in the order in which they came. Each is written once.
type slab [slabSize]entry

// slabNote is what the writers know of a slab.
type slabNote struct {
	used   int   // entries written
	live   int   // entries that can be found
	bytes  int   // what they take
	lastMS int64 // when the last one of them expires
}

// entry is a verified token. All but version is immutable once size is set, which comes
// last. What a hit reads lies in the first line; the token's characters follow in the same
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

// footprint is about how many bytes remembering a token takes, its claims included.
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

// write fills the entry and publishes it. The characters are copied: the token is usually
// a part of a request's headers, which should not stay alive.
func (e *entry) write(token string, claims *Claims, key verificationKey, version, hash uint64) {
	e.version.Store(version)
	e.expMS = claims.ExpiresAt.UnixMilli()
	e.claims, e.key, e.hash = claims, key, hash
	if n := copy(e.room[:], token); n < len(token) {
		e.rest = string([]byte(token[n:]))
	}
	e.size.Store(int64(len(token)))
}
