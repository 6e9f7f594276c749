// Package restore puts a backup in the place of a stopped broker's store, so that nothing
// that was revoked, rotated or compromised since comes back: [Prepare] checks everything that
// can be checked without a change and takes the data directory, [Plan.Run] does it.
//
// The new store is built beside the old one and takes its place by renames: whenever the
// process ends, the next start finds the old store or the new one, never a mix.
//
// [PrepareRaise] and [Raise.Run] do the same with what can be read of a damaged store, where
// there is no backup.
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

// ErrClock says that the machine's clock is behind the time of the backup.
var ErrClock = errors.New("the clock is behind the backup")

// Config says what is restored where. File and DataDir are required.
type Config struct {
	File    string
	DataDir string
	// KEK is the configured one; nil: the file kek in DataDir, which has to be there.
	KEK keyring.KEK
	// BackupKEK opens the backup where that was made under another KEK; nil: KEK does.
	BackupKEK keyring.KEK
	// InsecureFormat1 restores a backup of format 1, which is not authenticated. It MUST NOT be
	// set for a file that somebody else could have written.
	InsecureFormat1 bool
	// AccessLife is the longest life of an access token.
	AccessLife time.Duration
	// Now is the wall clock; nil: time.Now.
	Now func() time.Time
	// Logger receives diagnostics. If nil, slog.Default is used.
	Logger *slog.Logger

	// at is told of each step before it begins; for tests.
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

// Counts are the backup's records.
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

// Plan is a restore that may be run. Close it.
type Plan struct {
	cfg            Config
	file           *backup.File
	lock           *badgerstore.DirLock
	sealer, opener keyring.Sealer
	// Header and Counts are the backup's.
	Header backup.Header
	Counts Counts
	// Replaces says that there is a store, which will be kept aside.
	Replaces bool
}

// Prepare reads, authenticates and checks the whole backup, checks the clock and the KEK, and
// takes the data directory; the first thing that is wrong is the error, with nothing changed.
// Errors: [backup.ErrDamaged], [backup.ErrFormat1], [ErrClock], [keyring.ErrWrongKEK],
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

// backupKEK is the KEK that the backup is opened with.
type backupKEK struct {
	named   string // where it comes from
	backups keyring.Sealer
}

// openSealers finds the KEKs, and returns the backup's.
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

// explain adds to an error of opening the backup what can be done about it.
func (k backupKEK) explain(err error) error {
	switch {
	case errors.Is(err, keyring.ErrWrongKEK):
		return fmt.Errorf("with %s: %w: the KEK has been changed since, or is another server's: name the KEK that was in force when the backup was made with --backup-kek-file FILE", k.named, err)
	case errors.Is(err, keyring.ErrCorrupt):
		return fmt.Errorf("%w: %w: it was damaged or changed since: take another backup", backup.ErrDamaged, err)
	case errors.Is(err, backup.ErrFormat1):
		return fmt.Errorf("%w: whoever could write to the file since it was made could have put any password and any role into it; if nobody else could, restore it with --unauthenticated", err)
	}
	return err
}

// Authenticated tells whether a holder of the KEK wrote the backup.
func (p *Plan) Authenticated() bool { return p.file.Authenticated() }

// Close gives up the file and the directory. It may be called again.
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
