package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tokenbroker/broker/session"
	"tokenbroker/cmd/tokenbroker/internal/logging"
	"tokenbroker/cmd/tokenbroker/internal/restore"
	"tokenbroker/cmd/tokenbroker/internal/setup"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/config"
	"tokenbroker/keyring"
)

// restoreFlags are the flags of restore and of floor raise.
type restoreFlags struct {
	config, dataDir, backupKEK string
	yes, unauthenticated       bool
}

func restoreCommand(o *options) *cobra.Command {
	var flags restoreFlags
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "Replace a stopped server's store with a backup",
		Long: `Replace a stopped server's store with a backup. Users, accounts and clients are those of the
backup; users who were disabled since stay disabled. All users must sign in again: the store gets
a new id, new keys and a new floor, and every key of the backup and of the replaced store is
refused permanently, so that nothing that was revoked, rotated or compromised since becomes valid.

The replaced store is kept next to the new one. The command is refused while a server runs, if this
machine's clock is behind the backup, without the key encryption key (KEK) that the backup was made
under, and if the file is damaged or was written without that KEK. If it is interrupted, either the
old store or the new one is in use, never a mix. It asks first on a terminal and requires --yes
elsewhere.

With store.engine etcd or postgres the backup is restored into the prefix or the schema of the
configuration, which must be empty, and no broker starts until the restore is complete: if it is
interrupted, run it again.

The data directory and the KEK are those of --config or TOKENBROKER_CONFIG; with only --data-dir
the KEK is the file kek in it.`,
		Example: "  tokenbroker restore /backup/tokenbroker.backup --config tokenbroker.yaml", Args: terminal.WantArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error { return o.restore(cmd.Context(), args[0], flags) },
	}
	flags.find(cmd.Flags())
	cmd.Flags().StringVar(&flags.backupKEK, "backup-kek-file", "", "the `FILE` with the KEK of the backup, when it has been changed since")
	cmd.Flags().BoolVar(&flags.unauthenticated, "unauthenticated", false, "also restore a backup of format 1: a person who could write to the file can sign in as any user")
	cmd.Flags().BoolVar(&flags.yes, "yes", false, "do not ask")
	terminal.OutputFlag(cmd, &o.format)
	return cmd
}

// find adds the flags for the server's configuration and data directory.
func (f *restoreFlags) find(flags *pflag.FlagSet) {
	flags.StringVar(&f.config, "config", "", "the configuration `FILE` of the server")
	flags.StringVar(&f.dataDir, "data-dir", "", "the server's data directory")
}

func (o *options) restore(ctx context.Context, file string, flags restoreFlags) (err error) {
	logger := logging.New(o.stderr, logging.Config{Level: new(slog.LevelVar), Format: "json"})
	cfg, closeStore, err := flags.load(ctx, "restore", logger)
	defer func() { err = errors.Join(err, closeStore()) }()
	if err != nil {
		return err
	}
	cfg.File = file
	plan, err := restore.Prepare(ctx, cfg)
	if err != nil {
		return fmt.Errorf("restoring %s, nothing was changed: %w", file, err)
	}
	defer func() { err = errors.Join(err, plan.Close()) }()
	if err := o.confirm(ctx, flags.yes, plan.Question()); err != nil {
		return err
	}
	done, err := plan.Run(ctx)
	switch {
	case errors.Is(err, restore.ErrDecided):
		return err
	case errors.Is(err, restore.ErrUnfinished):
		return fmt.Errorf("restoring %s: %w", file, err)
	case err != nil && cfg.Engine != nil:
		return fmt.Errorf("restoring %s, nothing was changed: %w", file, err)
	case err != nil:
		return fmt.Errorf("restoring %s, the old store is still in use: %w", file, err)
	}
	logger.InfoContext(ctx, "audit", "event", "restore", "operator", fmt.Sprintf("uid %d", os.Getuid()),
		"taken_at", done.TakenAt, "backup_store", done.BackupStore, "store", done.Store, "epoch", done.Epoch,
		"keys_compromised", len(done.Compromised), "kept", done.Kept, "authenticated", plan.Authenticated())
	return o.emit(done, done.WriteText)
}

