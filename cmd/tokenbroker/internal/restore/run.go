package restore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tokenbroker/broker/operator"
	"tokenbroker/cmd/tokenbroker/internal/bulkwrite"
	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/keyring"
	"tokenbroker/keyring/lifecycle"
	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
	"tokenbroker/store"
	"tokenbroker/store/badgerstore"
	"tokenbroker/store/origins"
)

// Result is the result of a restore.
type Result struct {
	// BackupStore is the store id of the backup, TakenAt its time, and Store the id of the new store.
	BackupStore string    `json:"backup_store"`
	TakenAt     time.Time `json:"taken_at"`
	Store       string    `json:"store"`
	Counts
	// Epoch is the new floor: every session and token of a lower epoch is refused.
	Epoch int64 `json:"epoch"`
	// Keys are the new keys, Compromised all key ids that are refused permanently.
	Keys        []lifecycle.KeyInfo `json:"keys"`
	Compromised []string            `json:"compromised"`
	// Disabled are the users who were disabled since the backup. They stay disabled.
	Disabled []string `json:"disabled"`
	// Kept is the directory of the replaced store. It is empty if there was no store.
	Kept string `json:"kept,omitempty"`
	// Warnings list what could not be carried over from the replaced store.
	Warnings []string `json:"warnings"`
}

// ErrDecided is in the chain of an error that came after the new store was committed. The new store
// replaces the old one in spite of the error: the next start of the server finishes the replacement.
var ErrDecided = errors.New("the new store is complete, but not in place yet: start the server, which finishes the replacement")

// Run replaces the store. If it returns an error without [ErrDecided], the old store is unchanged. A shared store is
// unchanged if the error is not [ErrUnfinished].
// It must be called at most once.
func (p *Plan) Run(ctx context.Context) (Result, error) {
	r := Result{
		BackupStore: p.Header.Store, TakenAt: time.Unix(p.Header.TakenAt, 0).UTC(), Counts: p.Counts,
		Disabled: []string{}, Warnings: []string{},
	}
	if !p.file.Authenticated() {
		r.Warnings = append(r.Warnings, "the backup is of format 1 and was not authenticated: compare users, roles and linked accounts with what you know")
	}
	if p.cfg.Engine != nil {
		err := p.runShared(ctx, &r)
		return r, err
	}
	dir := node.StoreDir(p.cfg.DataDir)
	// Finish a restore that was committed earlier: its store is the one to replace.
	if _, _, err := badgerstore.FinishReplace(dir, p.cfg.Now()); err != nil {
		return Result{}, err
	}
	kept, err := p.replace(dir, func() error { return p.build(ctx, dir, &r) })
	if err != nil {
		return Result{}, err
	}
	r.Kept = kept
	p.cfg.at("done")
	return r, nil
}

// replace calls build, which makes a store next to the one in dir, and puts the new store in place of
// the old one. It returns the directory where the old store is kept.
func (p *Plan) replace(dir string, build func() error) (kept string, err error) {
	if err := build(); err != nil {
		return "", errors.Join(err, badgerstore.Unstage(dir))
	}
	p.cfg.at("decide")
	if err := badgerstore.CommitStaged(dir); err != nil {
		return "", err
	}
	p.cfg.at("replace")
	if kept, _, err = badgerstore.FinishReplace(dir, p.cfg.Now()); err != nil {
		return "", fmt.Errorf("%w: %w", ErrDecided, err)
	}
	return kept, nil
}

// stage makes a store next to the one in dir, with the records that each passes to write.
func (p *Plan) stage(ctx context.Context, dir string, each func(write func(store.Write) error) error) (_ *badgerstore.Store, err error) {
	p.cfg.at("stage")
	staged, err := badgerstore.Stage(dir)
	if err != nil {
		return nil, err
	}
	made, err := badgerstore.Open(badgerstore.Config{Dir: staged, Lock: p.lock, Logger: p.cfg.Logger, Now: p.cfg.Now})
	if err != nil {
		return nil, err
	}
	filled := false
	defer func() { // also if fill panics
		if !filled {
			err = errors.Join(err, made.Close())
		}
	}()
	p.cfg.at("fill")
	if err := bulkwrite.Fill(ctx, made, each, nil); err != nil {
		return nil, fmt.Errorf("filling the new store: %w", err)
	}
	p.cfg.at("renew")
	filled = true
	return made, nil
}

// build makes the new store next to the old one.
func (p *Plan) build(ctx context.Context, dir string, r *Result) (err error) {
	made, err := p.stage(ctx, dir, func(write func(store.Write) error) error {
		return p.file.Each(ctx, func(w store.Write) error {
			if ofBrokers(w.Key) {
				return nil
			}
			return write(w)
		})
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, made.Close()) }()
	old, err := p.openReplaced(ctx, dir, r)
	if err != nil {
		return err
	}
	if old != nil {
		defer func() { err = errors.Join(err, old.Close()) }()
		if err := origins.Startable(ctx, old); err != nil {
			return err
		}
	}
	return p.renew(ctx, made, old, r)
}

