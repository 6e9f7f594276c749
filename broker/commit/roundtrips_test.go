package commit_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/operator"
	"tokenbroker/broker/session"
	"tokenbroker/store"
)

// trips is a store that counts its calls. Each is a round trip if the engine is on a network. Its counts are read while no
// call runs.
type trips struct {
	store.Store
	reads, commits int
	floors         int   // writes of the record with the largest exp
	broken         error // if not nil, what reads of the record at brokenKey return
	brokenKey      string
	hold           chan struct{} // if not nil, commits wait until it is closed
}

func (s *trips) Get(ctx context.Context, key string) (store.Record, error) {
	s.reads++
	if key == s.brokenKey {
		return store.Record{}, s.broken
	}
	return s.Store.Get(ctx, key)
}

func (s *trips) GetMany(ctx context.Context, keys []string) ([]store.Record, error) {
	s.reads++
	if slices.Contains(keys, s.brokenKey) {
		return nil, s.broken
	}
	return s.Store.GetMany(ctx, keys)
}

func (s *trips) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	s.reads++
	return s.Store.List(ctx, prefix, after, limit)
}

func (s *trips) Commit(ctx context.Context, changes []store.Change, seal store.Seal) []error {
	s.commits++
	for _, change := range changes {
		for _, w := range change.Writes {
			if w.Key == "floor" {
				s.floors++
			}
		}
	}
	if s.hold != nil {
		<-s.hold
	}
	return s.Store.Commit(ctx, changes, seal)
}

// waiting is how many messages wait for the same round in the test.
const waiting = 64

// counted is a broker on such a store, with signed-in users.
type counted struct {
	*testing.T
	*trips
	*brokertest.Harness
	provider *brokertest.Provider
	grants   [waiting + 1]*broker.Grant
}

func (c *counted) refresh(i int) (*broker.Grant, error) {
	return c.Refresh(c.Context(), c.grants[i].RefreshToken, c.grants[i].CSRFToken, brokertest.Request)
}

// refreshTogether refreshes the first sessions while another one is committed, so that they are one round, in which the
// reads of a record fail. The counts are those of the round.
func (c *counted) refreshTogether(key string, broken error) []brokertest.Outcome[*broker.Grant] {
	c.hold = make(chan struct{})
	first := make(chan error, 1)
	go func() { _, err := c.refresh(waiting); first <- err }()
	synctest.Wait()
	c.reads, c.commits, c.broken, c.brokenKey = 0, 0, broken, key
	go func() { synctest.Wait(); close(c.hold) }()
	outcomes := brokertest.AtOnce(waiting, c.refresh)
	if err := <-first; err != nil {
		c.Error(err)
	}
	return outcomes
}

func (c *counted) signIn(i int) (*broker.Grant, error) {
	return c.SignIn(c.Context(), fmt.Sprint("user", i), "lovelace", brokertest.Request)
}

// refreshGrant opens a grant and refreshes it. The counts are those of the refresh.
func (c *counted) refreshGrant(offline bool) error {
	u := user{T: c.T, Harness: c.Harness, uid: c.grants[0].UID}
	u.must("g1", app, grant("g1", c.grants[0].SID, offline))
	c.reads, c.commits = 0, 0
	u.must("g1", app, rotate("g1", session.ChannelOAuth, 1))
	return nil
}

func (c *counted) federated() error {
	_, callback := c.BeginLogin(c.T, c.provider)
	_, _, err := c.CompleteLogin(c.Context(), callback, brokertest.Request)
	return err
}

