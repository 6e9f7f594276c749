package restore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/keyring"
	"tokenbroker/keyring/lifecycle"
	"tokenbroker/store"
	"tokenbroker/store/badgerstore"
	"tokenbroker/store/origins"
)

// Raise is a prepared floor raise that has not run yet. It signs all users out and makes a new store of the
// records that can be read of the old one, which may be damaged, as a [Plan] does with a backup. The caller
// must close it.
type Raise struct {
	plan     Plan
	salvaged *badgerstore.Store
	// Counts are the records that can be read.
	Counts Counts
	// Lost lists what cannot be read, as far as that is known.
	Lost []string
	// keyring reports whether the keyring can be read.
	keyring bool
	// live are the names of the brokers of a shared store that did not end their runs.
	live []string
}

// Raised is the result of a floor raise.
type Raised struct {
	// Store is the id of the new store.
	Store string `json:"store"`
	Counts
	// Epoch is the new floor: every session and token of a lower epoch is refused.
	Epoch int64 `json:"epoch"`
	// Keys are the new keys, Compromised the key ids that are refused permanently. Both are empty
	// if the keyring is lost: the next start makes new keys.
	Keys        []lifecycle.KeyInfo `json:"keys"`
	Compromised []string            `json:"compromised"`
	// Lost lists what could not be read, as far as that is known.
	Lost []string `json:"lost"`
	// Kept is the directory of the old store. It is empty for a shared store, which is changed in place.
	Kept string `json:"kept"`
}

// PrepareRaise locks the data directory of a stopped broker and reads the records of its store
// that can be read, without changing the store. It does not use the File of the configuration. Errors:
// [keyring.ErrWrongKEK], [*badgerstore.InUseError], and [*badgerstore.DamagedError] if no record
// can be read; [origins.ErrStoreVersion]; [origins.ErrMaintenance] of a shared store.
func PrepareRaise(ctx context.Context, cfg Config) (*Raise, error) {
	cfg.defaults()
	r := &Raise{plan: Plan{cfg: cfg}, Lost: []string{}}
	if err := r.prepare(ctx); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *Raise) prepare(ctx context.Context) (err error) {
	p := &r.plan
	if p.cfg.Engine != nil {
		return r.prepareShared(ctx)
	}
	dir := node.StoreDir(p.cfg.DataDir)
	if !badgerstore.Exists(dir) {
		return fmt.Errorf("%s has no store: name the data directory of the server", p.cfg.DataDir)
	}
	if err := p.lockDir(); err != nil {
		return err
	}
	if p.cfg.KEK == nil {
		path := node.KEKFile(p.cfg.DataDir)
		if p.cfg.KEK, err = keyring.LoadKEKFile(path); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: put the server's KEK there (mode 0600), or configure keyring.kek", err)
		} else if err != nil {
			return err
		}
	}
	if _, err := p.openSealers(); err != nil {
		return err
	}
	// Finish a restore that was committed earlier: its store is the one to read.
	if _, _, err := badgerstore.FinishReplace(dir, p.cfg.Now()); err != nil {
		return err
	}
	var lost []string
	if r.salvaged, lost, err = badgerstore.Salvage(badgerstore.Config{Dir: dir, Lock: p.lock, Logger: p.cfg.Logger, Now: p.cfg.Now}); err != nil {
		return err
	}
	r.Lost = append(r.Lost, lost...)
	if err := origins.Startable(ctx, r.salvaged); err != nil {
		return err
	}
	keys, err := r.count(ctx, r.salvaged)
	if err != nil {
		return err
	}
	return r.checkKeys(ctx, keys)
}

// count counts the records and returns the keyring, nil if there is none.
func (r *Raise) count(ctx context.Context, from interface {
	Each(ctx context.Context, prefix string, fn func(store.Write) error) error
}) (keys []byte, err error) {
	err = from.Each(ctx, "", func(w store.Write) error {
		r.Counts.add(w)
		r.Counts.Records++
		if w.Key == node.KeyringKey {
			keys = w.Value
		}
		return checkVersion(w)
	})
	return keys, err
}

// checkKeys checks that the KEK opens the keyring, unless it is lost.
func (r *Raise) checkKeys(ctx context.Context, keys []byte) error {
	p := &r.plan
	if r.keyring = keys != nil; !r.keyring {
		r.Lost = append(r.Lost, "the keyring is lost: the next start makes new keys, and does not know which keys were compromised")
		return nil
	}
	if err := keyring.CheckRecord(ctx, p.opener, keys); err != nil {
		return fmt.Errorf("the server's keyring: %w", err)
	}
	return nil
}

// Run raises the floor. If it returns an error without [ErrDecided], the old store is unchanged. A shared store is
// unchanged if the error is not [ErrUnfinished].
// It must be called at most once.
func (r *Raise) Run(ctx context.Context) (Raised, error) {
	done := Raised{Counts: r.Counts, Keys: []lifecycle.KeyInfo{}, Compromised: []string{}, Lost: r.Lost}
	if r.plan.cfg.Engine != nil {
		err := r.runShared(ctx, &done)
		return done, err
	}
	dir := node.StoreDir(r.plan.cfg.DataDir)
	kept, err := r.plan.replace(dir, func() error { return r.build(ctx, dir, &done) })
	done.Kept = kept
	return done, err
}

// build makes the new store next to the old one.
func (r *Raise) build(ctx context.Context, dir string, done *Raised) (err error) {
	made, err := r.plan.stage(ctx, dir, func(write func(store.Write) error) error { return r.salvaged.Each(ctx, "", write) })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, made.Close()) }()
	return r.renew(ctx, made, done)
}

// Close removes the copy that was read and unlocks the directory. It may be called more than once.
func (r *Raise) Close() error {
	var err error
	if r.salvaged != nil {
		err = r.salvaged.Close()
	}
	return errors.Join(err, r.plan.Close())
}
