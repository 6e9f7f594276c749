package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"tokenbroker/cmd/tokenbroker/internal/logging"
	"tokenbroker/cmd/tokenbroker/internal/setup"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/config"
	"tokenbroker/store/pgstore"
)

func storeCommand(o *options) *cobra.Command {
	return terminal.Group("store", "Create or upgrade the tables of a store on PostgreSQL",
		"Create or upgrade the tables of a store on PostgreSQL. 'serve' never changes them.",
		storeInitCommand(o), storeMigrateCommand(o))
}

// storeHelp ends the Long of the commands for a store.
const storeHelp = `

The database is that of --config or TOKENBROKER_CONFIG. The broker's role should not be allowed to change
tables: set TOKENBROKER_STORE_POSTGRES_URL and TOKENBROKER_STORE_POSTGRES_PASSWORD_FILE for this command to
name the role that may. With store.engine badger or etcd, which have no tables, the command does nothing and succeeds.`

func storeInitCommand(o *options) *cobra.Command {
	var file, role string
	cmd := &cobra.Command{
		Use: "init --config FILE", Short: "Create the tables of a store, unless they exist",
		Long: `Create the schema and the tables of a store on PostgreSQL, unless they exist, and grant a role what a broker
needs. It can be repeated, also to grant another role. It never upgrades a store: see 'store migrate-schema'.` + storeHelp,
		Example: "  tokenbroker store init --config tokenbroker.yaml --role tokenbroker", Args: terminal.UnknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.storeInit(cmd.Context(), file, role) },
	}
	cmd.Flags().StringVar(&role, "role", "", "the `ROLE` of the brokers, which is granted what they need (default: none)")
	return o.storeFlags(cmd, &file)
}

func storeMigrateCommand(o *options) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "migrate-schema --config FILE", Short: "Upgrade the tables of a store to this version",
		Long: `Upgrade the tables of a store on PostgreSQL to those of this version of tokenbroker, while brokers run. It can be
repeated, and does nothing if the tables are of this version or of a later one.` + storeHelp,
		Example: "  tokenbroker store migrate-schema --config tokenbroker.yaml", Args: terminal.UnknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.storeMigrate(cmd.Context(), file) },
	}
	return o.storeFlags(cmd, &file)
}

func (o *options) storeFlags(cmd *cobra.Command, file *string) *cobra.Command {
	cmd.Flags().StringVar(file, "config", "", "the configuration `FILE` of the brokers")
	terminal.OutputFlag(cmd, &o.format)
	return cmd
}

// storeReady is the result of 'store init'. Version and Role are missing if the engine has no tables.
type storeReady struct {
	Engine  string `json:"engine"`
	Where   string `json:"where,omitempty"`
	Version int    `json:"version,omitempty"`
	Role    string `json:"role,omitempty"`
}

func (o *options) storeInit(ctx context.Context, file, role string) error {
	store, database, err := o.storeDatabase("store init", file)
	if err != nil {
		return err
	}
	ready := storeReady{Engine: store.Engine}
	if database == nil {
		if role != "" {
			return fmt.Errorf("%w: store init: --role is for PostgreSQL, but store.engine is %s", terminal.ErrUsage, store.Engine)
		}
		return o.emit(ready, func(w io.Writer) { noTables(w, store.Engine) })
	}
	if err := pgstore.Init(ctx, *database, role); err != nil {
		return fmt.Errorf("store.postgres: %w", err)
	}
	ready.Where, ready.Version, ready.Role = setup.WherePostgres(database.Schema), pgstore.SchemaVersion, role
	return o.emit(ready, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "%s is ready, version %d\n", ready.Where, ready.Version)
		if role != "" {
			_, _ = fmt.Fprintf(w, "the role %s may use it\n", terminal.Plain(role))
		}
	})
}

// storeMigrated is the result of 'store migrate-schema'. From and To are missing if the engine has no tables.
type storeMigrated struct {
	Engine string `json:"engine"`
	Where  string `json:"where,omitempty"`
	From   int    `json:"from,omitempty"`
	To     int    `json:"to,omitempty"`
}

func (o *options) storeMigrate(ctx context.Context, file string) error {
	store, database, err := o.storeDatabase("store migrate-schema", file)
	if err != nil {
		return err
	}
	done := storeMigrated{Engine: store.Engine}
	if database == nil {
		return o.emit(done, func(w io.Writer) { noTables(w, store.Engine) })
	}
	if done.From, done.To, err = pgstore.MigrateSchema(ctx, *database); err != nil {
		return fmt.Errorf("store.postgres: %w", err)
	}
	done.Where = setup.WherePostgres(database.Schema)
	return o.emit(done, func(w io.Writer) {
		if done.From == done.To {
			_, _ = fmt.Fprintf(w, "no change: %s has version %d\n", done.Where, done.To)
			return
		}
		_, _ = fmt.Fprintf(w, "%s was upgraded from version %d to %d\n", done.Where, done.From, done.To)
	})
}

func noTables(w io.Writer, engine string) {
	_, _ = fmt.Fprintf(w, "nothing to do: store.engine is %s, which has no tables\n", engine)
}

// storeDatabase returns the store of a configuration and the settings of its database, or nil if the engine has none.
func (o *options) storeDatabase(command, file string) (config.Store, *pgstore.Config, error) {
	if file = cmp.Or(file, os.Getenv(configEnv)); file == "" {
		return config.Store{}, nil, fmt.Errorf("%w: %s: want --config FILE", terminal.ErrUsage, command)
	}
	loaded, err := config.Load(config.Options{File: file, Environ: os.Environ()})
	if err != nil {
		return config.Store{}, nil, err
	}
	database := setup.Postgres(loaded.Config.Store)
	if database != nil {
		database.Logger = logging.New(o.stderr, logging.Config{Level: new(slog.LevelVar), Format: "json"})
	}
	return loaded.Config.Store, database, nil
}
