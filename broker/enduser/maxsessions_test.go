package enduser_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/operator"
	"tokenbroker/revocation"
	"tokenbroker/store"
)

// atMost starts a broker that allows a user n sessions.
func atMost(t *testing.T, n int) *brokertest.Harness {
	return brokertest.Start(t, func(c *brokertest.Config) { c.Policy.MaxSessions = n })
}

func TestTheOldestSessionIsEndedForANewOne(t *testing.T) {
	h := atMost(t, 3)
	var grants []*broker.Grant
	for range 5 {
		grants = append(grants, h.MustSignIn(t))
		h.Clock.Advance(time.Second)
	}
	for _, gone := range grants[:2] {
		_, err := h.Refresh(t.Context(), gone.RefreshToken, gone.CSRFToken, brokertest.Request)
		brokertest.WantCode(t, err, broker.CodeSessionRevoked)
		if !strings.Contains(h.Log.String(), "event=session_displaced addr=127.0.0.1 request_id=r1 uid="+gone.UID+" sid="+gone.SID) {
			t.Errorf("the end of %s left no audit line", gone.SID)
		}
	}
	for _, alive := range grants[2:] {
		h.Rotate(t, alive, brokertest.Request)
	}
	var ended []string
	for _, e := range h.Ledger.Events() {
		if e.Kind != revocation.KindSID || e.Reason != revocation.ReasonRevoked {
			t.Errorf("event %+v", e)
		}
		ended = append(ended, e.Value)
	}
	if want := []string{grants[0].SID, grants[1].SID}; !slices.Equal(ended, want) {
		t.Errorf("ended %v, want %v", ended, want)
	}
}

// TestEndedSessionsDoNotCountAsOpen: no live session is ended because of them.
func TestEndedSessionsDoNotCountAsOpen(t *testing.T) {
	for name, end := range map[string]func(*brokertest.Harness, *broker.Grant) error{
		"logged off": func(h *brokertest.Harness, g *broker.Grant) error {
			_, err := h.LogOff(context.Background(), g.RefreshToken, g.CSRFToken, brokertest.Request)
			return err
		},
		"revoked": func(h *brokertest.Harness, g *broker.Grant) error {
			_, err := h.RevokeSession(context.Background(), g.SID, "", brokertest.Request)
			return err
		},
		"forgotten by the store": func(h *brokertest.Harness, g *broker.Grant) error {
			return h.Store.Commit(context.Background(), []store.Change{{Writes: []store.Write{
				{Key: "session." + g.UID + "." + g.SID, Delete: true, Blind: true},
			}}}, nil)[0]
		},
		"unreadable": func(h *brokertest.Harness, g *broker.Grant) error {
			return h.Store.Commit(context.Background(), []store.Change{{Writes: []store.Write{
				{Key: "session." + g.UID + "." + g.SID, Value: []byte("{"), Blind: true},
			}}}, nil)[0]
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := atMost(t, 3)
			kept := h.MustSignIn(t)
			for range 5 {
				if err := end(h, h.MustSignIn(t)); err != nil {
					t.Fatal(err)
				}
			}
			h.MustSignIn(t)
			h.MustSignIn(t)
			h.Rotate(t, kept, brokertest.Request)
			if n := len(h.Live(t)); n != 3 {
				t.Errorf("%d sessions are alive, want 3", n)
			}
		})
	}
	t.Run("idle for too long", func(t *testing.T) {
		h := atMost(t, 2)
		kept := h.MustSignIn(t)
		h.MustSignIn(t)
		h.Clock.Advance(brokertest.Policy.Idle / 2)
		kept = h.Rotate(t, kept, brokertest.Request)
		h.Clock.Advance(brokertest.Policy.Idle / 2)
		h.MustSignIn(t)
		h.Rotate(t, kept, brokertest.Request)
	})
}

func TestConcurrentSignInsKeepTheBound(t *testing.T) {
	h := atMost(t, 10)
	var browsers sync.WaitGroup
	for range 64 {
		browsers.Go(func() {
			if _, err := h.SignIn(context.Background(), "ada", "lovelace", brokertest.Request); err != nil {
				t.Error(err)
			}
		})
	}
	browsers.Wait()
	if live, ended := len(h.Live(t)), len(h.Ledger.Events()); live != 10 || ended != 54 {
		t.Errorf("%d alive and %d ended of 64, want 10 and 54", live, ended)
	}
}

