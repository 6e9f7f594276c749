package validator

import "sync/atomic"

const (
	bucketWays = 12
	bucketLoad = 5 // entries in a bucket when the cache is full
	maxNumber  = 1<<24 - 1
)

// bucket is a cache line of the index. For each of up to twelve entries it has, in tags, a
// byte of the hash, which is never 0, and in slots another byte and the entry's number.
// The two are written apart: a reader that sees them disagree misses, or compares in vain.
type bucket struct {
	tags  [2]atomic.Uint64
	slots [bucketWays]atomic.Uint32
}

func tagOf(hash uint64) byte { return byte(hash)%255 + 1 }

const (
	lows  = 0x0101010101010101
	highs = 0x8080808080808080
)

// match sets the highest bit of each byte of tags that is tag; of the bytes above the first
// such one also of some that are not.
func match(tags uint64, tag byte) uint64 {
	x := tags ^ lows*uint64(tag)
	return (x - lows) &^ x & highs
}

// used masks the bytes of tags that stand for a slot.
var used = [2]uint64{highs, highs >> 32}

// number gives what the slot holds when that can be the hash's.
func (b *bucket) number(way int, hash uint64) (uint32, bool) {
	slot := b.slots[way].Load()
	return slot & maxNumber, slot>>24 == uint32(byte(hash>>8))
}

// put enters a number. When the bucket is full the oldest one in it, by age, makes room.
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

// remove reports whether the number was there.
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
