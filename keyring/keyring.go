package keyring

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"tokenbroker/keyring/lifecycle"
)

// Keyring is the broker's keys. Its methods that sign, verify and list read the current revision
// without a lock; all methods are safe for concurrent use. It fits the broker's ports for signing
// access tokens and for derived secrets, and the ledger publisher's for signing messages.
type Keyring struct {
	cfg      Config
	current  atomic.Pointer[snapshot]
	observed atomic.Pointer[lifecycle.Observations]
	// readBegan is when the last successful read of the record began, in nanoseconds on the monotonic
	// clock. It is stored after current, so that who sees it also sees the snapshot.
	readBegan atomic.Int64
	refresh   chan struct{} // wakes Run

	mu           sync.Mutex // serializes reads and changes of the record; guards what follows
	sealer       Sealer
	newSealer    Sealer // of a RotateKEK of which it is not known whether it was stored
	disconnected bool   // the last read of the store failed
	configured   bool   // whether the configured algorithm was compared with the record's
	tokenLife    configuredLife

	statusMu sync.Mutex // guards failure and since
	failure  error
	since    time.Time
}

// firstTries bounds how often Open loses the race to make the first record.
const firstTries = 5

// Open reads the keyring, or makes it if the store has none: if several brokers do that at
// once, one makes it and all use it. A record that exists is never replaced: one that cannot be
// opened is an error ([ErrWrongKEK], [ErrCorrupt], [lifecycle.ErrUnknownAlgorithm]).
func Open(ctx context.Context, cfg Config) (*Keyring, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	k := &Keyring{cfg: cfg, sealer: cfg.Sealer, refresh: make(chan struct{}, 1)}
	for range firstTries {
		err := k.Reload(ctx)
		if err == nil {
			s := k.current.Load()
			cfg.Logger.InfoContext(ctx, "keyring opened", "signs", s.access.Label, "keys", len(s.rec.Keys), "compromised", len(s.compromised))
			return k, nil
		}
		if !errors.Is(err, ErrEmpty) {
			return nil, err
		}
		if err := k.create(ctx); err != nil && !errors.Is(err, ErrConflict) {
			return nil, fmt.Errorf("making the keyring: %w", err)
		}
	}
	return nil, errors.New("keyring: the store alternately reports that there is a record and that there is none")
}

// create stores the first record. The caller loads it again, because only the stored record counts.
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
	for key := range rec.All() {
		if key.Jitter, err = k.cfg.jitter(); err != nil {
			return err
		}
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
		k.cfg.Logger.InfoContext(ctx, "key made", "key", rec.Keys[i].Label)
	}
	return nil
}

// Reload reads the record again, for example after another broker's rotation. [Keyring.ApplyDue]
// also does that. After an error the keyring continues with what it has.
func (k *Keyring) Reload(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.reload(ctx)
}

func (k *Keyring) reload(ctx context.Context) error {
	began := k.cfg.Mono()
	if err := k.read(ctx); err != nil {
		return err
	}
	k.readBegan.Store(int64(began))
	return nil
}

// read reads the record and puts it into use.
func (k *Keyring) read(ctx context.Context) error {
	data, rev, err := k.cfg.Store.Load(ctx)
	if err != nil {
		// A cancelled read proves nothing about the store.
		k.disconnected = k.disconnected || !errors.Is(ctx.Err(), context.Canceled)
		return fmt.Errorf("loading the keyring: %w", err)
	}
	// Brokers of a shared store that cannot read it stop, so that a short failure proves nothing either.
	if k.Outdated() != nil || k.disconnected && !k.cfg.Shared {
		// Other brokers may have been disconnected from the store as well: what they served is
		// not known, so all observations begin again.
		k.disconnected = false
		k.observed.Store(nil)
		if s := k.current.Load(); s != nil {
			k.observe(s.rec)
		}
	}
	if s := k.current.Load(); s != nil && s.stored && s.rev == rev {
		return nil
	}
	s, err := k.open(ctx, k.sealer, data, rev)
	if errors.Is(err, ErrWrongKEK) && k.newSealer != nil {
		if s, err = k.open(ctx, k.newSealer, data, rev); err == nil {
			k.sealer, k.newSealer = k.newSealer, nil
		}
	}
	if err != nil {
		return fmt.Errorf("opening the keyring: %w", err)
	}
	k.adopt(s)
	return nil
}

func (k *Keyring) open(ctx context.Context, sealer Sealer, data []byte, rev uint64) (*snapshot, error) {
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
func (k *Keyring) adopt(s *snapshot) {
	k.current.Store(s)
	k.observe(s.rec)
}

// observe notes that this process knows the record from now on.
func (k *Keyring) observe(rec *record) {
	var before lifecycle.Observations
	if p := k.observed.Load(); p != nil {
		before = *p
	}
	now := before.Observe(rec.KeySet, k.cfg.Mono())
	k.observed.Store(&now)
}

// noteExpiry adds the largest exp of all tokens signed so far to the observations that lack it. On a
// shared store, other brokers may sign without a change until a margin after it.
func (k *Keyring) noteExpiry(lastExpiry time.Time) {
	var settled time.Duration
	if k.cfg.Shared {
		settled = k.cfg.margin()
	}
	now := k.observed.Load().NoteExpiry(lastExpiry, k.cfg.Mono(), settled)
	k.observed.Store(&now)
}
