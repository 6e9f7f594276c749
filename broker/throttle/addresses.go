package throttle

import (
	"net/netip"
	"slices"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// prefixLevel is a Level and the state of its prefixes.
type prefixLevel struct {
	Level
	// Only failures add entries, so that successful sign-ins do not remove any.
	buckets *simplelru.LRU[netip.Prefix, bucket]
	// Pending tries count as failures until their result is known.
	pending map[netip.Prefix]int
}

func newLevels(of []Level, size int) []*prefixLevel {
	levels := make([]*prefixLevel, len(of))
	for i, l := range of {
		levels[i] = &prefixLevel{Level: l, buckets: newLRU[netip.Prefix, bucket](size, nil), pending: make(map[netip.Prefix]int)}
	}
	return levels
}

// bucket counts failures, which expire at the rate of a [Level]. It counts what was used, not what is free, so
// that the level may change.
type bucket struct {
	failures float64
	at       time.Time // the latest failure
}

// left returns the failures that still count.
func (b bucket) left(refill time.Duration, now time.Time) float64 {
	return max(0, b.failures-float64(max(0, now.Sub(b.at)))/float64(refill))
}

// allowance is the allowance of a prefix, which all its addresses share.
type allowance struct {
	*prefixLevel
	prefix netip.Prefix
	share  Level // this broker's share of the level
}

// wait is how long the next try from the prefix must wait.
func (a allowance) wait(now time.Time) time.Duration { return a.missing(1+a.inFlight(), now) }

// missing is the time until the prefix may have n more failures.
func (a allowance) missing(n int, now time.Time) time.Duration {
	used, _ := a.buckets.Get(a.prefix)
	missing := float64(n-a.share.Burst) + used.left(a.share.Refill, now)
	return time.Duration(max(0, missing) * float64(a.share.Refill))
}

// inFlight is the number of pending tries from the prefix.
func (a allowance) inFlight() int { return a.pending[a.prefix] }

func (a allowance) begin() { a.pending[a.prefix]++ }

func (a allowance) end() {
	if a.pending[a.prefix] > 1 {
		a.pending[a.prefix]--
	} else {
		delete(a.pending, a.prefix)
	}
}

func (a allowance) fail(now time.Time) {
	if a.missing(1, now) > 0 {
		return // a full bucket stays full
	}
	used, _ := a.buckets.Get(a.prefix)
	a.buckets.Add(a.prefix, bucket{failures: used.left(a.share.Refill, now) + 1, at: now})
}

// knownLevels are the levels at which failures from known addresses are counted separately. A larger
// prefix allows as much as all known addresses of one account, so that one account does not use up
// the allowance of others in the prefix, and several accounts get no more than one.
func knownLevels(levels []Level) []Level {
	own := levels[0]
	known := slices.Clone(levels)
	for i := range known[1:] {
		l := &known[1+i]
		l.Burst = max(l.Burst, maxKnownAddresses*own.Burst)
		l.Refill = max(1, min(l.Refill, own.Refill/maxKnownAddresses))
	}
	return known
}

// origin is the source address of a try.
type origin struct {
	// all are the allowances of its prefixes, the longest prefix first. Text that is not an address
	// has only the allowance of the zero prefix.
	all []allowance
	// known are the allowances of its prefixes for known addresses. Text that is not an address has
	// none.
	known []allowance
	// brokers is the number of brokers that share the limits.
	brokers int
}

// own is the longest prefix of the origin: the address for IPv4, the /64 for IPv6.
func (o origin) own() netip.Prefix { return o.all[0].prefix }

// checked are the allowances that must have a token for a try. For a known address, they do not
// include those that other addresses of the prefix can use up.
func (o origin) checked(known bool) []allowance {
	if known {
		return append(o.known[:len(o.known):len(o.known)], o.all[0])
	}
	return o.all
}

// charged are the allowances to which a try is charged.
func (o origin) charged(known bool) []allowance {
	if known {
		return slices.Concat(o.all, o.known)
	}
	return o.all
}

// begin charges a pending try.
func (o origin) begin(known bool) {
	for _, allowance := range o.charged(known) {
		allowance.begin()
	}
}

// end reverts the charge of begin, and returns the known of that begin. While a try is pending, its
// address can become known, or unknown again: isKnown, the current state, decides only if tries of
// both kinds are pending.
func (o origin) end(isKnown bool) (known bool) {
	if len(o.known) > 0 {
		of, all := o.known[0].inFlight(), o.all[0].inFlight()
		known = of > 0 && (isKnown || of == all)
	}
	for _, allowance := range o.charged(known) {
		allowance.end()
	}
	return known
}

// fail charges a failure.
func (o origin) fail(known bool, now time.Time) {
	for _, allowance := range o.charged(known) {
		allowance.fail(now)
	}
}

func (t *Throttle) origin(addr string) origin {
	brokers := t.cfg.brokers()
	unknown := origin{all: []allowance{{prefixLevel: t.ipv4[0], share: t.ipv4[0].sharedBy(brokers)}}, brokers: brokers}
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return unknown
	}
	ip = ip.Unmap().WithZone("")
	levels, known := t.ipv4, t.knownIPv4
	if ip.Is6() {
		levels, known = t.ipv6, t.knownIPv6
	}
	from := origin{brokers: brokers}
	for i, l := range levels {
		prefix, err := ip.Prefix(l.Bits)
		if err != nil { // impossible: validateLevels has checked the bits
			return unknown
		}
		from.all = append(from.all, allowance{l, prefix, l.sharedBy(brokers)})
		from.known = append(from.known, allowance{known[i], prefix, known[i].sharedBy(brokers)})
	}
	return from
}

