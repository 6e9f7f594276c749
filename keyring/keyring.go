package keyring

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultJWKSMaxAge is how long services may cache a JWK set unless configured otherwise.
const DefaultJWKSMaxAge = 5 * time.Minute

// Config is what [Open] needs. Store, Sealer and StoreID are required.
type Config struct {
	Store  Store
	Sealer Sealer
	// Algorithm of new access keys; default ES256. Keys that exist keep theirs.
	Algorithm Algorithm
	// StoreID is the random id of the store that this broker serves; both JWK sets carry it.
	StoreID string
	// JWKSMaxAge is how long a JWK set may be cached, and so how long a key is published
	// before it signs. Whole seconds; default [DefaultJWKSMaxAge].
	JWKSMaxAge time.Duration
	// Now is the broker's clock; default time.Now.
	Now func() time.Time
	// Logger is told what was made and opened, key ids and never keys; default: none.
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
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Keyring is the broker's keys. Its methods read the current [Snapshot] without a lock
// and are safe for concurrent use. It fits the broker's ports for signing access tokens
// and for derived secrets, and the ledger publisher's for signing messages.
type Keyring struct {
	cfg     Config
	current atomic.Pointer[Snapshot]

	mu sync.Mutex // serialises Reload
}

// firstTries bounds how often Open loses the race to make the first record.
const firstTries = 5

// Open reads the keyring, or makes it if the store has none: of several brokers that do
// so at once, one makes it and all use it. A record that exists is never replaced: what
// cannot be opened is an error ([ErrWrongKEK], [ErrCorrupt], [ErrUnknownAlgorithm]).
func Open(ctx context.Context, cfg Config) (*Keyring, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	k := &Keyring{cfg: cfg}
	for range firstTries {
		err := k.Reload(ctx)
		if err == nil {
			return k, nil
		}
		if !errors.Is(err, ErrEmpty) {
			return nil, err
		}
		if err := k.create(ctx); err != nil && !errors.Is(err, ErrConflict) {
			return nil, fmt.Errorf("making the keyring: %w", err)
		}
	}
	return nil, errors.New("keyring: the store says by turns that there is a record and that there is none")
}

// create stores the first record. The caller loads it again: what is on disk is what counts.
func (k *Keyring) create(ctx context.Context) error {
	_, rev, err := k.cfg.Store.Load(ctx)
	switch {
	case err == nil:
		return ErrConflict
	case !errors.Is(err, ErrEmpty):
		return err
	}
	rec, err := firstRecord(ctx, k.cfg.Sealer, k.cfg.Algorithm, k.cfg.Now())
	if err != nil {
		return err
	}
	data, err := rec.encode(ctx, k.cfg.Sealer)
	if err != nil {
		return err
	}
	if err := k.cfg.Store.CompareAndSwap(ctx, data, rev); err != nil {
		return err
	}
	for i := range rec.Keys {
		k.cfg.Logger.InfoContext(ctx, "key made", "key", rec.Keys[i].info())
	}
	return nil
}

// Reload reads the record again, as after another broker's rotation. On an error the
// keyring goes on with what it has.
func (k *Keyring) Reload(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	data, rev, err := k.cfg.Store.Load(ctx)
	if err != nil {
		return fmt.Errorf("loading the keyring: %w", err)
	}
	if s := k.current.Load(); s != nil && s.rev == rev {
		return nil
	}
	rec, err := decodeRecord(ctx, k.cfg.Sealer, data)
	if err != nil {
		return fmt.Errorf("opening the keyring: %w", err)
	}
	s, err := newSnapshot(ctx, &k.cfg, rec, rev)
	if err != nil {
		return fmt.Errorf("opening the keyring: %w", err)
	}
	k.current.Store(s)
	k.cfg.Logger.InfoContext(ctx, "keyring opened", "signs", s.access.key.info, "keys", len(s.keys), "compromised", len(s.compromised))
	if have := s.access.key.info.Algorithm; have != k.cfg.Algorithm {
		k.cfg.Logger.WarnContext(ctx, "the configured algorithm is not the active key's: it is for keys made from now on",
			"configured", string(k.cfg.Algorithm), "active", string(have))
	}
	return nil
}

// Snapshot returns the keyring as it is now, for callers that need several answers of one
// revision.
func (k *Keyring) Snapshot() *Snapshot { return k.current.Load() }

// SignAccessToken is [Snapshot.SignAccessToken] of the current snapshot.
func (k *Keyring) SignAccessToken(ctx context.Context, claims []byte) (string, error) {
	return k.Snapshot().SignAccessToken(ctx, claims)
}

// SignFeed is [Snapshot.SignFeed] of the current snapshot.
func (k *Keyring) SignFeed(typ string, payload any) ([]byte, error) {
	return k.Snapshot().SignFeed(typ, payload)
}

// Keys is [Snapshot.Keys] of the current snapshot.
func (k *Keyring) Keys(purpose string) [][]byte { return k.Snapshot().Keys(purpose) }

// JWKS is [Snapshot.JWKS] of the current snapshot.
func (k *Keyring) JWKS() Document { return k.Snapshot().JWKS() }

// FeedJWKS is [Snapshot.FeedJWKS] of the current snapshot.
func (k *Keyring) FeedJWKS() Document { return k.Snapshot().FeedJWKS() }

// Verifier is [Snapshot.Verifier] of the current snapshot.
func (k *Keyring) Verifier(kid string) (alg string, public crypto.PublicKey, ok bool) {
	return k.Snapshot().Verifier(kid)
}

// Compromised is [Snapshot.Compromised] of the current snapshot.
func (k *Keyring) Compromised() []string { return k.Snapshot().Compromised() }

// List is [Snapshot.List] of the current snapshot.
func (k *Keyring) List() []KeyInfo { return k.Snapshot().List() }
