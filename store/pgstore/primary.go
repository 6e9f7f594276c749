package pgstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// primary is the server that operations use.
type primary struct {
	number   uint64 // higher than that of the primary before
	server   int64  // identifies the run of the server
	timeline int64  // rises with each promotion; zero if the server does not report it
	host     string
	version  string
	pooled   bool // a pooler is in between
}

// minVersion is the lowest server_version_num.
const minVersion = 140000

// errReplaced is the error of a connection to a primary that another one has replaced.
var errReplaced = errors.New("the server was the primary before another one was promoted, and still accepts connections: stop it")

// Primary implements [store.Confirmer].
func (s *Store) Primary() uint64 { return s.primary.Load().number }

// adopt has operations use the server that was seen, from now on with a higher number if it is not the present one.
func (s *Store) adopt(seen primary) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.primary.Load()
	switch {
	case before == nil:
		seen.number = 1
		s.primary.Store(&seen)
		return nil
	case before.server == seen.server && before.timeline == seen.timeline:
		return nil
	case seen.timeline != 0 && seen.timeline < before.timeline:
		return fmt.Errorf("%s: %w", seen.host, errReplaced)
	}
	seen.number = before.number + 1
	s.primary.Store(&seen)
	s.pool.Reset()
	for w, of := range s.abandoned {
		if of < seen.number {
			w.hangUp()
		}
	}
	s.config.Logger.Warn("another PostgreSQL server is the primary, or it was restarted", "host", seen.host, "before", before.host, "timeline", seen.timeline)
	return nil
}

// facts are settings of a server in the order of factsSQL.
type facts struct {
	server                                                      int64
	recovery, readOnly, version, number                         string
	synchronousCommit, fsync, fullPages, standbys               string
	statementTimeout, transactionTimeout, isolation, checkEvery string
	backend                                                     int64
}

const factsSQL = `SELECT (extract(epoch FROM pg_postmaster_start_time()) * 1000000::numeric)::bigint, pg_is_in_recovery()::text,
	current_setting('transaction_read_only'), current_setting('server_version'), current_setting('server_version_num'),
	current_setting('synchronous_commit'), current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_standby_names'),
	current_setting('statement_timeout'), coalesce(current_setting('transaction_timeout', true), '0'), current_setting('default_transaction_isolation'),
	coalesce(current_setting('client_connection_check_interval', true), '0'), pg_backend_pid()::bigint`

func readFacts(ctx context.Context, c *pgconn.PgConn) (f facts, err error) {
	texts := []*string{&f.recovery, &f.readOnly, &f.version, &f.number, &f.synchronousCommit, &f.fsync, &f.fullPages, &f.standbys,
		&f.statementTimeout, &f.transactionTimeout, &f.isolation, &f.checkEvery}
	err = query(ctx, &conn{PgConn: c}, factsSQL, args{}, func(values [][]byte) error {
		f.server, f.backend = int64Of(values[0]), int64Of(values[len(values)-1])
		for i, text := range texts {
			*text = string(values[i+1])
		}
		return nil
	})
	return f, err
}

// settings of a session: nothing ends a statement or a transaction, and a prepared statement has one plan, which suits a table of any
// size. They are set unless a pooler is in between, which gives the session to others.
const settingsSQL = `SELECT set_config(name, value, false) FROM (VALUES ('statement_timeout', '0'), ('lock_timeout', '0'), ('transaction_timeout', '0'),
	('plan_cache_mode', 'force_generic_plan'), ('enable_seqscan', 'off'), ('idle_in_transaction_session_timeout', '0'), ('client_connection_check_interval', '0'), ('default_transaction_isolation', 'read committed')
	) AS wanted (name, value) JOIN pg_settings USING (name)`

// validate checks a new connection, and that of a statement that has found another server than expected. It adopts the server.
func (s *Store) validate(ctx context.Context, c *pgconn.PgConn) error {
	f, err := readFacts(ctx, c)
	if err != nil {
		return err
	}
	pooled := f.backend != int64(c.PID())
	if err := s.accept(f, pooled); err != nil {
		return err
	}
	if !pooled {
		if err := query(ctx, &conn{PgConn: c}, settingsSQL, args{}, func([][]byte) error { return nil }); err != nil {
			return err
		}
	}
	n, err := timeline(ctx, c)
	if err != nil {
		return err
	}
	return s.adopt(primary{server: f.server, timeline: n, host: c.Conn().RemoteAddr().String(), version: f.version, pooled: pooled})
}

// accept returns why a server cannot be used.
func (s *Store) accept(f facts, pooled bool) error {
	var number int
	_, _ = fmt.Sscan(f.number, &number)
	switch {
	case number < minVersion:
		return fmt.Errorf("%w: the server has %s", ErrVersion, f.version)
	case f.recovery != "false":
		return ErrStandby
	case f.readOnly != "off":
		return fmt.Errorf("%w (default_transaction_read_only is %s)", ErrStandby, f.readOnly)
	case f.synchronousCommit != "on" && f.synchronousCommit != "remote_apply":
		return fmt.Errorf("%w: synchronous_commit is %s: set it to on for the server, the database and the role", ErrNotReplicated, f.synchronousCommit)
	case f.fsync != "on" || f.fullPages != "on" && !s.config.LocalDurability:
		return fmt.Errorf("%w: fsync is %s and full_page_writes is %s: set both to on", ErrNotReplicated, f.fsync, f.fullPages)
	case strings.TrimSpace(f.standbys) == "" && !s.config.LocalDurability:
		return fmt.Errorf("%w: synchronous_standby_names is empty: configure a synchronous standby, or set store.postgres.durability to local if the storage itself is replicated or commits may be lost with the server",
			ErrNotReplicated)
	case pooled && (f.statementTimeout != "0" || f.transactionTimeout != "0" || f.isolation != "read committed"):
		return fmt.Errorf("%w: through a pooler, statement_timeout is %s, transaction_timeout %s and default_transaction_isolation %q: set them to 0, 0 and read committed for the role (ALTER ROLE … SET …)",
			ErrSettings, f.statementTimeout, f.transactionTimeout, f.isolation)
	}
	return nil
}

// timeline returns the timeline of a primary, or zero if the server does not report it, as Aurora does not.
func timeline(ctx context.Context, c *pgconn.PgConn) (n int64, err error) {
	const sql = "SELECT ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::bigint"
	err = query(ctx, &conn{PgConn: c}, sql, args{}, func(values [][]byte) error { n = int64Of(values[0]); return nil })
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		err = nil
	}
	return n, err
}
