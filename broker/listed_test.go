package broker_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/revocation"
	"tokenbroker/store"
)

// atMost starts a broker that lets a user have n sessions.
func atMost(t *testing.T, n int) *harness {
	return start(t, func(c *broker.Config) { c.Policy.MaxSessions = n })
}

// live are the sids of the user's sessions that are alive.
func (h *harness) live(t *testing.T) []string {
	t.Helper()
	page, err := h.ListSessions(t.Context(), broker.SessionQuery{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	var sids []string
	for _, s := range page.Sessions {
		sids = append(sids, s.SID)
	}
	return sids
}

func TestTheOldestSessionMakesRoom(t *testing.T) {
	h := atMost(t, 3)
	var grants []*broker.Grant
	for range 5 {
		grants = append(grants, h.signIn(t))
		h.clock.advance(time.Second)
	}
	for _, gone := range grants[:2] {
		_, err := h.Refresh(t.Context(), gone.RefreshToken, gone.CSRFToken, request)
		wantCode(t, err, broker.CodeSessionRevoked)
		if !strings.Contains(h.log.String(), "event=session_displaced addr=127.0.0.1 request_id=r1 uid="+gone.UID+" sid="+gone.SID) {
			t.Errorf("the end of %s left no audit line", gone.SID)
		}
	}
	for _, alive := range grants[2:] {
		h.rotate(t, alive, request)
	}
	var ended []string
	for _, e := range h.ledger.events() {
		if e.Kind != revocation.KindSID || e.Reason != revocation.ReasonRevoked {
			t.Errorf("event %+v", e)
		}
		ended = append(ended, e.Value)
	}
	if want := []string{grants[0].SID, grants[1].SID}; !slices.Equal(ended, want) {
		t.Errorf("ended %v, want %v", ended, want)
	}
}

// TestSessionsThatAreOverTakeNoPlace: no session that is alive ends for them.
func TestSessionsThatAreOverTakeNoPlace(t *testing.T) {
	for name, end := range map[string]func(*harness, *broker.Grant) error{
		"logged off": func(h *harness, g *broker.Grant) error {
			_, err := h.LogOff(context.Background(), g.RefreshToken, g.CSRFToken, request)
			return err
		},
		"revoked": func(h *harness, g *broker.Grant) error {
			_, err := h.RevokeSession(context.Background(), g.SID, "", request)
			return err
		},
		"forgotten by the store": func(h *harness, g *broker.Grant) error {
			return h.store.Commit(context.Background(), []store.Change{{Writes: []store.Write{
				{Key: "session." + g.UID + "." + g.SID, Delete: true, Blind: true},
			}}}, nil)[0]
		},
		"unreadable": func(h *harness, g *broker.Grant) error {
			return h.store.Commit(context.Background(), []store.Change{{Writes: []store.Write{
				{Key: "session." + g.UID + "." + g.SID, Value: []byte("{"), Blind: true},
			}}}, nil)[0]
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := atMost(t, 3)
			kept := h.signIn(t)
			for range 5 {
				if err := end(h, h.signIn(t)); err != nil {
					t.Fatal(err)
				}
			}
			h.signIn(t)
			h.signIn(t)
			h.rotate(t, kept, request)
			if n := len(h.live(t)); n != 3 {
				t.Errorf("%d sessions are alive, want 3", n)
			}
		})
	}
	t.Run("idle for too long", func(t *testing.T) {
		h := atMost(t, 2)
		kept := h.signIn(t)
		h.signIn(t)
		h.clock.advance(policy.Idle / 2)
		kept = h.rotate(t, kept, request)
		h.clock.advance(policy.Idle / 2)
		h.signIn(t)
		h.rotate(t, kept, request)
	})
}

func TestSignInsAtOnceHoldTheBound(t *testing.T) {
	h := atMost(t, 10)
	var browsers sync.WaitGroup
	for range 64 {
		browsers.Go(func() {
			if _, err := h.SignIn(context.Background(), "ada", "lovelace", request); err != nil {
				t.Error(err)
			}
		})
	}
	browsers.Wait()
	if live, ended := len(h.live(t)), len(h.ledger.events()); live != 10 || ended != 54 {
		t.Errorf("%d alive and %d ended of 64, want 10 and 54", live, ended)
	}
}

// TestSessionsOfAnEarlierVersionAreFound: their user has no list of them.
func TestSessionsOfAnEarlierVersionAreFound(t *testing.T) {
	h := atMost(t, 300)
	var grants []*broker.Grant
	for range 40 {
		grants = append(grants, h.signIn(t))
		h.clock.advance(time.Second)
	}
	for _, ended := range grants[30:] {
		if _, err := h.LogOff(t.Context(), ended.RefreshToken, ended.CSRFToken, request); err != nil {
			t.Fatal(err)
		}
	}
	forget := store.Write{Key: "listed." + grants[0].UID, Delete: true, Blind: true}
	if err := h.store.Commit(t.Context(), []store.Change{{Writes: []store.Write{forget}}}, nil)[0]; err != nil {
		t.Fatal(err)
	}
	later := start(t, func(c *broker.Config) {
		c.Policy.MaxSessions, c.Store, c.Clock = 10, h.store, h.clock
	})
	fresh := later.signIn(t)
	want := []string{fresh.SID}
	for _, g := range grants[21:30] {
		want = append(want, g.SID)
	}
	live := h.live(t)
	slices.Sort(live)
	slices.Sort(want)
	if !slices.Equal(live, want) {
		t.Errorf("alive are %d sessions, want the nine newest and the new one", len(live))
	}
}

// countingStore counts what is read. It has no snapshot of its own, so that it sees all.
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

// TestASignInCostsTheSameAfterManySessions, of which each left a record.
func TestASignInCostsTheSameAfterManySessions(t *testing.T) {
	var counting *countingStore
	h := start(t, func(c *broker.Config) {
		counting = &countingStore{Store: c.Store}
		c.Policy.MaxSessions, c.Store = 5, counting
	})
	for i := range 200 {
		before := counting.reads.Load()
		g := h.signIn(t)
		if read := counting.reads.Load() - before; read > 20 {
			t.Fatalf("sign-in %d read %d records", i, read)
		}
		if _, err := h.LogOff(t.Context(), g.RefreshToken, g.CSRFToken, request); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAUserOpensSoManySessionsAtATime(t *testing.T) {
	h := start(t)
	if _, err := h.AddUser(t.Context(), broker.NewUser{Username: "bob", Password: "a pass phrase"}, request); err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		if _, err := h.SignIn(t.Context(), "ada", "lovelace", request); err != nil {
			t.Fatalf("sign-in %d: %v", i, err)
		}
	}
	for range 2 {
		_, err := h.SignIn(t.Context(), "ada", "lovelace", request)
		if refusal := wantCode(t, err, broker.CodeTooManySessions); refusal.RetryAfter <= 0 || refusal.RetryAfter > 10*time.Second {
			t.Fatalf("Retry-After %v", refusal.RetryAfter)
		}
	}
	if _, err := h.SignIn(t.Context(), "bob", "a pass phrase", request); err != nil {
		t.Errorf("another user: %v", err)
	}
	h.clock.advance(10 * time.Second)
	h.signIn(t)
	_, err := h.SignIn(t.Context(), "ada", "lovelace", request)
	wantCode(t, err, broker.CodeTooManySessions)
}

// TestTokensThatEndedForEveryClockNeedNoEvent, but the session still ends on disk.
func TestTokensThatEndedForEveryClockNeedNoEvent(t *testing.T) {
	for name, tt := range map[string]struct {
		early time.Duration // of the time floor
		want  int
	}{"ended": {0, 0}, "not for a clock behind": {time.Second, 1}} {
		t.Run(name, func(t *testing.T) {
			h := start(t)
			grant := h.signIn(t)
			h.clock.advance(policy.AccessLife + 2*time.Minute)
			h.clock.floor = h.clock.Now().Add(-tt.early).Unix()
			off, err := h.LogOff(t.Context(), grant.RefreshToken, grant.CSRFToken, request)
			if err != nil || !off.Ended || !off.Broadcast {
				t.Errorf("%+v, %v", off, err)
			}
			if n := len(h.ledger.events()); n != tt.want {
				t.Errorf("%d events, want %d", n, tt.want)
			}
			_, err = h.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, request)
			wantCode(t, err, broker.CodeSessionEnded)
		})
	}
}

// TestVeryManySessionsEndInTurns: one change of the store cannot hold them all.
func TestVeryManySessionsEndInTurns(t *testing.T) {
	h := atMost(t, 1000)
	for i := range 600 {
		if i%200 == 0 {
			h.clock.advance(time.Hour) // for the rate of sign-ins
		}
		h.signIn(t)
	}
	later := start(t, func(c *broker.Config) {
		c.Policy.MaxSessions, c.Store, c.Clock = 10, h.store, h.clock
	})
	for turn, want := range []int{351, 102, 10, 10} {
		later.signIn(t)
		if n := len(h.live(t)); n != want {
			t.Errorf("%d sessions are alive after sign-in %d, want %d", n, turn+1, want)
		}
	}
}
