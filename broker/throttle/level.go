package throttle

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
)

// Level says how many failures the addresses of one prefix may cause together.
type Level struct {
	// Bits is the length of the prefix.
	Bits int
	// Burst is how many failures may come at once.
	Burst int
	// Refill is the time after which one more is allowed.
	Refill time.Duration
}

// validateLevels panics unless levels go from longer to shorter prefixes of an address of that
// many bits, and each lets something through.
func validateLevels(levels []Level, bits int) {
	if len(levels) == 0 {
		panic("throttle: no level of prefixes")
	}
	longest := bits
	for _, l := range levels {
		if l.Bits < 0 || l.Bits > longest || l.Burst < 1 || l.Refill < 1 {
			panic(fmt.Sprintf("throttle: level %+v: want 0 to %d bits, a burst and a refill above 0", l, longest))
		}
		longest = l.Bits - 1
	}
}

// level is a Level and what its prefixes did.
type level struct {
	Level
	// Only failures make entries, so that good sign-ins push none out.
	buckets *simplelru.LRU[netip.Prefix, *rate.Limiter]
	// Tries under way count as failures until their result is known.
	trying map[netip.Prefix]int
}

func newLevels(of []Level, size int) []*level {
	levels := make([]*level, len(of))
	for i, l := range of {
		levels[i] = &level{Level: l, buckets: newLRU[netip.Prefix, *rate.Limiter](size, nil), trying: make(map[netip.Prefix]int)}
	}
	return levels
}

// share is the allowance that an address shares with all others of a prefix.
type share struct {
	*level
	prefix netip.Prefix
}

// wait is how long the next try from the prefix has to wait.
func (s share) wait(now time.Time) time.Duration {
	free := float64(s.Burst)
	if bucket, ok := s.buckets.Get(s.prefix); ok {
		free = bucket.TokensAt(now)
	}
	missing := 1 + float64(s.trying[s.prefix]) - free
	return time.Duration(max(0, missing) * float64(s.Refill))
}

func (s share) begin() { s.trying[s.prefix]++ }

func (s share) end() {
	if s.trying[s.prefix] > 1 {
		s.trying[s.prefix]--
	} else {
		delete(s.trying, s.prefix)
	}
}

func (s share) fail(now time.Time) {
	bucket, ok := s.buckets.Get(s.prefix)
	if !ok {
		bucket = rate.NewLimiter(rate.Every(s.Refill), s.Burst)
		s.buckets.Add(s.prefix, bucket)
	}
	bucket.AllowN(now, 1) // an empty bucket stays empty
}

// origin is where a try comes from: its shares, the one of the longest prefix first. What is
// not an address has one, of the zero prefix.
type origin []share

// own is the longest prefix of the origin: the address of IPv4, the /64 of IPv6.
func (o origin) own() netip.Prefix { return o[0].prefix }

// fail charges every share.
func (o origin) fail(now time.Time) {
	for _, share := range o {
		share.fail(now)
	}
}

func (t *Throttle) origin(addr string) origin {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return origin{{level: t.ipv4[0]}}
	}
	ip = ip.Unmap().WithZone("")
	levels := t.ipv4
	if ip.Is6() {
		levels = t.ipv6
	}
	from := make(origin, 0, len(levels))
	for _, l := range levels {
		prefix, err := ip.Prefix(l.Bits)
		if err != nil { // not possible: validateLevels saw the bits
			return origin{{level: t.ipv4[0]}}
		}
		from = append(from, share{l, prefix})
	}
	return from
}
