package pgstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"tokenbroker/store"
)

// connecting marks the context of a connection that is being made. pgx cancels the statement of a connection that it gives up by
// a second connection, which it makes without this context.
type connecting struct{}

// errCancelling is what pgx gets if it tries to cancel a statement.
var errCancelling = errors.New("a statement is never cancelled")

// dialer notices after about 15 seconds that a server is gone.
var dialer = net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 5}}

func dial(ctx context.Context, network, address string) (net.Conn, error) {
	if ctx.Value(connecting{}) == nil {
		return nil, errCancelling
	}
	return dialer.DialContext(ctx, network, address)
}

// configure sets what happens when the pool connects.
func (s *Store) configure(pool *pgxpool.Config) {
	conn := &pool.ConnConfig.Config
	conn.DialFunc = dial
	conn.ValidateConnect = s.validate
	conn.OnNotice = func(c *pgconn.PgConn, n *pgconn.Notice) {
		// A commit that stops waiting for its standby reports it by a warning, which has no code of its own if a statement was
		// cancelled. No commit causes another warning.
		if severity((*pgconn.PgError)(n)) == "WARNING" {
			c.CustomData()[unreplicated] = true
		}
	}
	conn.OnNotification = s.received
	// A ping by the pool would take the time of an operation whose server is silent.
	pool.ShouldPing = func(_ context.Context, p pgxpool.ShouldPingParams) bool {
		p.Conn.PgConn().CustomData()[wasIdle] = p.IdleDuration > time.Second
		return false
	}
	pool.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
		use(&c.Config, s.target())
		return nil
	}
}

// target returns the index of the server that new connections go to.
func (s *Store) target() int { return int(uint64(s.at.Load()) % uint64(len(s.hosts))) }

// turn has new connections go to the next server, unless that has happened since before was the value of s.at.
func (s *Store) turn(before int64) { s.at.CompareAndSwap(before, before+1) }

// acquire returns a connection of the pool, which has passed [Store.validate]. If none can be made, the next one goes to
// another server.
func (s *Store) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	at := s.at.Load()
	c, err := s.pool.Acquire(context.WithValue(ctx, connecting{}, true))
	switch {
	case err == nil:
		return c, nil
	case s.run.Err() != nil:
		return nil, store.ErrClosed
	case ctx.Err() == nil || s.connects():
		s.turn(at)
	}
	return nil, err
}

// connects reports whether the pool waits for a new connection, and not only for one that is in use.
func (s *Store) connects() bool { return s.pool.Stat().ConstructingConns() > 0 }

// release returns a connection to the pool. A broken one is closed at once, without the time that pgx takes for it.
func release(c *pgxpool.Conn) {
	if conn := c.Conn().PgConn(); conn.IsClosed() {
		_ = conn.Conn().Close()
	}
	c.Release()
}

// reach waits until there is a connection to a primary that can be used. It returns why each server cannot be used if an
// operator has to change something, or when ctx ends.
func (s *Store) reach(ctx context.Context) error {
	begin, errs := time.Now(), make([]error, len(s.hosts))
	for {
		at := s.target()
		limited, cancel := context.WithTimeout(ctx, s.config.TryFor)
		c, err := s.acquire(limited)
		cancel()
		if err == nil {
			release(c)
			return nil
		}
		if ctx.Err() == nil || errs[at] == nil {
			errs[at] = err
		}
		unsuitable := errors.Is(err, ErrStandby) || errors.Is(err, ErrNotReplicated)
		if isFinal(err) || unsuitable && time.Since(begin) > s.config.TryFor {
			return errors.Join(errs...)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), errors.Join(errs...))
		}
	}
}

// isFinal reports whether an error of a connection needs an operator.
func isFinal(err error) bool {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		switch class(refused) {
		case "28", "3D", "42": // the user, the password, the database, the rights
			return true
		}
	}
	return errors.Is(err, ErrVersion) || errors.Is(err, ErrSettings)
}