// openReplaced opens the old store. It returns nil if there is none, and nil with a warning in r if the
// store cannot be read.
func (p *Plan) openReplaced(ctx context.Context, dir string, r *Result) (*badgerstore.Store, error) {
	if !p.Replaces {
		return nil, nil
	}
	config := badgerstore.Config{Dir: dir, Lock: p.lock, Logger: p.cfg.Logger, Now: p.cfg.Now}
	old, err := badgerstore.Open(config)
	if err == nil {
		if err := versionOf(ctx, old); err != nil { // a newer program has used it: the restore goes back
			r.warn("nothing is carried over from the replaced store", err)
			return nil, old.Close()
		}
		return old, nil
	}
	r.warn("the replaced store cannot be opened", err)
	var damaged *badgerstore.DamagedError
	if !errors.As(err, &damaged) {
		return nil, nil
	}
	old, lost, err := badgerstore.Salvage(config)
	if err != nil {
		r.warn("no record of the replaced store can be read", err)
		return nil, nil
	}
	for _, text := range lost {
		r.Warnings = append(r.Warnings, "what is carried over from the replaced store may be incomplete: "+text)
	}
	return old, nil
}

func (r *Result) warn(what string, err error) {
	r.Warnings = append(r.Warnings, fmt.Sprintf("%s: %v", what, err))
}

// renew gives the restored records a new identity: a store id, a floor and keys of their own.
func (p *Plan) renew(ctx context.Context, made store.Store, old *badgerstore.Store, r *Result) error {
	if err := p.renewRecords(ctx, made, old, r); err != nil {
		return err
	}
	return p.renewKeys(ctx, made, old, r)
}

// renewRecords sets a new store id, signs all users out and carries over what the replaced store knows
// of used tokens and disabled users.
func (p *Plan) renewRecords(ctx context.Context, made store.Store, old *badgerstore.Store, r *Result) (err error) {
	if _, err := withOld(old, r, "the record of single-use tokens", func(old *badgerstore.Store) (struct{}, error) {
		return struct{}{}, keepOnce(ctx, made, old)
	}); err != nil {
		return err
	}
	if r.Store, err = withOld(old, r, "the time floor", func(old *badgerstore.Store) (string, error) {
		return ledger.NewStoreID(ctx, made, reader(old))
	}); err != nil {
		return err
	}
	run, _ := made.(*origins.Run)
	l, err := ledger.Open(ctx, ledger.Config{Store: made, Run: run, Denylist: revocation.NewDenylist(), Wall: p.cfg.Now, Logger: p.cfg.Logger})
	if err != nil {
		return err
	}
	restored := func(old *badgerstore.Store) operator.Restored {
		return operator.Restored{Store: made, Ledger: l, Clock: l, AccessLife: p.cfg.AccessLife, Replaced: reader(old)}
	}
	if r.Epoch, err = withOld(old, r, "the epochs", func(old *badgerstore.Store) (int64, error) {
		return restored(old).SignOut(ctx)
	}); err != nil {
		return err
	}
	disabled, err := withOld(old, r, "the list of disabled users", func(old *badgerstore.Store) ([]string, error) {
		return restored(old).KeepDisabled(ctx)
	})
	if err != nil {
		return err
	}
	r.Disabled = append(r.Disabled, disabled...)
	return nil
}

// renewKeys makes new keys and records all earlier keys as compromised.
func (p *Plan) renewKeys(ctx context.Context, made store.Store, old *badgerstore.Store, r *Result) error {
	keys, err := withOld(old, r, "the key ids", func(old *badgerstore.Store) (keyring.Restored, error) {
		ring := keyring.Restore{Store: node.KeyringStore(made), Sealer: p.sealer, Backup: p.opener, Now: p.cfg.Now()}
		if old != nil {
			ring.Replaced = node.KeyringStore(old)
		}
		return ring.ReplaceKeys(ctx)
	})
	r.Keys, r.Compromised = keys.Keys, keys.Compromised
	return err
}

// reader returns old as a [store.Reader]: a nil interface if old is nil.
func reader(old *badgerstore.Store) store.Reader {
	if old == nil {
		return nil
	}
	return old
}

// withOld calls do with the replaced store. If that fails, it adds a warning to r that names what could not
// be carried over. If it fails or there is no replaced store, it calls do with nil.
func withOld[T any](old *badgerstore.Store, r *Result, what string, do func(old *badgerstore.Store) (T, error)) (T, error) {
	if old != nil {
		done, err := do(old)
		if err == nil {
			return done, nil
		}
		r.warn(what+" could not be carried over from the replaced store", err)
	}
	return do(nil)
}

// oncePrefix is the prefix of the keys of records about single-use tokens.
const oncePrefix = "once."

// keepOnce copies the records of single-use tokens, such as upstream ID tokens, that were used since the backup.
func keepOnce(ctx context.Context, made store.Store, old *badgerstore.Store) error {
	if old == nil {
		return nil
	}
	return bulkwrite.Fill(ctx, made, func(write func(store.Write) error) error { return old.Each(ctx, oncePrefix, write) }, nil)
}
