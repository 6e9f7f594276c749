// Package pgstore keeps records in a PostgreSQL database, which several brokers share. A commit is one statement, which the
// primary has written to its disk and to that of a synchronous standby when it is acknowledged.
//
// A statement that writes is never cancelled: PostgreSQL then makes a commit visible that no standby has. It runs until the
// server answers; the store only stops waiting, and reports that the outcome is unknown.
//
// Every statement names the server that it expects. After a failover the store uses the new primary under another number (see
// [Store.Primary]), and never again one that was replaced before. A read at a primary that was replaced without its
// knowledge may be stale; [Store.Confirm] shows that it is not.
//
// The server needs PostgreSQL 14. [Init] creates the schema; [Open] never changes it. A pooler in transaction mode may be in
// between.
package pgstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgxpool"

	"tokenbroker/store"
)

var (
	_ store.Engine      = (*Store)(nil)
	_ store.Snapshotter = (*Store)(nil)
	_ store.Sweeper     = (*Store)(nil)
	_ store.Confirmer   = (*Store)(nil)
)

// Errors of Open, Init and MigrateSchema.
var (
	// ErrNoSchema means that the schema was not created in the database.
	ErrNoSchema = errors.New("the database has no schema for tokenbroker: create it with tokenbroker store init --config FILE, as a role that may create it")
	// ErrOldSchema means that an older version of tokenbroker created the schema.
	ErrOldSchema = errors.New("the schema is older than this version of tokenbroker: upgrade it with tokenbroker store migrate-schema --config FILE, as the role that owns it")
	// ErrNewSchema means that a newer version of tokenbroker has upgraded the schema.
	ErrNewSchema = errors.New("the schema is newer than this version of tokenbroker: run a newer version")
	// ErrStandby means that the server does not accept writes.
	ErrStandby = errors.New("the server is a standby or read-only: the URL has to name the primary, or all servers")
	// ErrNotReplicated means that the server acknowledges commits that it may lose.
	ErrNotReplicated = errors.New("the server acknowledges commits that it may lose")
	// ErrVersion means that the server is too old.
	ErrVersion = errors.New("unsupported version of PostgreSQL: 14 or newer is needed")
	// ErrSettings means that a setting of the server, the database or the role has to be changed.
	ErrSettings = errors.New("unsuitable setting")
)

// Store is a connection to a PostgreSQL database. It implements [store.Engine] and is safe for concurrent use.
type Store struct {
	config Config
	sql    statements
	hosts  []string
	pool   *pgxpool.Pool
	at     atomic.Int64 // the index of the server that new connections go to, modulo their number

	primary    atomic.Pointer[primary] // never nil after Open
	answered   atomic.Int64            // when a server last answered, as elapsed nanoseconds
	unprepared atomic.Bool             // statements are not prepared
	full       atomic.Bool             // the last commit was refused because the disk is full

	run  context.Context // ends with Close
	stop context.CancelFunc
	work sync.WaitGroup // what runs in the background

	committing chan struct{} // has an element while a commit runs
	touch      int32         // the row that confirmations write
	hints      store.Hints
	listening  sync.Once
	notified   atomic.Bool // notifications arrive
	notices    notices

	mu        sync.Mutex
	closed    bool              // no background work starts after it; guarded by mu
	abandoned map[*write]uint64 // writes that are no longer waited for, and the number of their primary; guarded by mu
}

// touchRows is the number of rows that confirmations write.
const touchRows = 1 << 10

// Open connects to the primary and checks it, its settings, the schema and the rights of the role. It waits for a server
// that cannot be reached until ctx ends. The caller has to call [Store.Close].
func Open(ctx context.Context, config Config) (*Store, error) {
	s, err := connect(ctx, config)
	if err != nil {
		return nil, err
	}
	if err := s.check(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the PostgreSQL schema %s: %w", s.config.Schema, err), s.Close())
	}
	return s, nil
}

// connect connects to the primary.
func connect(ctx context.Context, config Config) (*Store, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	pool, hosts, err := config.parse()
	if err != nil {
		return nil, err
	}
	s := &Store{
		config: config, sql: newStatements(config.Schema), hosts: hosts, committing: make(chan struct{}, 1), abandoned: make(map[*write]uint64),
		touch: rand.Int32N(touchRows), //nolint:gosec // it spreads brokers
	}
	s.run, s.stop = context.WithCancel(context.Background())
	s.configure(pool)
	if s.pool, err = pgxpool.NewWithConfig(ctx, pool); err != nil {
		s.stop()
		return nil, fmt.Errorf("pgstore: %w", err)
	}
	if err := s.reach(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("connecting to PostgreSQL: %w", err), s.Close())
	}
	return s, nil
}

// Close ends the connections. Operations in progress fail; a commit in progress may still be written. Close waits until snapshots
// are released.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	for w := range s.abandoned {
		w.hangUp()
	}
	s.mu.Unlock()
	s.stop()
	s.work.Wait()
	s.pool.Close()
	return nil
}

// background runs do unless the store is closed. Close waits for it.
func (s *Store) background(do func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.work.Go(do)
	}
	return !s.closed
}

// Full reports whether the server refused the last commit because its disk is full.
func (s *Store) Full() bool { return s.full.Load() }

// statements are the statements of a schema.
type statements struct {
	commit, confirm, many, list, listAll, expired, schema string
}

func newStatements(schema string) statements {
	in := strings.NewReplacer("SCHEMA", quoted(schema)).Replace
	const record = "SELECT key, value, revision, expires_at FROM SCHEMA.records WHERE SCHEMA.check_v1($1) AND "
	return statements{
		commit:  in("SELECT fenced, new_revision, stale FROM SCHEMA.commit_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"),
		confirm: in("SELECT SCHEMA.confirm_v1($1, $2, $3)"),
		many:    in(record + "key = ANY ($2)"),
		list:    in(record + "key >= $2 AND (expires_at IS NULL OR expires_at > $3) AND key < $5 ORDER BY key LIMIT $4"),
		listAll: in(record + "key >= $2 AND (expires_at IS NULL OR expires_at > $3) ORDER BY key LIMIT $4"),
		expired: in("SELECT key, revision FROM SCHEMA.records WHERE SCHEMA.check_v1($1) AND expires_at <= $2 AND key > $3 ORDER BY key LIMIT $4"),
		schema:  in("SELECT version, compatible FROM SCHEMA.meta"),
	}
}

// quoted returns a schema's name as an identifier. It has only letters, digits and underscores.
func quoted(schema string) string { return `"` + schema + `"` }
