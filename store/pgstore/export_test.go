package pgstore

import (
	"context"

	"github.com/jackc/pgx/v5/pgconn"
)

// Limits of a commit, and of writes that are no longer waited for.
const (
	MaxWrites    = maxWrites
	MaxBytes     = maxBytes
	MaxAbandoned = maxAbandoned
)

// Unprepared returns config for a store that sends every statement as a whole.
func Unprepared(config Config) Config {
	config.unprepared = true
	return config
}

// Notified reports whether notifications arrive.
func (s *Store) Notified() bool { return s.notified.Load() }

// WithStep adds a text that upgrades the schema to the next version, until the function that it returns is called.
func WithStep(text string) (remove func()) {
	before := steps
	steps = append(append([]string(nil), steps...), text)
	return func() { steps = before }
}

// AcceptVersion returns why a server of a version cannot be used.
func AcceptVersion(number string) error {
	s := &Store{config: Config{LocalDurability: true}}
	return s.accept(facts{
		version: number, number: number, recovery: "false", readOnly: "off", synchronousCommit: "on", fsync: "on", fullPages: "on",
	}, false)
}

// Reconnect has the next operation connect to the next server of the URL.
func (s *Store) Reconnect() { s.suspect() }

// Mistake has the store expect another run of the server than the one that its connections lead to.
func (s *Store) Mistake() {
	other := *s.primary.Load()
	other.server--
	s.primary.Store(&other)
}

// Deallocate removes the prepared statements of an idle connection, as a pooler that is not noticed may have given another session
// to the store.
func (s *Store) Deallocate(ctx context.Context) error {
	c, err := s.acquire(ctx)
	if err != nil {
		return err
	}
	defer release(c)
	_, err = c.Conn().PgConn().Exec(ctx, "DEALLOCATE ALL").ReadAll()
	return err
}

// Outcomes returns the errors of a read and of a write that the server has answered by an error with a code.
func (s *Store) Outcomes(ctx context.Context, code string) (read, write error) {
	c, err := s.acquire(ctx)
	if err != nil {
		return err, err
	}
	defer release(c)
	refused, pg := &pgconn.PgError{Severity: "ERROR", Code: code}, c.Conn().PgConn()
	return s.judge(ctx, pg, 0, refused), s.outcome(pg, refused)
}
