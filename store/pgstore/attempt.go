package pgstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"tokenbroker/store"
)

// pause is between two attempts of an operation.
const pause = 50 * time.Millisecond

// Codes of errors (SQLSTATE). Those that begin with TB are the schema's.
const (
	codeReadOnly      = "25006"
	codeSerialization = "40001"
	codeDeadlock      = "40P01"
	codeLockTimeout   = "55P03"
	codeCanceled      = "57014"
	codeNotPrepared   = "26000"
	codePlanChanged   = "0A000"
	codeOtherServer   = "TB001"
	codeNotReplicated = "TB002"
)

// errAgain is in the chain of an error after which an operation may be tried again, because it has done nothing.
var errAgain = errors.New("try again")

// attempt calls do until it returns another error than errAgain, the patience of the store has passed, or ctx ends. Then the error is
// [store.ErrUnavailable] or that of ctx.
func (s *Store) attempt(ctx context.Context, do func() error) error {
	until := time.Now().Add(rounds * s.config.TryFor)
	for {
		err := do()
		switch {
		case !errors.Is(err, errAgain):
			return err
		case s.run.Err() != nil:
			return store.ErrClosed
		case ctx.Err() != nil:
			return fmt.Errorf("%w (%w)", ctx.Err(), err)
		case time.Now().After(until):
			return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
		}
		select {
		case <-time.After(pause/2 + rand.N(pause)): //nolint:gosec // it spreads brokers that met
		case <-ctx.Done():
			return fmt.Errorf("%w (%w)", ctx.Err(), err)
		case <-s.run.Done():
			return store.ErrClosed
		}
	}
}

// read calls do with a connection and the primary that it has to name, again if the server does not answer in time or is
// another one.
func (s *Store) read(ctx context.Context, do func(context.Context, *conn, *primary) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.attempt(ctx, func() error {
		limited, cancel := s.limit(ctx)
		defer cancel()
		c, err := s.acquire(limited)
		if err != nil {
			return again(err)
		}
		defer release(c)
		begin, p := time.Since(epoch), s.primary.Load()
		err = do(limited, &conn{PgConn: c.Conn().PgConn(), prepares: s.prepares(p)}, p)
		return s.judge(limited, c.Conn().PgConn(), begin, err)
	})
}

// limit returns a context for one statement that may be given up.
func (s *Store) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	limited, cancel := context.WithTimeout(ctx, s.config.TryFor)
	closed := context.AfterFunc(s.run, cancel)
	return limited, func() { closed(); cancel() }
}

// epoch is the beginning of the time that Store.answered counts.
var epoch = time.Now()

// judge notes how a statement that writes nothing ended, and returns its error.
func (s *Store) judge(ctx context.Context, c *pgconn.PgConn, begin time.Duration, err error) error {
	var refused *pgconn.PgError
	switch {
	case err == nil:
		s.answered.Store(int64(time.Since(epoch)))
		return nil
	case !errors.As(err, &refused) && !c.IsClosed(): // of the caller
		return err
	case refused == nil:
		if ctx.Err() != nil && s.answered.Load() < int64(begin) { // the server is silent
			s.suspect()
		}
		return again(err)
	case refused.Code == codeOtherServer:
		return s.another(c)
	case s.unprepare(c, refused):
		return again(err)
	case c.IsClosed(), class(refused) == "08", class(refused) == "40", class(refused) == "57":
		return again(err)
	}
	return fmt.Errorf("asking PostgreSQL: %w", err)
}

// prepares reports whether statements are prepared: a pooler gives the session to others.
func (s *Store) prepares(p *primary) bool {
	return !p.pooled && !s.config.unprepared && !s.unprepared.Load()
}

// unprepare closes a connection if an error is that of its prepared statements. If it does not have one that was prepared, a pooler that
// was not noticed is in between.
func (s *Store) unprepare(c *pgconn.PgConn, refused *pgconn.PgError) bool {
	if refused.Code != codeNotPrepared && refused.Code != codePlanChanged {
		return false
	}
	if refused.Code == codeNotPrepared {
		s.unprepared.Store(true)
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.config.TryFor)
	defer cancel()
	_ = c.Close(ctx)
	return true
}

func again(err error) error {
	if errors.Is(err, store.ErrClosed) {
		return err
	}
	return fmt.Errorf("%w: %w", errAgain, err)
}

// suspect has the next connections go to another server, because this one does not answer.
func (s *Store) suspect() {
	s.turn(s.at.Load())
	s.pool.Reset()
}

// another finds out which server a connection leads to, after it was not the expected one, and closes the connection if that server
// cannot be used.
func (s *Store) another(c *pgconn.PgConn) error {
	ctx, cancel := context.WithTimeout(s.run, s.config.TryFor)
	defer cancel()
	err := s.validate(ctx, c)
	if err != nil {
		_ = c.Close(ctx)
		s.turn(s.at.Load())
	}
	return errors.Join(errAgain, errOther, err)
}

var errOther = errors.New("the connection leads to another server than expected")
