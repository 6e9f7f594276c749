package throttle

import (
	"fmt"
	"net/netip"
	"slices"
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
	missing := 1 + float64(s.underWay()) - free
	return time.Duration(max(0, missing) * float64(s.Refill))
}

// underWay is how many tries from the prefix are under way.
func (s share) underWay() int { return s.trying[s.prefix] }

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

// knownLevels are the levels at which failures from known addresses are counted apart from
// strangers'. A larger prefix allows as much as all addresses that one account can keep known, so that
// an account alone uses up no neighbour's allowance, and several get no more than one.
func knownLevels(levels []Level) []Level {
	own := levels[0]
	known := slices.Clone(levels)
	for i := range known[1:] {
		l := &known[1+i]
		l.Burst = max(l.Burst, maxPlaces*own.Burst)
		l.Refill = max(1, min(l.Refill, own.Refill/maxPlaces))
	}
	return known
}

// origin is where a try comes from.
type origin struct {
	// all are the shares of its prefixes, the one of the longest prefix first. What is not an
	// address has one, of the zero prefix.
	all []share
	// known are the shares that it has of its prefixes when it is a known address. What is
	// not an address has none.
	known []share
}

// own is the longest prefix of the origin: the address of IPv4, the /64 of IPv6.
func (o origin) own() netip.Prefix { return o.all[0].prefix }

// judges are the shares that need room for a try. Those that strangers nearby can use up do
// not judge a known address.
func (o origin) judges(known bool) []share {
	if known {
		return append(o.known[:len(o.known):len(o.known)], o.all[0])
	}
	return o.all
}

// payers are the shares that a try is charged to.
func (o origin) payers(known bool) []share {
	if known {
		return slices.Concat(o.all, o.known)
	}
	return o.all
}

// begin charges a try that is under way.
func (o origin) begin(known bool) {
	for _, share := range o.payers(known) {
		share.begin()
	}
}

// end takes back what begin charged, and reports what known was. While a try is under way its address
// can become known, or cease to be: isKnown, which says what it is now, decides only between
// tries of both kinds.
func (o origin) end(isKnown bool) (known bool) {
	if len(o.known) > 0 {
		of, all := o.known[0].underWay(), o.all[0].underWay()
		known = of > 0 && (isKnown || of == all)
	}
	for _, share := range o.payers(known) {
		share.end()
	}
	return known
}

// fail charges a failure.
func (o origin) fail(known bool, now time.Time) {
	for _, share := range o.payers(known) {
		share.fail(now)
	}
}

func (t *Throttle) origin(addr string) origin {
	unknown := origin{all: []share{{level: t.ipv4[0]}}}
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return unknown
	}
	ip = ip.Unmap().WithZone("")
	levels, known := t.ipv4, t.knownIPv4
	if ip.Is6() {
		levels, known = t.ipv6, t.knownIPv6
	}
	var from origin
	for i, l := range levels {
		prefix, err := ip.Prefix(l.Bits)
		if err != nil { // not possible: validateLevels saw the bits
			return unknown
		}
		from.all = append(from.all, share{l, prefix})
		from.known = append(from.known, share{known[i], prefix})
	}
	return from
}
