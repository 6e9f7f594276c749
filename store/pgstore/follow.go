package pgstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// pollEvery is the time between two hints while notifications do not arrive.
	pollEvery = 200 * time.Millisecond
	// probeEvery is how often the store notifies itself, to find out whether notifications arrive.
	probeEvery = 5 * time.Second
	// listenEvery is the time between two attempts to listen.
	listenEvery = 2 * time.Second
	// notifyEvery is the shortest time between two notifications: each one locks out those of the whole database.
	notifyEvery = 10 * time.Millisecond
	// maxPayload is less than the longest payload of a notification, 8000 bytes.
	maxPayload = 4000
)

// everything is the payload that concerns every prefix.
const everything = "*"

// Follow implements [store.Engine] by notifications (LISTEN), or by a hint each 200 ms while they do not arrive, as through a
// pooler. A commit without events causes no hint for the fence's record.
func (s *Store) Follow(ctx context.Context, prefix string) <-chan struct{} {
	s.listening.Do(func() {
		s.background(s.poll)
		if !s.config.PollOnly {
			s.background(s.listen)
		}
	})
	return s.hints.Follow(ctx, prefix)
}

// poll sends a hint to every follower while notifications do not arrive.
func (s *Store) poll() {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if !s.notified.Load() {
				s.hint(everything)
			}
		case <-s.run.Done():
			return
		}
	}
}

// listen receives notifications as long as they arrive, and tries again later.
func (s *Store) listen() {
	for s.run.Err() == nil {
		err := s.receive(s.run)
		s.notified.Store(false)
		s.hint(everything) // some may have been lost
		s.config.Logger.Debug("notifications of PostgreSQL do not arrive", "error", err)
		select {
		case <-time.After(listenEvery):
		case <-s.run.Done():
		}
	}
}

var (
	errPooled  = errors.New("a pooler is in between")
	errMissing = errors.New("the notification of the listener itself does not arrive")
)

// receive listens on a connection of its own as long as the notifications that it sends to itself arrive.
func (s *Store) receive(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, s.config.TryFor)
	defer cancel()
	c, err := s.acquire(limited)
	if err != nil {
		return err
	}
	p := s.primary.Load()
	if p.pooled {
		release(c)
		return errPooled
	}
	conn := c.Hijack().PgConn()
	defer conn.Conn().Close() //nolint:errcheck // nothing is lost
	if _, err := conn.Exec(limited, "LISTEN "+quoted(s.config.Schema)).ReadAll(); err != nil {
		return err
	}
	for n := 0; p.number == s.Primary(); n++ {
		if err := s.probe(ctx, conn, fmt.Sprintf("%s%d.%d", probePrefix, s.touch, n)); err != nil {
			return err
		}
		s.notified.Store(true)
		if err := wait(ctx, conn, probeEvery, func() bool { return false }); err != nil {
			return err
		}
	}
	return errReplaced
}

// probe sends a notification to the connection itself.
func (s *Store) probe(ctx context.Context, conn *pgconn.PgConn, payload string) error {
	limited, cancel := context.WithTimeout(ctx, s.config.TryFor)
	defer cancel()
	if err := s.notify(limited, conn, payload); err != nil {
		return err
	}
	arrived := func() bool { return conn.CustomData()[probePrefix] == payload }
	if err := wait(ctx, conn, s.config.TryFor, arrived); err != nil {
		return err
	}
	if !arrived() {
		return errMissing
	}
	return nil
}

// wait receives notifications for a time, or until done returns true.
func wait(ctx context.Context, conn *pgconn.PgConn, d time.Duration, done func() bool) error {
	limited, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	for !done() {
		err := conn.WaitForNotification(limited)
		switch {
		case err == nil:
		case ctx.Err() == nil && limited.Err() != nil && !conn.IsClosed():
			return nil
		default:
			return err
		}
	}
	return nil
}

// probePrefix begins the payload of a probe.
const probePrefix = "probe:"

// received handles a notification.
func (s *Store) received(conn *pgconn.PgConn, n *pgconn.Notification) {
	if strings.HasPrefix(n.Payload, probePrefix) {
		conn.CustomData()[probePrefix] = n.Payload
		return
	}
	s.hint(n.Payload)
}

// hint sends a hint to the followers of the prefixes that a payload concerns.
func (s *Store) hint(payload string) {
	beginnings := strings.Split(payload, ",")
	s.hints.Send(func(prefix string) bool {
		return slices.ContainsFunc(beginnings, func(b string) bool {
			return b == everything || strings.HasPrefix(prefix, b) || strings.HasPrefix(b, prefix)
		})
	})
}

func (s *Store) notify(ctx context.Context, c *pgconn.PgConn, payload string) error {
	var a args
	a.text(s.config.Schema)
	a.text(payload)
	return query(ctx, &conn{PgConn: c}, "SELECT pg_notify($1, $2)", a, func([][]byte) error { return nil })
}

// notices are what the next notification is about.
type notices struct {
	mu         sync.Mutex
	beginnings map[string]bool // guarded by mu
	running    bool            // a goroutine sends notifications; guarded by mu
}

// announce has other brokers notified of a commit that wrote keys, by a statement of its own: a notification in the commit would lock
// out those of other brokers until the commit is durable.
func (s *Store) announce(keys []string) {
	if s.config.PollOnly || len(keys) == 0 {
		return
	}
	n := &s.notices
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.beginnings == nil {
		n.beginnings = make(map[string]bool)
	}
	for _, key := range keys {
		n.beginnings[beginning(key)] = true
	}
	if !n.running {
		n.running = s.background(s.sendNotices)
	}
}

// beginning returns the part of a key that a notification has: up to the first dot.
func beginning(key string) string {
	if dot := strings.IndexByte(key, '.'); dot >= 0 {
		key = key[:dot+1]
	}
	if len(key) > 64 || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' || r == ',' || r == '*' }) {
		return everything
	}
	return key
}

// sendNotices sends notifications until none is due. One that fails is lost.
func (s *Store) sendNotices() {
	n := &s.notices
	for {
		n.mu.Lock()
		beginnings := slices.Sorted(maps.Keys(n.beginnings))
		clear(n.beginnings)
		n.running = len(beginnings) > 0
		n.mu.Unlock()
		if len(beginnings) == 0 {
			return
		}
		payload := strings.Join(beginnings, ",")
		if len(payload) > maxPayload {
			payload = everything
		}
		ctx, cancel := context.WithTimeout(s.run, s.config.TryFor)
		if c, err := s.acquire(ctx); err == nil {
			_ = s.notify(ctx, c.Conn().PgConn(), payload)
			release(c)
		}
		cancel()
		select {
		case <-time.After(notifyEvery):
		case <-s.run.Done():
			return
		}
	}
}
