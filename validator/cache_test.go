package validator

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"
)

func claimsUntil(seconds int64) *Claims { return &Claims{ExpiresAt: time.Unix(seconds, 0)} }

// fixedSeed is for tests that count entries: with 3 of 1,000 seeds a bucket of the index overflows, and an
// entry is dropped before the cache is full.
var fixedSeed = [2]uint64{0x9e3779b97f4a7c15, 0xbf58476d1ce4e5b9}

func TestTheCacheIsBounded(t *testing.T) {
	for _, limit := range []int{1, 10, 100, 1000} {
		c := newCache(limit)
		c.seed = fixedSeed
		for i := range 10_000 {
			last := fmt.Sprintf("token-%040d", i)
			c.put(last, claimsUntil(1000), verificationKey{}, 1, 0)
			if c.find(last) == nil {
				t.Fatalf("token %d is not there", i)
			}
		}
		found := 0
		for i := range 10_000 {
			if c.find(fmt.Sprintf("token-%040d", i)) != nil {
				found++
			}
		}
		if n := int(c.count.Load()); n != found || n > limit || n < limit-slabSize {
			t.Errorf("%d tokens are counted, %d found, %d allowed", n, found, limit)
		}
	}
}

// Where more tokens meet in a bucket than it has room for, the first ones go, and what they
// leave in the slabs does not take the place of the last ones.
func TestTheCacheKeepsTheLastTokensOfACrowdedBucket(t *testing.T) {
	c := newCache(200)
	c.index = c.index[:1]
	for i := range 2000 {
		c.put(fmt.Sprintf("token-%040d", i), claimsUntil(1000), verificationKey{}, 1, 0)
		for k := max(0, i-bucketWays+1); k <= i; k++ {
			if c.find(fmt.Sprintf("token-%040d", k)) == nil {
				t.Fatalf("token %d is not there after token %d", k, i)
			}
		}
	}
}

func TestTheCacheIsBoundedInBytes(t *testing.T) {
	const limit = 1000
	c := newCache(limit)
	long := strings.Repeat("x", 15<<10)
	for i := range 3000 {
		c.put(fmt.Sprintf("%s-%040d", long, i), claimsUntil(1000), verificationKey{}, 1, 0)
		if c.bytes > limit*bytesPerToken {
			t.Fatalf("%d bytes after %d tokens of 15 KiB", c.bytes, i+1)
		}
	}
	if n := c.count.Load(); n < 100 {
		t.Errorf("only %d are left", n)
	}
}

func TestTheCacheDropsExpiredTokens(t *testing.T) {
	c := newCache(1000)
	c.seed = fixedSeed
	for i := range 500 {
		c.put(fmt.Sprintf("old-%040d", i), claimsUntil(10), verificationKey{}, 1, 0)
	}
	for i := range 300 {
		c.put(fmt.Sprintf("new-%040d", i), claimsUntil(1000), verificationKey{}, 1, 10_000)
	}
	if n := c.count.Load(); n < 300 || n >= 300+slabSize {
		t.Errorf("%d tokens, want the 300 new ones and those in a slab with them", n)
	}
	for i := range 300 {
		if c.find(fmt.Sprintf("new-%040d", i)) == nil {
			t.Fatalf("the new token %d was dropped", i)
		}
	}
}

func TestTheCacheComparesTheWholeToken(t *testing.T) {
	const tail = "the same signature, of 32 characters and more"
	for _, body := range []string{"body.", strings.Repeat("body", 1000) + "."} { // within an entry and beyond
		c := newCache(100)
		one, other := claimsUntil(1000), claimsUntil(1000)
		c.put("one."+body+tail, one, verificationKey{}, 1, 0)
		for _, like := range []string{"two." + body + tail, "one." + body[1:] + "." + tail, "one." + body[:len(body)-2] + "x." + tail} {
			if c.find(like) != nil {
				t.Errorf("found %.20q only by its signature", like)
			}
		}
		c.put("two."+body+tail, other, verificationKey{}, 1, 0)
		c.put("two."+body+tail, other, verificationKey{}, 2, 0)
		if c.find("one."+body+tail).claims != one || c.find("two."+body+tail).claims != other || c.count.Load() != 2 {
			t.Error("two tokens with one signature are not two entries")
		}
		if v := c.find("two." + body + tail).version.Load(); v != 2 {
			t.Errorf("the newer verdict is not there, but that of version %d", v)
		}
		for _, short := range []string{"", "x", tail[:hashedTail-1]} {
			if c.find(short) != nil {
				t.Errorf("found %q", short)
			}
		}
	}
}

