package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"tokenbroker/cmd/tokenbroker/internal/logging"
	"tokenbroker/cmd/tokenbroker/internal/migrate"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/config"
)

// migrateFlags are the flags of migrate.
type migrateFlags struct {
	from, to    string
	cancel, yes bool
}

func migrateCommand(o *options) *cobra.Command {
	var flags migrateFlags
	cmd := &cobra.Command{
		Use: "migrate", Short: "Move the records of stopped brokers to another store",
		Long: `Move the records of stopped brokers from the store of one configuration to that of another one: between
the embedded store, etcd and PostgreSQL, or to another data directory, prefix or schema. No user is
signed out: the store id, keys, sessions and revocations stay as they are, and services go on without
a restart.

All brokers must be stopped: the command is refused if one runs, and waits for up to 30 s if one did
not end its run. The target must be empty. Both configurations need the same public_url and the same
key encryption key (keyring.kek).

All records are copied, then both stores are compared, and then the old store is marked: no broker
starts with it again. If the command is interrupted, run it again: it continues or begins again, and at
no time brokers can start with both stores. To return, move the records back with --from and --to
exchanged. If it was killed and the target is lost, --cancel lets brokers start with the source again.

Environment variables override both configurations, so use none of store.* or data_dir. The command
asks first on a terminal and requires --yes elsewhere.`,
		Example: "  tokenbroker migrate --from tokenbroker.yaml --to tokenbroker-etcd.yaml", Args: terminal.UnknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.migrate(cmd.Context(), flags) },
	}
	cmd.Flags().StringVar(&flags.from, "from", "", "the configuration `FILE` of the brokers now")
	cmd.Flags().StringVar(&flags.to, "to", "", "the configuration `FILE` of the brokers afterwards")
	cmd.Flags().BoolVar(&flags.cancel, "cancel", false, "give up a migration that was killed: let brokers start with the store of --from")
	cmd.Flags().BoolVar(&flags.yes, "yes", false, "do not ask")
	terminal.OutputFlag(cmd, &o.format)
	return cmd
}

func (o *options) migrate(ctx context.Context, flags migrateFlags) (err error) {
	if flags.from == "" || (flags.to == "") != flags.cancel {
		return fmt.Errorf("%w: migrate: want --from FILE and --to FILE, or --from FILE and --cancel", terminal.ErrUsage)
	}
	logger := logging.New(o.stderr, logging.Config{Level: new(slog.LevelVar), Format: "json"})
	if flags.cancel {
		return o.cancelMigration(ctx, flags.from, logger)
	}
	from, err := config.Load(config.Options{File: flags.from, Environ: os.Environ()})
	if err != nil {
		return fmt.Errorf("%s: %w", flags.from, err)
	}
	to, err := config.Load(config.Options{File: flags.to, Environ: os.Environ()})
	if err != nil {
		return fmt.Errorf("%s: %w", flags.to, err)
	}
	if err := migrate.Check(from.Config, to.Config); err != nil {
		return err
	}
	cfg := migrate.Config{Logger: logger, Progress: func(total int) (func(int), func()) {
		progress := terminal.NewProgress(o.stderr, o.format, total)
		return progress.Add, progress.End
	}}
	closeFrom, closeTo := func() error { return nil }, func() error { return nil }
	defer func() { err = errors.Join(err, closeTo(), closeFrom()) }()
	if cfg.From, closeFrom, err = migrate.OpenSource(ctx, from.Config, logger); err != nil {
		return fmt.Errorf("opening the store of %s: %w", flags.from, err)
	}
	if cfg.To, closeTo, err = migrate.OpenTarget(ctx, to.Config, logger); err != nil {
		return fmt.Errorf("opening the store of %s: %w", flags.to, err)
	}
	return o.runMigration(ctx, cfg, flags.yes)
}

func (o *options) runMigration(ctx context.Context, cfg migrate.Config, yes bool) error {
	where := fmt.Sprintf("moving the records from %s to %s", cfg.From.Where, cfg.To.Where)
	plan, err := migrate.Prepare(ctx, cfg)
	if err != nil {
		return fmt.Errorf("%s, nothing was changed: %w", where, err)
	}
	if question := plan.Question(); question != "" {
		if err := o.confirm(ctx, yes, question); err != nil {
			return err
		}
	}
	done, err := plan.Run(ctx)
	switch {
	case errors.Is(err, migrate.ErrIncomplete), errors.Is(err, migrate.ErrUnfinished):
		return fmt.Errorf("%s: %w", where, err)
	case err != nil:
		return fmt.Errorf("%s, nothing was changed: %w", where, err)
	}
	cfg.Logger.InfoContext(ctx, "audit", "event", "migrate", "operator", fmt.Sprintf("uid %d", os.Getuid()),
		"store", done.Store, "from", done.From, "to", done.To, "records", done.Records, "digest", done.Digest)
	return o.emit(done, done.WriteText)
}

// cancelMigration lets brokers start with the store of a configuration from which a migration was killed.
func (o *options) cancelMigration(ctx context.Context, file string, logger *slog.Logger) error {
	loaded, err := config.Load(config.Options{File: file, Environ: os.Environ()})
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	from, closeStore, err := migrate.OpenSource(ctx, loaded.Config, logger)
	if err == nil {
		err = migrate.Cancel(ctx, migrate.Config{From: from, Logger: logger})
	}
	if err := errors.Join(err, closeStore()); err != nil {
		return fmt.Errorf("cancelling the migration from the store of %s: %w", file, err)
	}
	logger.InfoContext(ctx, "audit", "event", "migrate_cancel", "operator", fmt.Sprintf("uid %d", os.Getuid()), "from", from.Where)
	canceled := struct {
		From string `json:"from"`
	}{from.Where}
	return o.emit(canceled, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "Brokers can start with %s again.\n", terminal.Plain(from.Where))
	})
}
