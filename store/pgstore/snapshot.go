package pgstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"tokenbroker/store"
)

// errEnded is the error of a snapshot whose transaction has ended.
var errEnded = errors.New("the transaction of a snapshot has ended")

// snapshot reads in one transaction, which its first read begins. It is used by one goroutine.
type snapshot struct {
	store   *Store
	conn    *pgxpool.Conn // nil before the first read and after a failure
	primary *primary
	ended   bool
}

// Snapshot implements [store.Snapshotter]. The view is that of its first read, and has a connection from then on.
func (s *Store) Snapshot() (view store.Reader, release func(), err error) {
	v, release := s.snapshot()
	return v, release, nil
}

func (s *Store) snapshot() (records, func()) {
	v := &snapshot{store: s}
	return records{s, v}, v.release
}

const (
	beginSQL = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
	endSQL   = "COMMIT"
)

// read implements reader.
func (v *snapshot) read(ctx context.Context, do func(context.Context, *conn, *primary) error) error {
	switch {
	case v.ended:
		return fmt.Errorf("%w: %w", store.ErrUnavailable, errEnded)
	case v.conn == nil:
		return v.begin(ctx, do)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if v.primary.number != v.store.Primary() {
		v.drop()
		return fmt.Errorf("%w: %w: %w", store.ErrUnavailable, errEnded, errOther)
	}
	limited, cancel := v.store.limit(ctx)
	defer cancel()
	c := v.conn.Conn().PgConn()
	begin := time.Since(epoch)
	err := v.store.judge(limited, c, begin, do(limited, &conn{PgConn: c, prepares: v.store.prepares(v.primary)}, v.primary))
	if err == nil {
		return nil
	}
	v.drop()
	if ctx.Err() != nil {
		return fmt.Errorf("%w (%w)", ctx.Err(), err)
	}
	return fmt.Errorf("%w: %w: %w", store.ErrUnavailable, errEnded, err)
}

// begin begins the transaction and reads in it, in one round trip.
func (v *snapshot) begin(ctx context.Context, do func(context.Context, *conn, *primary) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return v.store.attempt(ctx, func() error {
		limited, cancel := v.store.limit(ctx)
		defer cancel()
		c, err := v.store.acquire(limited)
		if err != nil {
			return again(err)
		}
		begin := time.Since(epoch)
		v.conn, v.primary = c, v.store.primary.Load()
		pg := c.Conn().PgConn()
		err = do(limited, &conn{PgConn: pg, first: beginSQL, prepares: v.store.prepares(v.primary)}, v.primary)
		if err = v.store.judge(limited, pg, begin, err); err != nil {
			v.drop()
			v.ended = false
		}
		return err
	})
}

// drop ends the snapshot after a failure.
func (v *snapshot) drop() {
	v.ended = true
	v.release()
}

// release ends the transaction in the background.
func (v *snapshot) release() {
	c := v.conn
	if c == nil {
		return
	}
	v.conn = nil
	end := func() {
		ctx, cancel := context.WithTimeout(context.Background(), v.store.config.TryFor)
		defer cancel()
		if conn := c.Conn().PgConn(); !conn.IsClosed() {
			_, _ = conn.Exec(ctx, endSQL).ReadAll()
		}
		release(c)
	}
	if !v.store.background(end) {
		_ = c.Conn().PgConn().Conn().Close()
		release(c)
	}
}
