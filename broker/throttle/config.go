package throttle

import (
	"fmt"
	"time"
)

// The defaults of a [Config].
const (
	DefaultFree   = 10
	DefaultBase   = time.Second
	DefaultMax    = time.Minute
	DefaultForget = time.Hour
	DefaultKnown  = 30 * 24 * time.Hour
	DefaultSize   = 100_000
)

// DefaultIPv4 and DefaultIPv6 return the default levels of a [Config].
//
// An IPv4 address can be a whole office, and a /24 the customers of a mobile carrier behind its NAT.
// A /64 of IPv6 is one network. A /48 costs an attacker nothing, so its allowance is only slightly
// larger. A /32 is a whole provider.
func DefaultIPv4() []Level {
	return []Level{
		{Bits: 32, Burst: 100, Refill: time.Second},
		{Bits: 24, Burst: 500, Refill: 200 * time.Millisecond},
	}
}

// DefaultIPv6 is described at [DefaultIPv4].
func DefaultIPv6() []Level {
	return []Level{
		{Bits: 64, Burst: 50, Refill: 2 * time.Second},
		{Bits: 56, Burst: 75, Refill: 1500 * time.Millisecond},
		{Bits: 48, Burst: 100, Refill: time.Second},
		{Bits: 32, Burst: 1000, Refill: 100 * time.Millisecond},
	}
}

// Account configures how failures slow down one account. Zero values are the defaults.
type Account struct {
	// Free is the number of failures without consequence.
	Free int
	// Base is the pause after the next failure; it doubles with each further one, up to Max.
	Base, Max time.Duration
	// Forget is the time without a failure after which all failures are forgotten.
	Forget time.Duration
	// Known is the time after a success for which an address stays known.
	Known time.Duration
}

// pause is the time between attempts for an account with that many failures.
func (a Account) pause(failures int) time.Duration {
	over := failures - a.Free
	if over < 0 {
		return 0
	}
	pause := a.Base
	for ; over > 0 && pause < a.Max; over-- {
		pause *= 2
	}
	return min(pause, a.Max)
}

// Config configures how much a [Throttle] allows. The zero value is usable.
type Config struct {
	Account Account
	// IPv4 and IPv6 are the lengths of the prefixes for which failures are counted, the longest
	// first. If nil, they are DefaultIPv4 and DefaultIPv6. Text that is not an address has the
	// allowance of the first level of IPv4.
	IPv4, IPv6 []Level
	// Size limits the number of accounts with failures, of prefixes with failures at each level, and
	// of accounts with known addresses. Beyond it the least recently used entries are removed. An
	// entry takes about 250 B, or 1 KiB for an account with all its known addresses.
	Size int
	// Share returns the number of live brokers that share the limits, each of which allows its share: a
	// fraction of the failures, rounded up, at the same fraction of the rate. It is called for each try, and must
	// not block. A new number changes the limits, not what was counted. If nil, or if it returns less than
	// 1, the number is 1.
	Share func() int
	// Now is the clock. If nil, it is time.Now.
	Now func() time.Time
}

// brokers is the number of brokers that share the limits.
func (c *Config) brokers() int {
	if c.Share == nil {
		return 1
	}
	return max(1, c.Share())
}

// sharedBy returns one broker's share: if attempts reach the brokers evenly, all of them together have as many
// free failures as the account, and as many attempts afterwards.
func (a Account) sharedBy(brokers int) Account {
	a.Free = share(a.Free, brokers)
	a.Base *= time.Duration(brokers)
	a.Max *= time.Duration(brokers)
	return a
}

// sharedBy returns one broker's share of the level.
func (l Level) sharedBy(brokers int) Level {
	l.Burst = share(l.Burst, brokers)
	l.Refill *= time.Duration(brokers)
	return l
}

// share divides a limit by the number of brokers, and rounds up.
func share(limit, brokers int) int { return (limit + brokers - 1) / brokers }

// validate fills in defaults. It panics on invalid values, which are programming errors.
func (c *Config) validate() {
	a := &c.Account
	if a.Free < 0 || a.Base < 0 || a.Max < 0 || a.Forget < 0 || a.Known < 0 || c.Size < 0 {
		panic("throttle: negative value in Config")
	}
	orDefault(&a.Free, DefaultFree)
	orDefault(&a.Base, DefaultBase)
	orDefault(&a.Max, max(DefaultMax, a.Base))
	orDefault(&a.Forget, DefaultForget)
	orDefault(&a.Known, DefaultKnown)
	orDefault(&c.Size, DefaultSize)
	if c.IPv4 == nil {
		c.IPv4 = DefaultIPv4()
	}
	if c.IPv6 == nil {
		c.IPv6 = DefaultIPv6()
	}
	validateLevels(c.IPv4, 32)
	validateLevels(c.IPv6, 128)
	if c.Now == nil {
		c.Now = time.Now
	}
}

func orDefault[T int | time.Duration](v *T, fallback T) {
	if *v == 0 {
		*v = fallback
	}
}

// Level is the allowance of failures for all addresses of a prefix together.
type Level struct {
	// Bits is the length of the prefix.
	Bits int
	// Burst is the maximum number of failures at once.
	Burst int
	// Refill is the time after which one more is allowed.
	Refill time.Duration
}

// validateLevels panics unless levels go from longer to shorter prefixes of an address of that many
// bits, and each allows some failures.
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
