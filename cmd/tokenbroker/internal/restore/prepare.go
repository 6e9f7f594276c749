// Package restore replaces the store of a stopped broker with a backup. Nothing that was revoked,
// rotated or compromised since the backup becomes valid again. [Prepare] makes every check that is
// possible without a change and locks the data directory; [Plan.Run] replaces the store.
//
// The new store is built next to the old one and takes its place by renames. If the process ends
// at any moment, the next start finds either the old store or the new one, never a mix.
//
// [PrepareRaise] and [Raise.Run] do the same without a backup, with the records of a damaged store
// that can still be read.
//
// A store that several brokers share is not replaced: a restore fills an empty one, and a floor raise changes it in place.
// While they run, and after they were interrupted, no broker starts with it.
package restore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/internal/private"
	"tokenbroker/keyring"
	"tokenbroker/store"
	"tokenbroker/store/backup"
	"tokenbroker/store/badgerstore"
	"tokenbroker/store/origins"
)

// ErrClock is in the chain of the error of a restore on a machine whose clock is behind the time of the backup.
var ErrClock = errors.New("the clock is behind the backup")

// Config describes a restore. File, the backup, is required, and so is one of DataDir, the data directory, and Engine.
type Config struct {
	File    string
	DataDir string
	// Engine is the store of several brokers. If nil, the store is the one in DataDir. With an Engine, KEK is required.
	Engine Engine
	// Where names the store of Engine in messages.
	Where string
	// KEK is the configured key encryption key. If nil, the file kek in DataDir is used, which must exist.
	KEK keyring.KEK
	// BackupKEK opens a backup that was made under another KEK. If nil, KEK opens it.
	BackupKEK keyring.KEK
	// InsecureFormat1 restores a backup of format 1, which is not authenticated. It MUST NOT be
	// set for a file that another person could have written.
	InsecureFormat1 bool
	// AccessLife is the longest life of an access token.
	AccessLife time.Duration
	// Now is the wall clock. If nil, time.Now is used.
	Now func() time.Time
	// Logger receives diagnostics. If nil, slog.Default is used.
	Logger *slog.Logger

	// at is called with the name of each step before the step starts. It is for tests.
	at func(step string)
	// sleep and mono are the clocks by which silent brokers are waited for. If nil, they are the machine's.
	sleep func(context.Context, time.Duration) error
	mono  func() time.Duration
}

func (c *Config) defaults() {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.at == nil {
		c.at = func(string) {}
	}
}

// Counts are the numbers of records, in total and by kind.
type Counts struct {
	Records    uint64 `json:"records"`
	Users      int    `json:"users"`
	Identities int    `json:"identities"`
	Clients    int    `json:"clients"`
	Sessions   int    `json:"sessions"`
}

func (c *Counts) add(w store.Write) {
	kind, _, _ := strings.Cut(w.Key, ".")
	switch kind {
	case "user":
		c.Users++
	case "identity":
		c.Identities++
	case "client":
		c.Clients++
	case "session":
		c.Sessions++
	}
}

// Plan is a checked restore that has not run yet. The caller must close it.
type Plan struct {
	cfg            Config
	file           *backup.File
	lock           *badgerstore.DirLock
	sealer, opener keyring.Sealer
	// Header and Counts describe the backup.
	Header backup.Header
	Counts Counts
	// Replaces reports whether the data directory has a store. Run keeps it under another name.
	Replaces bool
	// interrupted says that the shared store has the records of a restore that was interrupted.
	interrupted bool
}

