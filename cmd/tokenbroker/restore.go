package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tokenbroker/cmd/tokenbroker/internal/adminclient"
	"tokenbroker/cmd/tokenbroker/internal/logging"
	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/cmd/tokenbroker/internal/restore"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/config"
	"tokenbroker/keyring"
)

// restoreFlags say what is restored where.
type restoreFlags struct {
	config, dataDir, backupKEK string
	yes, unauthenticated       bool
}

func restoreCommand(o *operator) *cobra.Command {
	var flags restoreFlags
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "Put a backup in the place of a stopped server's records",
		Long: `Put a backup in the place of a stopped server's records. Users, accounts and clients are those
of the backup; who was disabled since stays so. Everybody signs in again: the store gets another
id, new keys and a new floor, and every key of the backup and of the replaced store is dead for
ever, so that nothing that was revoked, rotated or compromised since comes back.

The replaced store is kept beside the new one. It is refused while a server runs, when this
machine's clock is behind the backup, without the key encryption key (KEK) that the backup was
made under, and when the file is damaged or was written without that KEK. Whenever it is broken off, the old store or the new
one is in use, never a mix. It asks first on a terminal and wants --yes elsewhere.

The data directory and the KEK are those of --config or TOKENBROKER_CONFIG; with --data-dir
alone the KEK is the file kek in it.`,
		Example: "  tokenbroker restore /backup/tokenbroker.backup --config tokenbroker.yaml", Args: wantArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error { return o.restore(cmd.Context(), args[0], flags) },
	}
	flags.find(cmd.Flags())
	cmd.Flags().StringVar(&flags.backupKEK, "backup-kek-file", "", "the `FILE` with the KEK of the backup, when it has been changed since")
	cmd.Flags().BoolVar(&flags.unauthenticated, "unauthenticated", false, "also restore a backup of format 1: a person who could write to the file can sign in as anybody")
	cmd.Flags().BoolVar(&flags.yes, "yes", false, "do not ask")
	terminal.OutputFlag(cmd, &o.format)
	return cmd
}

// find adds the flags that name the server's data directory.
func (f *restoreFlags) find(flags *pflag.FlagSet) {
	flags.StringVar(&f.config, "config", "", "the configuration `FILE` of the server")
	flags.StringVar(&f.dataDir, "data-dir", "", "the server's data directory")
}

func (o *operator) restore(ctx context.Context, file string, flags restoreFlags) (err error) {
	logger := logging.New(o.stderr, logging.Config{Level: new(slog.LevelVar), Format: "json"})
	cfg, err := flags.load("restore")
	if err != nil {
		return err
	}
	cfg.File, cfg.Logger = file, logger
	plan, err := restore.Prepare(ctx, cfg)
	if err != nil {
		return fmt.Errorf("restoring %s, nothing was changed: %w", file, err)
	}
	defer func() { err = errors.Join(err, plan.Close()) }()
	if !flags.yes {
		if err := o.confirm(ctx, restoreQuestion(plan, cfg.DataDir)); err != nil {
			return err
		}
	}
	done, err := plan.Run(ctx)
	if errors.Is(err, restore.ErrDecided) {
		return err
	}
	if err != nil {
		return fmt.Errorf("restoring %s, the old store is still in use: %w", file, err)
	}
	logger.InfoContext(ctx, "audit", "event", "restore", "operator", fmt.Sprintf("uid %d", os.Getuid()),
		"taken_at", done.TakenAt, "backup_store", done.BackupStore, "store", done.Store, "epoch", done.Epoch,
		"keys_compromised", len(done.Compromised), "kept", done.Kept, "authenticated", plan.Authenticated())
	return o.emit(done, func(w io.Writer) { printRestored(w, done) })
}

// load finds the data directory and the KEKs for a command.
func (f restoreFlags) load(command string) (cfg restore.Config, err error) {
	cfg = restore.Config{DataDir: f.dataDir, InsecureFormat1: f.unauthenticated, AccessLife: node.DefaultPolicy.AccessLife}
	if file := cmp.Or(f.config, os.Getenv(configEnv)); file != "" {
		given := map[string]string{}
		if f.dataDir != "" {
			given["data_dir"] = f.dataDir
		}
		loaded, err := config.Load(config.Options{File: file, Environ: os.Environ(), Flags: given})
		if err != nil {
			return cfg, err
		}
		cfg.DataDir, cfg.AccessLife = loaded.Config.DataDir, loaded.Config.Lifetimes.AccessToken.Std()
		if text := loaded.Config.Keyring.KEK.Reveal(); text != "" {
			if cfg.KEK, err = keyring.ParseKEK([]byte(text)); err != nil {
				return cfg, fmt.Errorf("keyring.kek: %w", err)
			}
		}
	}
	if cfg.DataDir == "" {
		return cfg, fmt.Errorf("%w: %s: want --config FILE or --data-dir DIR", errUsage, command)
	}
	if f.backupKEK != "" {
		cfg.BackupKEK, err = keyring.LoadKEKFile(f.backupKEK)
	}
	return cfg, err
}

func restoreQuestion(plan *restore.Plan, dir string) string {
	taken := time.Unix(plan.Header.TakenAt, 0)
	what := "into the empty " + dir
	if plan.Replaces {
		what = "in the place of what is in " + dir
	}
	kind := "backup"
	if !plan.Authenticated() {
		kind = "unauthenticated backup, whose passwords and roles may be anybody's,"
	}
	return fmt.Sprintf("Put the %s of %s (%s ago; %s) %s? Everybody will have to sign in again.",
		kind, stamp(taken), time.Since(taken).Round(time.Second), count(plan.Counts.Users, "user"), what)
}

func printRestored(w io.Writer, r restore.Result) {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }
	say("restored the backup of %s: %s, %s, %s, %s, %s in all",
		stamp(r.TakenAt), count(r.Users, "user"), count(r.Identities, "account"), count(r.Clients, "client"), count(r.Sessions, "session"), count(r.Records, "record"))
	say("everybody signs in again: no session and no token from before is good (epoch %d)", r.Epoch)
	say("the store is another one for the services: %s, the backup's was %s", cell(r.Store), cell(r.BackupStore))
	for _, k := range r.Keys {
		say("new key: %s", k)
	}
	say("dead permanently: %s: %s", count(len(r.Compromised), "key"), cells(r.Compromised))
	if len(r.Disabled) > 0 {
		say("disabled since the backup, and still: %s: %s", count(len(r.Disabled), "user"), cells(r.Disabled))
	}
	if r.Kept != "" {
		say("the replaced store is kept in %s: remove it when you no longer need it", r.Kept)
	}
	for _, text := range r.Warnings {
		say("WARNING: %s", adminclient.Plain(text))
	}
	say("%s", strings.TrimSpace(`passwords, roles and users are those of the backup: what was changed or removed since has to be repeated; the audit log tells
start the server now`))
}
