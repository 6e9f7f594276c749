package restore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"tokenbroker/broker/store"
	"tokenbroker/broker/store/backup"
	"tokenbroker/broker/store/badgerstore"
	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/internal/private"
	"tokenbroker/keyring"
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
	// AccessLife is the longest life of an access token.
	AccessLife time.Duration
	// Now is the wall clock; nil: time.Now.
	Now func() time.Time
	// Logger gets what the store has to say; nil: nobody.
	Logger *slog.Logger

	// at is told of each step before it begins; for tests.
	at func(step string)
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

// Prepare reads and checks the whole backup, the clock and the KEK, and takes the data
// directory; the first thing that is wrong is the error, with nothing changed. Errors:
// [backup.ErrDamaged], [ErrClock], [keyring.ErrWrongKEK], [*badgerstore.InUseError].
func Prepare(ctx context.Context, cfg Config) (*Plan, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.at == nil {
		cfg.at = func(string) {}
	}
	p := &Plan{cfg: cfg}
	if err := p.prepare(ctx); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *Plan) prepare(ctx context.Context) error {
	var keys []byte
	file, err := backup.Open(ctx, p.cfg.File, func(w store.Write) {
		p.Counts.add(w)
		if w.Key == node.KeyringKey {
			keys = w.Value
		}
	})
	if err != nil {
		return err
	}
	p.file, p.Header, p.Counts.Records = file, file.Header, file.Records
	if now, taken := p.cfg.Now(), time.Unix(p.Header.TakenAt, 0); now.Before(taken) {
		return fmt.Errorf("%w: it was taken at %s, here it is %s: set this machine's clock right; what was revoked could come back otherwise",
			ErrClock, taken.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	if keys == nil {
		return fmt.Errorf("%w: it has no keyring", backup.ErrDamaged)
	}
	if err := p.openSealers(ctx, keys); err != nil {
		return err
	}
	if err := private.MakeDir(p.cfg.DataDir, "data directory", "--data-dir or data_dir in the configuration"); err != nil {
		return err
	}
	if p.lock, err = badgerstore.Lock(p.cfg.DataDir); err != nil {
		var used *badgerstore.InUseError
		if errors.As(err, &used) {
			return fmt.Errorf("%w: stop the server first", err)
		}
		return err
	}
	p.Replaces = badgerstore.Exists(node.StoreDir(p.cfg.DataDir))
	return nil
}

// openSealers finds the KEK and tries it on the backup's keyring.
func (p *Plan) openSealers(ctx context.Context, keys []byte) error {
	kek, where := p.cfg.KEK, "keyring.kek of the configuration"
	if kek == nil {
		path := node.KEKFile(p.cfg.DataDir)
		where = "the KEK file " + path
		var err error
		if kek, err = keyring.LoadKEKFile(path); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: put the KEK that the backup was made under there (mode 0600), or configure keyring.kek: without it the backup cannot be opened", err)
		} else if err != nil {
			return err
		}
	}
	var err error
	if p.sealer, err = keyring.NewAESGCM(kek); err != nil {
		return err
	}
	p.opener = p.sealer
	if p.cfg.BackupKEK != nil {
		where = "--backup-kek-file"
		if p.opener, err = keyring.NewAESGCM(p.cfg.BackupKEK); err != nil {
			return err
		}
	}
	if err := keyring.CheckRecord(ctx, p.opener, keys); err != nil {
		return fmt.Errorf("the backup's keyring, with %s: %w", where, err)
	}
	return nil
}

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