// An entry is found only under the token that it was put under, also after evictions.
func TestTheCacheAgainstATwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCache(rapid.SampledFrom([]int{1, 64, 200}).Draw(t, "limit"))
		c.index = c.index[:rapid.IntRange(1, len(c.index)).Draw(t, "buckets")] // crowded
		twin := map[string]*Claims{}
		now := int64(0)
		for range rapid.IntRange(1, 20).Draw(t, "rounds") {
			now += rapid.Int64Range(0, 20).Draw(t, "seconds")
			for range rapid.IntRange(1, 100).Draw(t, "tokens") {
				token := fmt.Sprintf("token-%040d", rapid.IntRange(0, 500).Draw(t, "token"))
				if twin[token] == nil || c.find(token) == nil {
					twin[token] = claimsUntil(now + rapid.Int64Range(1, 30).Draw(t, "life"))
				}
				c.put(token, twin[token], verificationKey{}, 1, now*1000)
			}
			found := int64(0)
			for token, claims := range twin {
				if e := c.find(token); e != nil {
					found++
					if e.claims != claims {
						t.Fatalf("%s has another's claims", token)
					}
				}
			}
			if found != c.count.Load() || found == 0 {
				t.Fatalf("%d found, %d counted", found, c.count.Load())
			}
		}
	})
}

// Readers meet entries that are being written, slabs that are dropped and numbers that are
// given again; the race detector looks on.
func TestTheCacheUnderReadersAndWriters(t *testing.T) {
	const tokens = 400
	c := newCache(128)
	name := func(i int) string { return fmt.Sprintf("token-%040d", i) }
	claims := make([]*Claims, tokens)
	for i := range claims {
		claims[i] = claimsUntil(1000)
	}
	var group sync.WaitGroup
	for w := range 2 {
		group.Go(func() {
			for i := range 5000 {
				n := (i*7 + w) % tokens
				c.put(name(n), claims[n], verificationKey{}, 1, 0)
			}
		})
	}
	for r := range 4 {
		group.Go(func() {
			for i := range 20_000 {
				n := (i*13 + r) % tokens
				if e := c.find(name(n)); e != nil && (e.claims != claims[n] || e.expMS != 1_000_000) {
					t.Errorf("token %d has another's claims", n)
					return
				}
			}
		})
	}
	group.Wait()
}

func TestABucketIsACacheLine(t *testing.T) {
	if size := unsafe.Sizeof(bucket{}); size != 64 {
		t.Errorf("a bucket takes %d bytes", size)
	}
	if e := (entry{}); unsafe.Sizeof(e) != entryBytes || unsafe.Offsetof(e.room)%64 != 0 || unsafe.Offsetof(e.claims) >= 64 {
		t.Errorf("an entry takes %d bytes, its token begins at %d", unsafe.Sizeof(e), unsafe.Offsetof(e.room))
	}
}

func TestMatchFindsTheFirstOfEqualTags(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tags := rapid.Uint64().Draw(t, "tags")
		tag := byte(tags >> (8 * rapid.IntRange(0, 7).Draw(t, "way")))
		first := 0
		for byte(tags>>(8*first)) != tag {
			first++
		}
		found := match(tags, tag)
		if found&-found != 0x80<<(8*first) {
			t.Fatalf("%016x has %02x first at %d, found %016x", tags, tag, first, found)
		}
		for i := range 8 {
			if byte(tags>>(8*i)) == tag && found>>(8*i)&0x80 == 0 {
				t.Fatalf("%016x has %02x at %d, found %016x", tags, tag, i, found)
			}
		}
	})
}
