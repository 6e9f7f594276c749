package setup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"tokenbroker/config"
	"tokenbroker/store/pgstore"
)

// Postgres returns the settings of the connections to the database of a configuration that [config.Load] has accepted, or nil
// if the engine is not postgres.
func Postgres(cfg config.Store) *pgstore.Config {
	if cfg.Engine != config.EnginePostgres {
		return nil
	}
	return &pgstore.Config{
		URL: cfg.Postgres.URL, Password: cfg.Postgres.Password.Reveal(), Schema: cfg.Postgres.Schema,
		LocalDurability: cfg.Postgres.Durability == config.DurabilityLocal,
		MaxConnections:  cfg.Postgres.MaxConnections, PollOnly: !cfg.Postgres.Notify,
	}
}

// checkPostgres returns what package config has not found in the URL of a database: a parameter that is unknown, or a file that
// cannot be read.
func checkPostgres(cfg *pgstore.Config) error {
	if cfg == nil {
		return nil
	}
	err := cfg.Check()
	if err == nil {
		return nil
	}
	text := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "pgstore: "), "the URL")
	return errors.New(strings.TrimPrefix(strings.TrimPrefix(text, ":"), " "))
}

// WherePostgres names a schema in messages.
func WherePostgres(schema string) string { return "the PostgreSQL schema " + schema }

type postgresEngine struct {
	*pgstore.Store
	schema string
}

// Where implements [Engine].
func (e postgresEngine) Where() string { return WherePostgres(e.schema) }

func openPostgres(ctx context.Context, cfg pgstore.Config, wall func() time.Time, logger *slog.Logger) (Engine, error) {
	cfg.Now, cfg.Logger = wall, logger
	opened, err := pgstore.Open(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("store.postgres: %w; check that the primary runs and that this machine reaches it, and what is below store.postgres: 'tokenbroker doctor --config FILE' does", err)
	}
	return postgresEngine{opened, cfg.Schema}, nil
}