// load returns the store and the KEKs that the flags of a command name, and a function that closes the store.
func (f restoreFlags) load(ctx context.Context, command string, logger *slog.Logger) (cfg restore.Config, closeStore func() error, err error) {
	cfg = restore.Config{DataDir: f.dataDir, InsecureFormat1: f.unauthenticated, AccessLife: session.DefaultPolicy.AccessLife, Logger: logger}
	closeStore = func() error { return nil }
	if file := cmp.Or(f.config, os.Getenv(configEnv)); file != "" {
		given := map[string]string{}
		if f.dataDir != "" {
			given["data_dir"] = f.dataDir
		}
		loaded, err := config.Load(config.Options{File: file, Environ: os.Environ(), Flags: given})
		if err != nil {
			return cfg, closeStore, err
		}
		cfg.DataDir, cfg.AccessLife = loaded.Config.DataDir, loaded.Config.Lifetimes.AccessToken.Std()
		if text := loaded.Config.Keyring.KEK.Reveal(); text != "" {
			if cfg.KEK, err = keyring.ParseKEK([]byte(text)); err != nil {
				return cfg, closeStore, fmt.Errorf("keyring.kek: %w", err)
			}
		}
		engine, err := setup.OpenEngine(ctx, loaded.Config.Store, logger)
		if err != nil {
			return cfg, closeStore, err
		}
		if engine != nil {
			closeStore = engine.Close
			cfg.Engine, cfg.Where = engine, engine.Where()
		}
	}
	if cfg.DataDir == "" {
		return cfg, closeStore, fmt.Errorf("%w: %s: want --config FILE or --data-dir DIR", terminal.ErrUsage, command)
	}
	if f.backupKEK != "" {
		cfg.BackupKEK, err = keyring.LoadKEKFile(f.backupKEK)
	}
	return cfg, closeStore, err
}

func floorCommand(o *options) *cobra.Command {
	return terminal.Group("floor", "Sign all users out of a stopped server, whose store may be damaged",
		"Raise the floor of a stopped server: the epoch below which every session and every token is refused.",
		floorRaiseCommand(o))
}

func floorRaiseCommand(o *options) *cobra.Command {
	var flags restoreFlags
	cmd := &cobra.Command{
		Use: "raise", Short: "Sign all users out and make a new store of the records that can be read",
		Long: `Sign all users out and make a new store of the records of a stopped server that can be read. Use it to
recover from a damaged store without a backup: a server does not start with a damaged store, because it
cannot know what was revoked.

The new store has a new id, new keys and a floor above every epoch: every earlier session and token is
refused, and every key id that can be read is refused permanently. Users, roles and passwords may be out
of date: the command reports what is lost, as far as that can be known. If you have a backup, use
'tokenbroker restore' instead.

The damaged store is kept next to the new one. The command is refused while a server runs. It asks first
on a terminal and requires --yes elsewhere.

With store.engine etcd or postgres the store is changed in place: use it after an older snapshot of the servers
was restored, before any broker starts. It is refused if a broker runs, and waits for up to 30 s if
one did not end its run. If it is interrupted, no broker starts until it was run again.

The data directory and the KEK are those of --config or TOKENBROKER_CONFIG; with only --data-dir
the KEK is the file kek in it.`,
		Example: "  tokenbroker floor raise --data-dir /var/lib/tokenbroker", Args: terminal.UnknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.raiseFloor(cmd.Context(), flags) },
	}
	flags.find(cmd.Flags())
	cmd.Flags().BoolVar(&flags.yes, "yes", false, "do not ask")
	terminal.OutputFlag(cmd, &o.format)
	return cmd
}

func (o *options) raiseFloor(ctx context.Context, flags restoreFlags) (err error) {
	logger := logging.New(o.stderr, logging.Config{Level: new(slog.LevelVar), Format: "json"})
	cfg, closeStore, err := flags.load(ctx, "floor raise", logger)
	defer func() { err = errors.Join(err, closeStore()) }()
	if err != nil {
		return err
	}
	where := cmp.Or(cfg.Where, cfg.DataDir)
	raise, err := restore.PrepareRaise(ctx, cfg)
	if err != nil {
		return fmt.Errorf("raising the floor in %s: %w: nothing was changed; 'tokenbroker restore FILE' restores a backup", where, err)
	}
	defer func() { err = errors.Join(err, raise.Close()) }()
	if err := o.confirm(ctx, flags.yes, raise.Question()); err != nil {
		return err
	}
	done, err := raise.Run(ctx)
	switch {
	case errors.Is(err, restore.ErrDecided):
		return err
	case errors.Is(err, restore.ErrUnfinished):
		return fmt.Errorf("raising the floor in %s: %w", where, err)
	case err != nil && cfg.Engine != nil:
		return fmt.Errorf("raising the floor in %s, nothing was changed: %w", where, err)
	case err != nil:
		return fmt.Errorf("raising the floor in %s, the old store is still in use: %w", where, err)
	}
	logger.InfoContext(ctx, "audit", "event", "floor_raise", "operator", fmt.Sprintf("uid %d", os.Getuid()),
		"store", done.Store, "epoch", done.Epoch, "keys_compromised", len(done.Compromised), "lost", done.Lost, "kept", done.Kept)
	return o.emit(done, done.WriteText)
}
