package validator

import (
	"fmt"
	"testing"
	"time"
	"unsafe"
)

func claimsUntil(seconds int64) *Claims { return &Claims{ExpiresAt: time.Unix(seconds, 0)} }

func TestTheCacheIsBounded(t *testing.T) {
	c := newCache(100)
	last := ""
	for i := range 10_000 {
		last = fmt.Sprintf("token-%040d", i)
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
	if n := int(c.count.Load()); n != found || n > 100 || n < 50 {
		t.Errorf("%d tokens are counted, %d found, 100 allowed", n, found)
	}
}

func TestTheCacheDropsExpiredTokens(t *testing.T) {
	c := newCache(1000)
	for i := range 500 {
		c.put(fmt.Sprintf("old-%040d", i), claimsUntil(10), verificationKey{}, 1, 0)
	}
	for i := range 300 {
		c.put(fmt.Sprintf("new-%040d", i), claimsUntil(1000), verificationKey{}, 1, 10_000)
	}
	if n := c.count.Load(); n != 300 {
		t.Errorf("%d tokens, want the 300 new ones", n)
	}
}

func TestTheCacheComparesTheWholeToken(t *testing.T) {
	c := newCache(100)
	const tail = "the same signature, of 32 characters and more"
	one, other := claimsUntil(1000), claimsUntil(1000)
	c.put("one."+tail, one, verificationKey{}, 1, 0)
	if c.find("two."+tail) != nil {
		t.Error("found by the signature alone")
	}
	c.put("two."+tail, other, verificationKey{}, 1, 0)
	c.put("two."+tail, other, verificationKey{}, 2, 0)
	if c.find("one."+tail).claims != one || c.find("two."+tail).claims != other || c.count.Load() != 2 {
		t.Error("two tokens with one signature are not two entries")
	}
	for _, short := range []string{"", "x", tail[:31]} {
		if c.find(short) != nil {
			t.Errorf("found %q", short)
		}
	}
}

func TestABucketIsACacheLine(t *testing.T) {
	if size := unsafe.Sizeof(bucket{}); size != 64 {
		t.Errorf("a bucket takes %d bytes", size)
	}
}