const (
	// maxKnownAddresses is the number of known addresses of one account.
	maxKnownAddresses = 8
	// minKnownAge is the time after the latest sign-in from a known address in which no other
	// address replaces it. Otherwise one valid account could make an unlimited number of addresses
	// known, each with a separate allowance.
	minKnownAge = 24 * time.Hour
)

// knownAddresses are the known addresses of an account, the one of the latest sign-in last.
type knownAddresses []knownAddress

// knownAddress is an address, or a /64.
type knownAddress struct {
	from     netip.Prefix
	signedIn time.Time // latest
}

// knownCount is the state of a known address.
type knownCount struct {
	accounts int       // that have it among their known addresses
	latest   time.Time // the latest sign-in of any of them
}

// isKnown reports whether from is a known address. It does not depend on the accounts that made it
// known, so that no answer depends on whether the account that is tried exists.
func (t *Throttle) isKnown(from netip.Prefix, now time.Time) bool {
	seen, ok := t.knownCounts[from]
	return ok && now.Sub(seen.latest) < t.cfg.Account.Known
}

// addKnown makes from a known address after a sign-in to the account, if the account can have another
// one. Text that is not an address is never known.
func (t *Throttle) addKnown(key accountKey, from netip.Prefix, now time.Time) {
	if !from.IsValid() {
		return
	}
	known, _ := t.known.Get(key)
	seen := t.knownCounts[from]
	switch i := slices.IndexFunc(known, func(p knownAddress) bool { return p.from == from }); {
	case i >= 0:
		known = slices.Delete(known, i, i+1)
	case len(known) < maxKnownAddresses:
		seen.accounts++
	case now.Sub(known[0].signedIn) < minKnownAge:
		return
	default:
		seen.accounts++
		t.dropKnown(known[0].from)
		known = slices.Delete(known, 0, 1)
	}
	seen.latest = now
	t.knownCounts[from] = seen
	t.known.Add(key, append(known, knownAddress{from, now}))
}

// dropKnown records that one account no longer has from among its known addresses.
func (t *Throttle) dropKnown(from netip.Prefix) {
	seen := t.knownCounts[from]
	if seen.accounts--; seen.accounts < 1 {
		delete(t.knownCounts, from)
		return
	}
	t.knownCounts[from] = seen
}
