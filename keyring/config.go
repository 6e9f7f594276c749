package keyring

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"tokenbroker/internal/setting"
	"tokenbroker/keyring/lifecycle"
)

const day = 24 * time.Hour

// Defaults of [Config] and [Schedule].
const (
	DefaultAlgorithm  = lifecycle.ES256
	DefaultJWKSMaxAge = 5 * time.Minute
	DefaultTokenLife  = 24 * time.Hour
	DefaultMasterLife = 90 * day
	// DefaultRotateEvery is the interval if an operator configures none.
	DefaultRotateEvery = 30 * day
)

// Schedule is the part of a [Config] that operators configure.
type Schedule struct {
	// Algorithm is the algorithm of access keys; default [DefaultAlgorithm]. If it differs from that of
	// the last start, the first [Keyring.ApplyDue] requests a rotation to it.
	Algorithm lifecycle.Algorithm
	// JWKSMaxAge is how long a JWK set may be cached, and so how long a key is published before it
	// signs. Whole seconds; default [DefaultJWKSMaxAge].
	JWKSMaxAge time.Duration
	// RotateEvery is how long a key signs before the next one replaces it, plus or minus 5 %; longer
	// than JWKSMaxAge. If zero, keys are rotated only manually.
	RotateEvery time.Duration
}

// Check returns what is wrong with a schedule that an operator configured, apart from Algorithm.
// [Open] also takes a shorter one, for tests.
func (s Schedule) Check() setting.Problems {
	var ps setting.Problems
	if s.JWKSMaxAge < time.Second || s.JWKSMaxAge > day || s.JWKSMaxAge%time.Second != 0 {
		ps.Add("lifetimes.jwks_cache", "is not whole seconds, 1s to 1d", "services keep a withdrawn key for that long: as 5m")
	}
	switch {
	case s.RotateEvery == 0:
	case s.RotateEvery < time.Hour || s.RotateEvery > 400*day:
		ps.Add("keyring.rotate_every", "is not 1h to 400d", "such as 30d, or 0s to rotate only manually")
	case s.RotateEvery < 2*s.JWKSMaxAge:
		ps.Add("keyring.rotate_every", "is shorter than twice lifetimes.jwks_cache", "a key is published for that long before it signs")
	}
	return ps
}

// Config is what [Open] needs. Store, Sealer and StoreID are required.
type Config struct {
	Store  Store
	Sealer Sealer
	Schedule
	// Shared means that other brokers also write to Store. Every broker of such a store has to set it and
	// to run [Keyring.Run]. The keyring then signs and publishes nothing while the last read of the record is
	// too old ([Keyring.Outdated]). If false, this process is the only writer, and the keyring always signs.
	Shared bool
	// ClockTrusted reports whether Now may be used to change the keyring. While it returns false, [Keyring.ApplyDue]
	// only reads the record: a rotation by a clock that is ahead would stop the rotations of all other brokers until
	// theirs have reached it. It must not block. If nil, the clock is always trusted.
	ClockTrusted func() bool
	// StoreID is the random id of the store that this broker serves; both JWK sets contain it.
	StoreID string
	// TokenLife is the longest life of an access token: a key stays published at least that long
	// after it last signed. Default [DefaultTokenLife], which is longer than any.
	TokenLife time.Duration
	// MasterLife is how long a master secret is accepted after its rotation: the longest life
	// of a session; default [DefaultMasterLife].
	MasterLife time.Duration
	// LastExpiry, if set, returns the largest exp of all tokens that were ever signed, so that
	// the key of tokens that were signed by a clock that was ahead stays published. It
	// is called once for each change, and its error is the change's.
	LastExpiry func(ctx context.Context) (time.Time, error)
	// OnChange, if set, is called with every change that this process made, in order, when
	// it is on disk and in use. It must not block and must not change the keyring.
	OnChange func(lifecycle.Change)
	// Now is the broker's clock; default time.Now.
	Now func() time.Time
	// Mono is a monotonic clock; default the time since Open.
	Mono func() time.Duration
	// Rand is the source of jitter, not of keys; default crypto/rand.
	Rand io.Reader
	// Logger receives what was made and opened: key ids and never keys. If nil, slog.Default is used.
	Logger *slog.Logger
}

func (c *Config) validate() error {
	if c.Store == nil || c.Sealer == nil {
		return errors.New("keyring: Store and Sealer are required")
	}
	if c.StoreID == "" {
		return errors.New("keyring: StoreID is required")
	}
	if c.Algorithm == "" {
		c.Algorithm = DefaultAlgorithm
	}
	if err := c.Algorithm.Check(); err != nil {
		return err
	}
	if c.JWKSMaxAge == 0 {
		c.JWKSMaxAge = DefaultJWKSMaxAge
	}
	if c.JWKSMaxAge < time.Second || c.JWKSMaxAge%time.Second != 0 {
		return fmt.Errorf("keyring: JWKSMaxAge is %s: at least a second, and whole seconds", c.JWKSMaxAge)
	}
	if c.RotateEvery != 0 && c.RotateEvery <= c.JWKSMaxAge {
		return fmt.Errorf("keyring: RotateEvery is %s: 0, or longer than JWKSMaxAge (%s), which a key is published before it signs", c.RotateEvery, c.JWKSMaxAge)
	}
	c.TokenLife, c.MasterLife = cmp.Or(c.TokenLife, DefaultTokenLife), cmp.Or(c.MasterLife, DefaultMasterLife)
	if c.TokenLife < 0 || c.MasterLife < 0 {
		return errors.New("keyring: TokenLife and MasterLife must not be negative")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Mono == nil {
		start := time.Now()
		c.Mono = func() time.Duration { return time.Since(start) }
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return nil
}

func (c *Config) policy() lifecycle.Policy {
	return lifecycle.Policy{
		Algorithm: c.Algorithm, CacheLife: c.JWKSMaxAge, Margin: c.margin(),
		TokenLife: c.TokenLife, MasterLife: c.MasterLife, RotateEvery: c.RotateEvery,
	}
}

// margin is the time after a change in which services may still receive what was signed or published
// without it. Brokers of a shared store read the record three times within it, or stop ([Config.maxAge]).
func (c *Config) margin() time.Duration {
	return min(30*time.Second, max(time.Second, c.JWKSMaxAge/10))
}