// TestSessionsOfAnEarlierVersionAreFound: their user has no list of sessions.
func TestSessionsOfAnEarlierVersionAreFound(t *testing.T) {
	h := atMost(t, 300)
	var grants []*broker.Grant
	for range 40 {
		grants = append(grants, h.MustSignIn(t))
		h.Clock.Advance(time.Second)
	}
	for _, ended := range grants[30:] {
		if _, err := h.LogOff(t.Context(), ended.RefreshToken, ended.CSRFToken, brokertest.Request); err != nil {
			t.Fatal(err)
		}
	}
	forget := store.Write{Key: "listed." + grants[0].UID, Delete: true, Blind: true}
	if err := h.Store.Commit(t.Context(), []store.Change{{Writes: []store.Write{forget}}}, nil)[0]; err != nil {
		t.Fatal(err)
	}
	later := brokertest.Start(t, func(c *brokertest.Config) {
		c.Policy.MaxSessions, c.Store, c.Clock = 10, h.Store, h.Clock
	})
	fresh := later.MustSignIn(t)
	want := []string{fresh.SID}
	for _, g := range grants[21:30] {
		want = append(want, g.SID)
	}
	live := h.Live(t)
	slices.Sort(live)
	slices.Sort(want)
	if !slices.Equal(live, want) {
		t.Errorf("alive are %d sessions, want the nine newest and the new one", len(live))
	}
}

// countingStore counts the records that are read. It has no snapshots, so that it counts all reads.
type countingStore struct {
	store.Store
	reads atomic.Int64
}

func (s *countingStore) Get(ctx context.Context, key string) (store.Record, error) {
	s.reads.Add(1)
	return s.Store.Get(ctx, key)
}

func (s *countingStore) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	records, err := s.Store.List(ctx, prefix, after, limit)
	s.reads.Add(int64(len(records)) + 1)
	return records, err
}

// TestASignInCostsTheSameAfterManySessions opens many sessions, each of which leaves a record.
func TestASignInCostsTheSameAfterManySessions(t *testing.T) {
	var counting *countingStore
	h := brokertest.Start(t, func(c *brokertest.Config) {
		counting = &countingStore{Store: c.Store}
		c.Policy.MaxSessions, c.Store = 5, counting
	})
	for i := range 200 {
		before := counting.reads.Load()
		g := h.MustSignIn(t)
		if read := counting.reads.Load() - before; read > 20 {
			t.Fatalf("sign-in %d read %d records", i, read)
		}
		if _, err := h.LogOff(t.Context(), g.RefreshToken, g.CSRFToken, brokertest.Request); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheRateOfAUsersNewSessionsIsBounded(t *testing.T) {
	h := brokertest.Start(t)
	if _, err := h.AddUser(t.Context(), operator.NewUser{Username: "bob", Password: "a pass phrase"}, brokertest.Request); err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		if _, err := h.SignIn(t.Context(), "ada", "lovelace", brokertest.Request); err != nil {
			t.Fatalf("sign-in %d: %v", i, err)
		}
	}
	for range 2 {
		_, err := h.SignIn(t.Context(), "ada", "lovelace", brokertest.Request)
		if refusal := brokertest.WantCode(t, err, broker.CodeTooManySessions); refusal.RetryAfter <= 0 || refusal.RetryAfter > 10*time.Second {
			t.Fatalf("Retry-After %v", refusal.RetryAfter)
		}
	}
	if _, err := h.SignIn(t.Context(), "bob", "a pass phrase", brokertest.Request); err != nil {
		t.Errorf("another user: %v", err)
	}
	h.Clock.Advance(10 * time.Second)
	h.MustSignIn(t)
	_, err := h.SignIn(t.Context(), "ada", "lovelace", brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeTooManySessions)
}

// TestTokensThatExpiredByEveryClockNeedNoEvent also checks that the session still ends on disk.
func TestTokensThatExpiredByEveryClockNeedNoEvent(t *testing.T) {
	for name, tt := range map[string]struct {
		early time.Duration // of the time floor
		want  int
	}{"ended": {0, 0}, "not for a clock behind": {time.Second, 1}} {
		t.Run(name, func(t *testing.T) {
			h := brokertest.Start(t)
			grant := h.MustSignIn(t)
			h.Clock.Advance(brokertest.Policy.AccessLife + 2*time.Minute)
			h.Clock.TimeFloor.Store(h.Clock.Now().Add(-tt.early).Unix())
			off, err := h.LogOff(t.Context(), grant.RefreshToken, grant.CSRFToken, brokertest.Request)
			if err != nil || !off.Ended || !off.Broadcast {
				t.Errorf("%+v, %v", off, err)
			}
			if n := len(h.Ledger.Events()); n != tt.want {
				t.Errorf("%d events, want %d", n, tt.want)
			}
			_, err = h.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, brokertest.Request)
			brokertest.WantCode(t, err, broker.CodeSessionEnded)
		})
	}
}

// TestVeryManySessionsAreEndedByLaterSignIns: one change of the store cannot end them all.
func TestVeryManySessionsAreEndedByLaterSignIns(t *testing.T) {
	h := atMost(t, 1000)
	for i := range 600 {
		if i%200 == 0 {
			h.Clock.Advance(time.Hour) // for the rate of sign-ins
		}
		h.MustSignIn(t)
	}
	later := brokertest.Start(t, func(c *brokertest.Config) {
		c.Policy.MaxSessions, c.Store, c.Clock = 10, h.Store, h.Clock
	})
	for turn, want := range []int{351, 102, 10, 10} {
		later.MustSignIn(t)
		if n := len(h.Live(t)); n != want {
			t.Errorf("%d sessions are alive after sign-in %d, want %d", n, turn+1, want)
		}
	}
}