// Prepare reads, authenticates and checks the whole backup, checks the clock and the KEK, and
// locks the data directory. It returns the first error that it finds, and has changed nothing then.
// Errors: [backup.ErrDamaged], [backup.ErrFormat1], [ErrClock], [keyring.ErrWrongKEK],
// [*badgerstore.InUseError]; [origins.ErrStoreVersion]; [ErrNotEmpty] and [origins.ErrMaintenance] of a shared store.
func Prepare(ctx context.Context, cfg Config) (*Plan, error) {
	cfg.defaults()
	p := &Plan{cfg: cfg}
	if err := p.prepare(ctx); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *Plan) prepare(ctx context.Context) error {
	keks, err := p.openSealers()
	if err != nil {
		return err
	}
	var keys []byte
	var version error
	p.file, err = backup.Open(ctx, p.cfg.File, backup.Options{Opener: keks.backups, InsecureFormat1: p.cfg.InsecureFormat1}, func(w store.Write) {
		p.Counts.add(w)
		if w.Key == node.KeyringKey {
			keys = w.Value
		}
		version = errors.Join(version, checkVersion(w))
	})
	if err != nil {
		return keks.explain(err)
	}
	if version != nil {
		return fmt.Errorf("the backup: %w", version)
	}
	p.Header, p.Counts.Records = p.file.Header, p.file.Records
	if now, taken := p.cfg.Now(), time.Unix(p.Header.TakenAt, 0); now.Before(taken) {
		return fmt.Errorf("%w: the backup was taken at %s and this machine's clock shows %s: set this machine's clock right, because with a wrong clock revoked tokens could become valid again",
			ErrClock, taken.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	if keys == nil {
		return fmt.Errorf("%w: the backup has no keyring", backup.ErrDamaged)
	}
	if err := keyring.CheckRecord(ctx, p.opener, keys); err != nil {
		return keks.explain(fmt.Errorf("the backup's keyring: %w", err))
	}
	if p.cfg.Engine != nil {
		return p.checkEmpty(ctx, p.cfg.Engine)
	}
	if err := private.MakeDir(p.cfg.DataDir, "data directory", "--data-dir or data_dir in the configuration"); err != nil {
		return err
	}
	if err := p.lockDir(); err != nil {
		return err
	}
	p.Replaces = badgerstore.Exists(node.StoreDir(p.cfg.DataDir))
	return nil
}

// checkVersion returns an error if w is the record of the version of a store that this program cannot use.
func checkVersion(w store.Write) error {
	if w.Key != origins.VersionKey {
		return nil
	}
	v, err := origins.DecodeVersion(store.Record{Key: w.Key, Value: w.Value})
	if err == nil {
		err = v.Check([2]int{})
	}
	return err
}

// versionOf returns an error if this program cannot use the store.
func versionOf(ctx context.Context, s store.Reader) error {
	v, err := origins.ReadVersion(ctx, s)
	if err == nil {
		err = v.Check([2]int{})
	}
	return err
}

// lockDir locks the data directory.
func (p *Plan) lockDir() (err error) {
	p.lock, err = badgerstore.Lock(p.cfg.DataDir)
	var used *badgerstore.InUseError
	if errors.As(err, &used) {
		return fmt.Errorf("%w: stop the server first", err)
	}
	return err
}

// backupKEK is the KEK that opens the backup.
type backupKEK struct {
	named   string // the source of the KEK, for messages
	backups keyring.Sealer
}

// openSealers loads the KEKs and sets the sealers of p. It returns the KEK of the backup.
func (p *Plan) openSealers() (backupKEK, error) {
	kek, used := p.cfg.KEK, backupKEK{named: "keyring.kek of the configuration"}
	if kek == nil {
		path := node.KEKFile(p.cfg.DataDir)
		used.named = "the KEK file " + path
		var err error
		if kek, err = keyring.LoadKEKFile(path); errors.Is(err, fs.ErrNotExist) {
			return used, fmt.Errorf("%w: the backup cannot be opened without the KEK that it was made under: put the KEK of the backup into this file (mode 0600), or configure keyring.kek", err)
		} else if err != nil {
			return used, err
		}
	}
	var err error
	if p.sealer, err = keyring.NewAESGCM(kek); err != nil {
		return used, err
	}
	p.opener = p.sealer
	if p.cfg.BackupKEK != nil {
		kek, used.named = p.cfg.BackupKEK, "--backup-kek-file"
		if p.opener, err = keyring.NewAESGCM(kek); err != nil {
			return used, err
		}
	}
	used.backups, err = keyring.NewBackupSealer(kek)
	return used, err
}

// explain adds a hint to an error of opening the backup.
func (k backupKEK) explain(err error) error {
	switch {
	case errors.Is(err, keyring.ErrWrongKEK):
		return fmt.Errorf("with %s: %w: the KEK was changed after the backup, or belongs to another server: name the KEK that was in use when the backup was made with --backup-kek-file FILE", k.named, err)
	case errors.Is(err, keyring.ErrCorrupt):
		return fmt.Errorf("%w: %w: the file was damaged or changed after it was written: use another backup", backup.ErrDamaged, err)
	case errors.Is(err, backup.ErrFormat1):
		return fmt.Errorf("%w: any person with write access to the file could have put any password and any role into it; if no other person had write access, restore it with --unauthenticated", err)
	}
	return err
}

// Authenticated reports whether a holder of the KEK wrote the backup.
func (p *Plan) Authenticated() bool { return p.file.Authenticated() }

// Close closes the backup file and unlocks the data directory. It may be called more than once.
func (p *Plan) Close() error {
	var errs []error
	if p.file != nil {
		errs = append(errs, p.file.Close())
	}
	if p.lock != nil {
		errs = append(errs, p.lock.Release())
	}
	p.file, p.lock = nil, nil
	return errors.Join(errs...)
}