// TestRoundTripsOfUseCases states how often the store is called once the largest exp is on record: about once
// a minute, a refresh or sign-in needs one read and one commit more for it.
func TestRoundTripsOfUseCases(t *testing.T) {
	for name, test := range map[string]struct {
		do             func(*counted) error
		reads, commits int
	}{
		"a refresh": {func(c *counted) error { _, err := c.refresh(0); return err }, 1, 1},
		"64 refreshes that wait for a commit share the next read and commit": {func(c *counted) error {
			for _, outcome := range c.refreshTogether("", nil) {
				if outcome.Err != nil {
					return outcome.Err
				}
			}
			return nil
		}, 1, 1},
		"64 refreshes are all refused at once if the store is not available": {func(c *counted) error {
			for _, outcome := range c.refreshTogether("floor", store.ErrUnavailable) {
				_ = brokertest.WantCode(c.T, outcome.Err, broker.CodeUnavailable)
			}
			return nil
		}, 1, 0},
		"a record that cannot be read fails its own refresh": {func(c *counted) error {
			for i, outcome := range c.refreshTogether(directory.UserKey(c.grants[0].UID), errors.New("damaged")) {
				if i == 0 {
					_ = brokertest.WantCode(c.T, outcome.Err, broker.CodeInternal)
				} else if outcome.Err != nil {
					return outcome.Err
				}
			}
			return nil
		}, 1 + 2 + 2*waiting, 1},
		"a log-off": {func(c *counted) error {
			off, err := c.LogOff(c.Context(), c.grants[0].RefreshToken, c.grants[0].CSRFToken, brokertest.Request)
			if err == nil && !off.Ended {
				return fmt.Errorf("nothing has ended: %+v", off)
			}
			return err
		}, 1, 1},
		"a sign-in reads the account, then the user, then what opens the session": {func(c *counted) error { _, err := c.signIn(0); return err }, 3, 1},
		"a sign-in that ends the oldest session also reads all sessions together": {func(c *counted) error {
			if _, err := c.signIn(0); err != nil {
				return err
			}
			c.reads, c.commits = 0, 0
			_, err := c.signIn(0)
			return err
		}, 4, 1},
		"a sign-in through a provider also marks the login as used, before the code is exchanged": {func(c *counted) error {
			if err := c.federated(); err != nil {
				return err
			}
			c.reads, c.commits = 0, 0
			return c.federated()
		}, 3, 2},
		"a refresh of an offline grant": {func(c *counted) error { return c.refreshGrant(true) }, 1, 1},
		"a refresh of another grant also reads its browser session, then the client of that": {func(c *counted) error { return c.refreshGrant(false) }, 3, 1},
		"the opening of a grant, with the client of its browser session": {func(c *counted) error {
			u := user{T: c.T, Harness: c.Harness, uid: c.grants[0].UID}
			u.must("g1", app, grant("g1", c.grants[0].SID, false))
			return nil
		}, 2, 1},
		"a log-off with grants reads them together": {func(c *counted) error {
			u := user{T: c.T, Harness: c.Harness, uid: c.grants[0].UID}
			u.must("g1", app, grant("g1", c.grants[0].SID, false))
			u.must("g2", app, grant("g2", c.grants[0].SID, false))
			c.reads, c.commits = 0, 0
			_, err := c.LogOff(c.Context(), c.grants[0].RefreshToken, c.grants[0].CSRFToken, brokertest.Request)
			return err
		}, 2, 1},
		"a question for the session": {func(c *counted) error {
			_, err := c.Session(c.Context(), c.grants[0].RefreshToken, brokertest.Request)
			return err
		}, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &counted{T: t, trips: &trips{}}
				c.Harness, c.provider = brokertest.Federated(t, func(cfg *brokertest.Config) {
					c.trips.Store, cfg.Store = cfg.Store, c.trips
					cfg.Policy.MaxSessions = 2
				})
				for i := range c.grants {
					if _, err := c.AddUser(t.Context(), operator.NewUser{Username: fmt.Sprint("user", i), Password: "lovelace"}, brokertest.Operator); err != nil {
						t.Fatal(err)
					}
					var err error
					if c.grants[i], err = c.signIn(i); err != nil {
						t.Fatal(err)
					}
				}
				c.reads, c.commits = 0, 0
				if err := test.do(c); err != nil {
					t.Fatal(err)
				}
				if c.reads != test.reads || c.commits != test.commits {
					t.Errorf("%d reads and %d commits, want %d and %d", c.reads, c.commits, test.reads, test.commits)
				}
			})
		})
	}
}

// TestAReservedExpServesAllBrokers: the first broker records a largest exp ahead of the tokens, and a second one, which
// finds it on record, signs up to it without a write of the floor.
func TestAReservedExpServesAllBrokers(t *testing.T) {
	const reserved = 64 * time.Second // ahead
	one, other := &trips{}, &trips{}
	first := brokertest.Start(t, func(c *brokertest.Config) { one.Store, c.Store = c.Store, one })
	second := brokertest.Start(t, func(c *brokertest.Config) { other.Store, c.Store = first.Store, other })
	grant := first.MustSignIn(t)
	refreshAt := func(h *brokertest.Harness, s *trips, after time.Duration, floors, reads int) {
		t.Helper()
		h.Clock.Advance(after)
		s.floors, s.reads = 0, 0
		grant = h.Rotate(t, grant, brokertest.Request)
		if s.floors != floors || s.reads != reads {
			t.Errorf("%d writes of the floor and %d reads, want %d and %d", s.floors, s.reads, floors, reads)
		}
	}
	refreshAt(second, other, reserved, 0, 2)    // it finds the reservation
	refreshAt(second, other, 0, 0, 1)           // and keeps it
	refreshAt(second, other, time.Second, 1, 2) // the exp is above it
	refreshAt(first, one, reserved+time.Second, 0, 2)
}
