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
)

// Defaults of [Config].
const (
	DefaultJWKSMaxAge = 5 * time.Minute
	DefaultTokenLife  = 24 * time.Hour
	DefaultMasterLife = 90 * 24 * time.Hour
)

// Config is what [Open] needs. Store, Sealer and StoreID are required.
type Config struct {
	Store  Store
	Sealer Sealer
	// Algorithm of access keys; default ES256. When it is another one than at the last start,
	// the first [Keyring.Advance] asks for a rotation to it.
	Algorithm Algorithm
	// StoreID is the random id of the store that this broker serves; both JWK sets carry it.
	StoreID string
	// JWKSMaxAge is how long a JWK set may be cached, and so how long a key is published
	// before it signs. Whole seconds; default [DefaultJWKSMaxAge].
	JWKSMaxAge time.Duration
	// RotateEvery is how long a key signs before the next one does, give or take 5 %; longer
	// than JWKSMaxAge. Zero: rotation is by hand only.
	RotateEvery time.Duration
	// TokenLife is the longest life of an access token: a key stays published that long, and
	// more, after it last signed. Default [DefaultTokenLife], which is longer than any.
	TokenLife time.Duration
	// MasterLife is how long a master secret is accepted after its rotation: the longest life
	// of a session; default [DefaultMasterLife].
	MasterLife time.Duration
	// LastExpiry, if set, gives the largest exp of all tokens that were ever signed, so that
	// the key of tokens that were signed by a clock that was ahead stays published, too. It
	// is asked once for each change, and its error is the change's.
	LastExpiry func(ctx context.Context) (time.Time, error)
	// OnChange, if set, hears of every change that this process made, in their order, once
	// it is on disk and in use. It must not block and must not change the keyring.
	OnChange func(Change)
	// Now is the broker's clock; default time.Now.
	Now func() time.Time
	// Mono is a monotonic clock; default the time since Open.
	Mono func() time.Duration
	// Rand is what jitter is drawn from (keys are not); default crypto/rand.
	Rand io.Reader
	// Logger receives what was made and opened, key ids and never keys. If nil, slog.Default is used.
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
		c.Algorithm = ES256
	}
	if err := c.Algorithm.check(); err != nil {
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
		return errors.New("keyring: TokenLife and MasterLife are above nought")
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

// limits are the policy's. The margin is long enough for every broker of the store to read
// a change (they look three times in it), and for answers that were on their way.
func (c *Config) limits() limits {
	return limits{
		algorithm: c.Algorithm, cacheLife: c.JWKSMaxAge, margin: c.margin(),
		tokenLife: c.TokenLife, masterLife: c.MasterLife, rotateEvery: c.RotateEvery,
	}
}

func (c *Config) margin() time.Duration {
	return min(30*time.Second, max(time.Second, c.JWKSMaxAge/10))
}
