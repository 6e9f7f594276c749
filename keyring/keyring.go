package keyring

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// Keyring is the broker's keys. Its methods read the current [Snapshot] without a lock
// and are safe for concurrent use. It fits the broker's ports for signing access tokens
// and for derived secrets, and the ledger publisher's for signing messages.
type Keyring struct {
	cfg     Config
	current atomic.Pointer[Snapshot]
	known   atomic.Pointer[map[string]sighting] // by plan.ran's mark

	mu         sync.Mutex // serialises reads and changes of the record; guards what follows
	sealer     Sealer
	resealing  Sealer // of a Reseal of which it is not known whether it was stored
	cutOff     bool   // the last read of the store failed
	configured bool   // whether the configured algorithm was compared with the record's
	life       lifeWish

	statusMu sync.Mutex // guards failure and since
	failure  error
	since    time.Time
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
	k := &Keyring{cfg: cfg, sealer: cfg.Sealer}
	for range firstTries {
		err := k.Reload(ctx)
		if err == nil {
			s := k.Snapshot()
			cfg.Logger.InfoContext(ctx, "keyring opened", "signs", s.access.key.info, "keys", len(s.keys), "compromised", len(s.compromised))
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
	for i := range rec.Keys {
		if rec.Keys[i].Jitter, err = k.cfg.jitter(); err != nil {
			return err
		}
	}
	if rec.Masters[0].Jitter, err = k.cfg.jitter(); err != nil {
		return err
	}
	rec.Configured, rec.CacheLife = k.cfg.Algorithm, int64(k.cfg.JWKSMaxAge/time.Second)
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

// Reload reads the record again, as after another broker's rotation; [Keyring.Advance] does
// so, too. On an error the keyring goes on with what it has.
func (k *Keyring) Reload(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.reload(ctx)
}

func (k *Keyring) reload(ctx context.Context) error {
	data, rev, err := k.cfg.Store.Load(ctx)
	if err != nil {
		// A caller that gave up says nothing of the store.
		k.cutOff = k.cutOff || !errors.Is(ctx.Err(), context.Canceled)
		return fmt.Errorf("loading the keyring: %w", err)
	}
	if k.cutOff {
		// Other brokers were cut off from the store, too: nobody knows what they served.
		k.cutOff = false
		k.known.Store(nil)
		if s := k.current.Load(); s != nil {
			k.know(s.rec)
		}
	}
	if s := k.current.Load(); s != nil && s.stored && s.rev == rev {
		return nil
	}
	s, err := k.open(ctx, k.sealer, data, rev)
	if errors.Is(err, ErrWrongKEK) && k.resealing != nil {
		if s, err = k.open(ctx, k.resealing, data, rev); err == nil {
			k.sealer, k.resealing = k.resealing, nil
		}
	}
	if err != nil {
		return fmt.Errorf("opening the keyring: %w", err)
	}
	k.adopt(s)
	return nil
}

func (k *Keyring) open(ctx context.Context, sealer Sealer, data []byte, rev uint64) (*Snapshot, error) {
	rec, err := decodeRecord(ctx, sealer, data)
	if err != nil {
		return nil, err
	}
	s, err := newSnapshot(ctx, &k.cfg, sealer, rec)
	if err != nil {
		return nil, err
	}
	s.rev, s.stored = rev, true
	return s, nil
}

// adopt puts the snapshot into use.
func (k *Keyring) adopt(s *Snapshot) {
	k.current.Store(s)
	k.know(s.rec)
}

// sighting is when this process learned of a key or master secret in its present state.
type sighting struct {
	since time.Duration // on the monotonic clock
	// lastExpiry is the largest exp of all tokens that had been signed by then, zero if that is
	// not known. noted is false until it was asked for.
	lastExpiry time.Time
	noted      bool
}

// know notes what the record says: what was known before stays known since then, all else
// is known from now on.
func (k *Keyring) know(rec *record) {
	now, known := k.cfg.Mono(), map[string]sighting{}
	before := k.known.Load()
	for _, mark := range rec.marks() {
		known[mark] = sighting{since: now}
		if before == nil {
			continue
		}
		if seen, ok := (*before)[mark]; ok {
			known[mark] = seen
		}
	}
	k.known.Store(&known)
}

// noteExpiry completes the sightings that lack it with the largest exp of all tokens signed so far.
func (k *Keyring) noteExpiry(lastExpiry time.Time) {
	known := maps.Clone(*k.known.Load())
	for mark, seen := range known {
		if !seen.noted {
			seen.lastExpiry, seen.noted = lastExpiry, true
			known[mark] = seen
		}
	}
	k.known.Store(&known)
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

// FeedVerifier returns the public half of the published feed key of that id.
func (k *Keyring) FeedVerifier(kid string) (ed25519.PublicKey, bool) {
	return k.Snapshot().FeedVerifier(kid)
}

// Compromised is [Snapshot.Compromised] of the current snapshot.
func (k *Keyring) Compromised() []string { return k.Snapshot().Compromised() }

// List returns what may be told of all keys and master secrets, with their next steps; the
// caller owns the slice.
func (k *Keyring) List() []KeyInfo { return k.plan(k.Snapshot(), stock{}).list() }
