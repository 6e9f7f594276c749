package throttle

import "time"

// The defaults of a [Config].
const (
	DefaultFree   = 10
	DefaultBase   = time.Second
	DefaultMax    = time.Minute
	DefaultForget = time.Hour
	DefaultKnown  = 30 * 24 * time.Hour
	DefaultBurst  = 100
	DefaultRefill = time.Second
	DefaultSize   = 100_000
)

// Account says how failures slow down one account. Zero values are the defaults.
type Account struct {
	// Free is how many failures have no consequence.
	Free int
	// Base is the pause after the next failure; it doubles with each further one, up to Max.
	Base, Max time.Duration
	// Forget is the time without a failure after which all of them are forgotten.
	Forget time.Duration
	// Known is how long after a success an address has an allowance of its own for the account.
	Known time.Duration
}

// pause is how long an account with so many failures waits between attempts.
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

// Address says how many failures an address may cause. Zero values are the defaults.
type Address struct {
	// Burst is how many failures may come at once.
	Burst int
	// Refill is the time after which one more is allowed.
	Refill time.Duration
}

// Config says how much a [Throttle] lets through. The zero value is usable.
type Config struct {
	Account Account
	Address Address
	// Size is how many accounts, and how many addresses, with failures are remembered;
	// and how many accounts with the places where they are known; beyond that the ones not
	// seen for longest are forgotten. An entry takes about 250 B, with all its places 1 KiB.
	Size int
	// Now is the clock, time.Now when nil.
	Now func() time.Time
}

// validate fills defaults. What it refuses are mistakes in the program, so it panics.
func (c *Config) validate() {
	a, d := &c.Account, &c.Address
	if a.Free < 0 || a.Base < 0 || a.Max < 0 || a.Forget < 0 || a.Known < 0 || d.Burst < 0 || d.Refill < 0 || c.Size < 0 {
		panic("throttle: negative value in Config")
	}
	orDefault(&a.Free, DefaultFree)
	orDefault(&a.Base, DefaultBase)
	orDefault(&a.Max, max(DefaultMax, a.Base))
	orDefault(&a.Forget, DefaultForget)
	orDefault(&a.Known, DefaultKnown)
	orDefault(&d.Burst, DefaultBurst)
	orDefault(&d.Refill, DefaultRefill)
	orDefault(&c.Size, DefaultSize)
	if c.Now == nil {
		c.Now = time.Now
	}
}

func orDefault[T int | time.Duration](v *T, fallback T) {
	if *v == 0 {
		*v = fallback
	}
}
