// Package restore replaces the store of a stopped broker by a backup, so that nothing that was revoked, rotated or
// compromised since is accepted again. [Prepare] locks the data directory and checks everything that can be checked
// without a change. [Plan.Run] restores.
//
// The new store is built next to the old one and replaces it by renames. Whenever the process ends, the next start finds
// the old store or the new one, never a mix.
//
// [PrepareRaise] and [Raise.Run] do the same with what can be read of a damaged store, for a broker without a
// backup.
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
)

// ErrClock reports that the machine's clock is behind the time of the backup.
var ErrClock = errors.New("the clock is behind the backup")

// Config configures a restore. File and DataDir are required.
type Config struct {
	File    string
	DataDir string
	// KEK is the configured KEK. If nil, it is that of the file kek in DataDir, which must exist.
	KEK keyring.KEK
	// BackupKEK is the KEK that the backup was made under. If nil, it is KEK.
	BackupKEK keyring.KEK
	// InsecureFormat1 also restores a backup of format 1, which is not authenticated. It MUST NOT be
	// set for a file that another person could have written.
	InsecureFormat1 bool
	// AccessLife is the longest life of an access token.
	AccessLife time.Duration
	// Now is the wall clock. If nil, it is time.Now.
	Now func() time.Time
	// Logger receives diagnostics. If nil, slog.Default is used.
	Logger *slog.Logger

	// at is called before each step, for tests.
	at func(step string)
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

// Counts has the numbers of records in a backup.
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

// Plan is a restore that is ready to run. The caller must close it.
type Plan struct {
	cfg            Config
	file           *backup.File
	lock           *badgerstore.DirLock
	sealer, opener keyring.Sealer
	// Header and Counts describe the backup.
	Header backup.Header
	Counts Counts
	// Replaces reports whether there is a store, which Run keeps.
	Replaces bool
}

// Prepare locks the data directory, reads, authenticates and checks the whole backup, and checks the clock and the KEK.
// It changes nothing, and returns an error for the first thing that is wrong. Errors: [backup.ErrDamaged], [backup.ErrFormat1], [ErrClock], [keyring.ErrWrongKEK],
// [*badgerstore.InUseError].
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
	p.file, err = backup.Open(ctx, p.cfg.File, backup.Options{Opener: keks.backups, InsecureFormat1: p.cfg.InsecureFormat1}, func(w store.Write) {
		p.Counts.add(w)
		if w.Key == node.KeyringKey {
			keys = w.Value
		}
	})
	if err != nil {
		return keks.explain(err)
	}
	p.Header, p.Counts.Records = p.file.Header, p.file.Records
	if now, taken := p.cfg.Now(), time.Unix(p.Header.TakenAt, 0); now.Before(taken) {
		return fmt.Errorf("%w: it was taken at %s, here it is %s: set this machine's clock right; what was revoked could come back otherwise",
			ErrClock, taken.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	if keys == nil {
		return fmt.Errorf("%w: it has no keyring", backup.ErrDamaged)
	}
	if err := keyring.CheckRecord(ctx, p.opener, keys); err != nil {
		return keks.explain(fmt.Errorf("the backup's keyring: %w", err))
	}
	if err := private.MakeDir(p.cfg.DataDir, "data directory", "--data-dir or data_dir in the configuration"); err != nil {
		return err
	}
	if err := p.takeDir(); err != nil {
		return err
	}
	p.Replaces = badgerstore.Exists(node.StoreDir(p.cfg.DataDir))
	return nil
}

// takeDir locks the data directory.
func (p *Plan) takeDir() (err error) {
	p.lock, err = badgerstore.Lock(p.cfg.DataDir)
	var used *badgerstore.InUseError
	if errors.As(err, &used) {
		return fmt.Errorf("%w: stop the server first", err)
	}
	return err
}

// backupKEK is the KEK that opens the backup.
type backupKEK struct {
	named   string // its source, for errors
	backups keyring.Sealer
}

// openSealers finds the KEKs and returns that of the backup.
func (p *Plan) openSealers() (backupKEK, error) {
	kek, used := p.cfg.KEK, backupKEK{named: "keyring.kek of the configuration"}
	if kek == nil {
		path := node.KEKFile(p.cfg.DataDir)
		used.named = "the KEK file " + path
		var err error
		if kek, err = keyring.LoadKEKFile(path); errors.Is(err, fs.ErrNotExist) {
			return used, fmt.Errorf("%w: put the KEK that the backup was made under there (mode 0600), or configure keyring.kek: without it the backup cannot be opened", err)
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

// explain adds advice to an error of opening the backup.
func (k backupKEK) explain(err error) error {
	switch {
	case errors.Is(err, keyring.ErrWrongKEK):
		return fmt.Errorf("with %s: %w: the KEK has been changed since, or is another server's: name the KEK that was in force when the backup was made with --backup-kek-file FILE", k.named, err)
	case errors.Is(err, keyring.ErrCorrupt):
		return fmt.Errorf("%w: %w: it was damaged or changed since: take another backup", backup.ErrDamaged, err)
	case errors.Is(err, backup.ErrFormat1):
		return fmt.Errorf("%w: a person who could write to the file could have put any password and any role into it; if no one else could, restore it with --unauthenticated", err)
	}
	return err
}

// Authenticated reports whether a holder of the KEK wrote the backup.
func (p *Plan) Authenticated() bool { return p.file.Authenticated() }

// Close closes the backup and unlocks the data directory. It may be called again.
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
