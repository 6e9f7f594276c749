package migrate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/cmd/tokenbroker/internal/setup"
	"tokenbroker/config"
	"tokenbroker/internal/private"
	"tokenbroker/keyring"
	"tokenbroker/store/badgerstore"
)

// Check returns an error if no records can be moved between the stores of two configurations, whatever they are.
func Check(from, to *config.Config) error {
	if from.PublicURL != to.PublicURL {
		return fmt.Errorf("public_url: %s in the one configuration and %s in the other: it is the issuer of all tokens, so it must not change", from.PublicURL, to.PublicURL)
	}
	if from.Store.Engine != config.EngineBadger || to.Store.Engine != config.EngineBadger {
		return nil
	}
	one, err := os.Stat(from.DataDir)
	if err != nil {
		return nil //nolint:nilerr // Open returns it
	}
	if other, err := os.Stat(to.DataDir); err == nil && os.SameFile(one, other) {
		return fmt.Errorf("%w: data_dir %s", ErrSame, to.DataDir)
	}
	return nil
}

// OpenSource opens the store of a configuration, which must exist. The caller calls the function that it returns, also after an
// error, to close it.
func OpenSource(ctx context.Context, cfg *config.Config, logger *slog.Logger) (Side, func() error, error) {
	if cfg.Store.Engine == config.EngineBadger && !badgerstore.Exists(node.StoreDir(cfg.DataDir)) {
		return Side{}, func() error { return nil }, fmt.Errorf("%w in the data directory %s", ErrNoStore, cfg.DataDir)
	}
	return open(ctx, cfg, logger)
}

// OpenTarget is [OpenSource] for a store that may not exist. It makes an empty one in a data directory without a store.
func OpenTarget(ctx context.Context, cfg *config.Config, logger *slog.Logger) (Side, func() error, error) {
	return open(ctx, cfg, logger)
}

func open(ctx context.Context, cfg *config.Config, logger *slog.Logger) (side Side, closeStore func() error, err error) {
	closeStore = func() error { return nil }
	if side.KEK, err = kekOf(cfg); err != nil {
		return side, closeStore, err
	}
	if cfg.Store.Engine == config.EngineBadger {
		return openBadger(side, cfg.DataDir, logger)
	}
	engine, err := setup.OpenEngine(ctx, cfg.Store, logger)
	if err != nil {
		return side, closeStore, err
	}
	side.Engine, side.Where = engine, engine.Where()
	return side, engine.Close, nil
}

// kekOf returns the key encryption key of a configuration.
func kekOf(cfg *config.Config) (keyring.KEK, error) {
	if text := cfg.Keyring.KEK.Reveal(); text != "" {
		kek, err := keyring.ParseKEK([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("keyring.kek: %w", err)
		}
		return kek, nil
	}
	path := node.KEKFile(cfg.DataDir)
	kek, err := keyring.LoadKEKFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: set keyring.kek in the configuration; both need the same key, which a broker without keyring.kek keeps in the file kek of its data directory", err)
	}
	return kek, err
}

// openBadger locks the data directory and opens the store in it.
func openBadger(side Side, dataDir string, logger *slog.Logger) (_ Side, closeStore func() error, err error) {
	closeStore = func() error { return nil }
	if err := private.MakeDir(dataDir, "data directory", "data_dir in the configuration"); err != nil {
		return side, closeStore, err
	}
	lock, err := badgerstore.Lock(dataDir)
	var used *badgerstore.InUseError
	if errors.As(err, &used) {
		return side, closeStore, fmt.Errorf("%w: stop the broker first", err)
	} else if err != nil {
		return side, closeStore, err
	}
	closeStore = lock.Release
	dir := node.StoreDir(dataDir)
	if _, _, err := badgerstore.FinishReplace(dir, time.Now()); err != nil { // of a restore
		return side, closeStore, err
	}
	opened, err := badgerstore.Open(badgerstore.Config{Dir: dir, Lock: lock, Logger: logger})
	if err != nil {
		return side, closeStore, err
	}
	side.Engine, side.Single, side.Where = opened, true, "the data directory "+dataDir
	return side, func() error { return errors.Join(opened.Close(), lock.Release()) }, nil
}
