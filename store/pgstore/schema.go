package pgstore

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"tokenbroker/store"
)

// SchemaVersion is the version of the schema that this program reads and writes.
const SchemaVersion = 1

// connectFor is how long a change of the schema waits for the server; the change itself may take longer.
const connectFor = 20 * time.Second

//go:embed sql/*.sql
var files embed.FS

// steps are the texts that upgrade a schema to version 1, 2 and so on.
var steps = mustRead(SchemaVersion)

func mustRead(versions int) (texts []string) {
	for v := range versions {
		text, err := files.ReadFile(fmt.Sprintf("sql/%d.sql", v+1))
		if err != nil {
			panic(err) // it is in this program
		}
		texts = append(texts, string(text))
	}
	return texts
}

// Codes of errors (SQLSTATE) that a missing schema or right causes.
const (
	codeNoTable  = "42P01"
	codeNoSchema = "3F000"
	codeNoRight  = "42501"
)

// check checks the schema and the rights of the role, and that commits are durable. A primary that another one has replaced may
// still accept connections but acknowledges no commit: then the next server of the URL is tried.
func (s *Store) check(ctx context.Context) (err error) {
	for range max(2, len(s.hosts)) {
		if err = s.checkOnce(ctx); !errors.Is(err, store.ErrUnavailable) || ctx.Err() != nil {
			break
		}
	}
	return err
}

func (s *Store) checkOnce(ctx context.Context) error {
	version, compatible := 0, 0
	err := s.read(ctx, func(ctx context.Context, c *conn, _ *primary) error {
		return query(ctx, c, s.sql.schema, args{}, func(values [][]byte) error {
			version, compatible = int(int64Of(values[0])), int(int64Of(values[1]))
			return nil
		})
	})
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		switch refused.Code {
		case codeNoTable, codeNoSchema:
			return ErrNoSchema
		case codeNoRight:
			return fmt.Errorf("%w: the role has no right to use the schema: grant it with tokenbroker store init --config FILE --role NAME, as the owner of the schema: %w", ErrSettings, err)
		}
	}
	if err == nil {
		err = suits(version, compatible)
	}
	if err != nil {
		return err
	}
	if err := s.Confirm(ctx); err != nil {
		return fmt.Errorf("a write that a standby has to acknowledge: %w", err)
	}
	return nil
}

// suits returns why this program cannot use a schema.
func suits(version, compatible int) error {
	switch {
	case version == 0:
		return ErrNoSchema
	case version < SchemaVersion:
		return fmt.Errorf("%w (version %d, not %d)", ErrOldSchema, version, SchemaVersion)
	case compatible > SchemaVersion:
		return fmt.Errorf("%w (version %d, which needs a program for version %d)", ErrNewSchema, version, compatible)
	}
	return nil
}

// Init creates the schema of [SchemaVersion] unless it exists, and grants role what a broker needs, if role is not
// empty. The user of the URL must be allowed to create the schema, or to create tables in it. Init never upgrades a schema: its error
// is then [ErrOldSchema]. Concurrent calls are safe.
func Init(ctx context.Context, config Config, role string) error {
	_, _, err := change(ctx, config, func(ctx context.Context, tx pgx.Tx, schema string, version int) (int, error) {
		if version == 0 {
			if err := create(ctx, tx, schema); err != nil {
				return 0, err
			}
			version = SchemaVersion
		} else if err := suits(version, 0); err != nil {
			return 0, err
		}
		if role == "" {
			return version, nil
		}
		_, err := tx.Exec(ctx, grants(schema, role))
		return version, err
	})
	if err != nil {
		return fmt.Errorf("creating the PostgreSQL schema: %w", err)
	}
	return nil
}

// MigrateSchema upgrades the schema to [SchemaVersion] and returns the versions before and after it. It does nothing if the
// schema has that version, or a higher one. Concurrent calls are safe.
func MigrateSchema(ctx context.Context, config Config) (from, to int, err error) {
	from, to, err = change(ctx, config, func(ctx context.Context, tx pgx.Tx, schema string, version int) (int, error) {
		if version == 0 {
			return 0, ErrNoSchema
		}
		return upgrade(ctx, tx, schema, version)
	})
	if err != nil {
		return from, from, fmt.Errorf("upgrading the PostgreSQL schema: %w", err)
	}
	return from, to, nil
}

// change calls do in a transaction that holds the lock of the schema, with the version of the schema or zero. It returns that version and
// the one that do returns.
func change(ctx context.Context, config Config, do func(ctx context.Context, tx pgx.Tx, schema string, version int) (int, error)) (from, to int, err error) {
	connecting, cancel := context.WithTimeout(ctx, connectFor)
	defer cancel()
	s, err := connect(connecting, config)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	c, err := s.acquire(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer release(c)
	err = pgx.BeginFunc(ctx, c.Conn(), func(tx pgx.Tx) error {
		const mode = pgx.QueryExecModeExec // without statements that a pooler would have to keep
		// Other roles may have functions in the schema public, which the owner must not call.
		if _, err := tx.Exec(ctx, "SET LOCAL search_path = pg_catalog, pg_temp", mode); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended('tokenbroker schema ' || $1, 0))", mode, s.config.Schema); err != nil {
			return err
		}
		var exists bool
		if err := tx.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", mode, quoted(s.config.Schema)+".meta").Scan(&exists); err != nil {
			return err
		}
		if exists {
			if err := tx.QueryRow(ctx, "SELECT version FROM "+quoted(s.config.Schema)+".meta", mode).Scan(&from); err != nil {
				return err
			}
		}
		to, err = do(ctx, tx, s.config.Schema, from)
		return err
	})
	return from, to, err
}

// create creates the schema, if it does not exist, and what is in it.
func create(ctx context.Context, tx pgx.Tx, schema string) error {
	var exists bool
	err := tx.QueryRow(ctx, "SELECT to_regnamespace($1) IS NOT NULL", pgx.QueryExecModeExec, quoted(schema)).Scan(&exists)
	if err == nil && !exists {
		_, err = tx.Exec(ctx, "CREATE SCHEMA "+quoted(schema))
	}
	if err != nil {
		return err
	}
	_, err = upgrade(ctx, tx, schema, 0)
	return err
}

// upgrade runs the steps from a version on.
func upgrade(ctx context.Context, tx pgx.Tx, schema string, version int) (int, error) {
	for ; version < len(steps); version++ {
		text := strings.ReplaceAll(steps[version], `"tokenbroker"`, quoted(schema))
		if _, err := tx.Conn().PgConn().Exec(ctx, text).ReadAll(); err != nil {
			return 0, fmt.Errorf("step %d: %w", version+1, err)
		}
	}
	return version, nil
}

// grants returns the statements that let a role commit and read, and nothing else.
func grants(schema, role string) string {
	return strings.NewReplacer("IN_SCHEMA", quoted(schema), "TO_ROLE", pgx.Identifier{role}.Sanitize()).Replace(`
		GRANT USAGE ON SCHEMA IN_SCHEMA TO TO_ROLE;
		GRANT SELECT ON IN_SCHEMA.meta TO TO_ROLE;
		GRANT SELECT, INSERT, UPDATE, DELETE ON IN_SCHEMA.records TO TO_ROLE;
		GRANT SELECT, INSERT, UPDATE ON IN_SCHEMA.touches TO TO_ROLE;
		GRANT USAGE ON SEQUENCE IN_SCHEMA.revisions TO TO_ROLE;
		GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA IN_SCHEMA TO TO_ROLE`)
}
