package pgstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"tokenbroker/store"
)

// maxAbandoned is how many writes at one primary may run that are no longer waited for.
const maxAbandoned = 4

// unreplicated is the key of a connection's data after the server reported that it does not wait for the standby any more.
const unreplicated = "unreplicated"

// wasIdle is the key of a connection's data that reports whether it was idle before it was acquired.
const wasIdle = "idle"

// write is a statement that writes. It runs to its end, on a connection that it owns after it was abandoned.
type write struct {
	conn      *pgconn.PgConn
	ended     bool        // guarded by Store.mu
	abandoned bool        // guarded by Store.mu
	answer    chan answer // has a capacity of one
}

type answer struct {
	row [][]byte // of the result
	err error
}

// hangUp closes the connection of a write that is no longer waited for. The server completes the statement.
func (w *write) hangUp() { _ = w.conn.Conn().Close() }

// write sends a statement until the server has answered or may have executed it, and returns the row of its result. argsFor returns
// its parameters for a primary. The error is [store.ErrUncertain] if the statement may have been executed or may still be;
// otherwise it was not.
func (s *Store) write(ctx context.Context, sql string, argsFor func(*primary) args) (row [][]byte, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	err = s.attempt(ctx, func() (err error) {
		row, err = s.writeOnce(ctx, sql, argsFor)
		return err
	})
	return row, err
}

func (s *Store) writeOnce(ctx context.Context, sql string, argsFor func(*primary) args) ([][]byte, error) {
	limited, cancel := context.WithTimeout(ctx, s.config.TryFor)
	defer cancel()
	c, err := s.acquire(limited)
	if err != nil {
		return nil, again(err)
	}
	if err := s.ping(limited, c); err != nil {
		release(c)
		return nil, err
	}
	p := s.primary.Load()
	if s.tooMany(p) {
		release(c)
		return nil, fmt.Errorf("%w: the server has not answered %d earlier writes", store.ErrUnavailable, maxAbandoned)
	}
	begin := time.Now()
	w := s.start(c, p, sql, argsFor(p))
	if w == nil {
		release(c)
		return nil, store.ErrClosed
	}
	timeout := time.NewTimer(s.config.TryFor)
	defer timeout.Stop()
	select {
	case a := <-w.answer:
		if a.err == nil {
			s.answered.Store(int64(time.Since(epoch)))
		}
		return a.row, a.err
	case <-timeout.C:
		err = fmt.Errorf("no answer within %s", time.Since(begin).Round(time.Millisecond))
	case <-ctx.Done():
		err = ctx.Err()
	case <-s.run.Done():
		err = store.ErrClosed
	}
	if !s.abandon(w, c, p) {
		a := <-w.answer
		return a.row, a.err
	}
	if ctx.Err() == nil {
		s.suspect()
	}
	return nil, fmt.Errorf("%w: %w", store.ErrUncertain, err)
}

// ping finds out whether a connection that was idle is broken, before a write on it that would have to be settled.
func (s *Store) ping(ctx context.Context, c *pgxpool.Conn) error {
	pg := c.Conn().PgConn()
	if idle, _ := pg.CustomData()[wasIdle].(bool); !idle {
		return nil
	}
	begin := time.Since(epoch)
	return s.judge(ctx, pg, begin, query(ctx, &conn{PgConn: pg}, "SELECT 1", args{}, func([][]byte) error { return nil }))
}

// start runs the statement. It returns nil if the store is closed.
func (s *Store) start(c *pgxpool.Conn, p *primary, sql string, a args) *write {
	w := &write{conn: c.Conn().PgConn(), answer: make(chan answer, 1)}
	started := s.background(func() {
		delete(w.conn.CustomData(), unreplicated) // a read may have caused a warning
		var got answer
		got.err = query(context.Background(), &conn{PgConn: w.conn, prepares: s.prepares(p)}, sql, a, func(values [][]byte) error {
			for _, v := range values {
				got.row = append(got.row, append([]byte(nil), v...))
			}
			return nil
		})
		got.err = s.outcome(w.conn, got.err)
		s.mu.Lock()
		w.ended = true
		abandoned := w.abandoned
		delete(s.abandoned, w)
		s.mu.Unlock()
		if abandoned {
			w.hangUp()
			ctx, cancel := context.WithTimeout(context.Background(), s.config.TryFor)
			defer cancel()
			_ = w.conn.Close(ctx)
		} else {
			release(c)
		}
		w.answer <- got
	})
	if !started {
		return nil
	}
	return w
}

// abandon gives the connection to a write that is no longer waited for. It returns false if the write has ended.
func (s *Store) abandon(w *write, c *pgxpool.Conn, p *primary) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.ended {
		return false
	}
	w.abandoned = true
	s.abandoned[w] = p.number
	c.Hijack()
	if s.closed || p.number != s.primary.Load().number {
		w.hangUp()
	}
	return true
}

// tooMany reports whether too many writes run at the primary that are no longer waited for.
func (s *Store) tooMany(p *primary) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, of := range s.abandoned {
		if of == p.number {
			n++
		}
	}
	return n >= maxAbandoned
}

// outcome returns the error of a write whose statement has ended with err.
func (s *Store) outcome(c *pgconn.PgConn, err error) error {
	_, local := c.CustomData()[unreplicated]
	delete(c.CustomData(), unreplicated)
	var refused *pgconn.PgError
	switch {
	case err == nil && local:
		return fmt.Errorf("%w: the server has not waited for the standby, because the statement was cancelled", store.ErrUncertain)
	case err == nil:
		return nil
	case !errors.As(err, &refused) && pgconn.SafeToRetry(err):
		return again(err)
	case refused == nil, c.IsClosed(), severity(refused) != "ERROR", class(refused) == "08", class(refused) == "":
		return fmt.Errorf("%w: %w", store.ErrUncertain, err)
	}
	if s.unprepare(c, refused) {
		return again(err)
	}
	switch refused.Code {
	case codeOtherServer, codeReadOnly:
		return s.another(c)
	case codeSerialization, codeDeadlock, codeLockTimeout, codeCanceled:
		return again(err)
	case codeNotReplicated:
		return fmt.Errorf("%w: %w: %w", store.ErrUnavailable, ErrNotReplicated, err)
	}
	if class(refused) == "53" {
		return fmt.Errorf("%w: %w", store.ErrReadOnly, err)
	}
	return fmt.Errorf("PostgreSQL has refused a write: %w", err)
}

func severity(e *pgconn.PgError) string {
	if e.SeverityUnlocalized != "" {
		return e.SeverityUnlocalized
	}
	return e.Severity
}

// class returns the class of an error's code, or "" if it is not a code of PostgreSQL.
func class(e *pgconn.PgError) string {
	if len(e.Code) != 5 {
		return ""
	}
	return e.Code[:2]
}
