package throttle

import (
	"net/netip"
	"slices"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
)

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

const (
	// maxPlaces is how many addresses one account can keep known.
	maxPlaces = 8
	// placeStays is how long the latest sign-in from a place keeps others from taking its
	// turn. Otherwise one good account would make ever more addresses known, each with
	// allowances of its own.
	placeStays = 24 * time.Hour
)

// places are the addresses that an account made known, the one of the latest sign-in last.
type places []place

// place is an address, or a /64.
type place struct {
	from     netip.Prefix
	signedIn time.Time // latest
}

// sighting is what is remembered of a known address.
type sighting struct {
	accounts int       // that have it among their places
	latest   time.Time // sign-in of any of them
}

// isKnown tells whether from is a known address. Which accounts made it known has no
// influence, so that no answer depends on whether the account that is tried exists.
func (t *Throttle) isKnown(from netip.Prefix, now time.Time) bool {
	seen, ok := t.sightings[from]
	return ok && now.Sub(seen.latest) < t.cfg.Account.Known
}

// know makes from a known address by a sign-in to the account, if the account has a place
// left. What is not an address never is known.
func (t *Throttle) know(key accountKey, from netip.Prefix, now time.Time) {
	if !from.IsValid() {
		return
	}
	known, _ := t.known.Get(key)
	seen := t.sightings[from]
	switch i := slices.IndexFunc(known, func(p place) bool { return p.from == from }); {
	case i >= 0:
		known = slices.Delete(known, i, i+1)
	case len(known) < maxPlaces:
		seen.accounts++
	case now.Sub(known[0].signedIn) < placeStays:
		return
	default:
		seen.accounts++
		t.leave(known[0].from)
		known = slices.Delete(known, 0, 1)
	}
	seen.latest = now
	t.sightings[from] = seen
	t.known.Add(key, append(known, place{from, now}))
}

// leave says that one account less has from among its places.
func (t *Throttle) leave(from netip.Prefix) {
	seen := t.sightings[from]
	if seen.accounts--; seen.accounts < 1 {
		delete(t.sightings, from)
		return
	}
	t.sightings[from] = seen
}
