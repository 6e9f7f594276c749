package pgstore_test

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"tokenbroker/store"
	"tokenbroker/store/pgstore"
	"tokenbroker/store/pgstore/pgtest"
)

// TestNotifications: a commit notifies the followers of what it wrote, and no others, without polling.
func TestNotifications(t *testing.T) {
	t.Parallel()
	config := config(t)
	a, b := open(t, config), open(t, config)
	hints := make(map[string]<-chan struct{})
	for _, prefix := range []string{"origin.", "ledger.batch.a.", "keyring", "session."} {
		hints[prefix] = b.Follow(t.Context(), prefix)
	}
	eventually(t, "notifications arrive", b.Notified)
	f := fenced{Store: a, key: "origin.a"}
	for _, tt := range []struct {
		change store.Change
		seal   store.Seal
		want   []string
	}{
		{blind("keyring", "v"), nil, []string{"keyring"}},
		{blind("ledger.other", "v"), nil, []string{"ledger.batch.a."}}, // it may concern the prefix
		{withEvent(blind("sid.a", "v")), sealTo("ledger.batch.a.1", "b"), []string{"ledger.batch.a.", "origin."}},
		{store.Change{Writes: []store.Write{{Key: "session.a", Delete: true, Blind: true}}}, nil, []string{"session."}},
		{put("keyring", "w", 0), nil, nil}, // a conflict
		{blind("user.a", "v"), nil, nil},
		{blind(fmt.Sprintf("%080d", 1), "v"), nil, []string{"keyring", "ledger.batch.a.", "origin.", "session."}}, // no key that a notification has
	} {
		for _, c := range hints { // of the time before notifications arrived
			select {
			case <-c:
			default:
			}
		}
		_ = f.commit(t.Context(), tt.seal, tt.change)
		// A notification that comes after all those of the commit.
		eventually(t, "the notification has arrived", func() bool {
			_ = f.commit(t.Context(), nil, blind("mark.a", "v"))
			return marked(t, b)
		})
		var got []string
		for prefix, c := range hints {
			select {
			case <-c:
				got = append(got, prefix)
			default:
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, tt.want) {
			t.Errorf("%v: hints for %q, want %q", tt.change.Writes, got, tt.want)
		}
	}
	config.PollOnly = true
	polls := open(t, config)
	<-polls.Follow(t.Context(), "anything")
	if polls.Notified() {
		t.Error("a store that polls listens")
	}
}

// marked reports whether the store was notified of the key mark.a.
func marked(t *testing.T, s *pgstore.Store) bool {
	t.Helper()
	mark := s.Follow(t.Context(), "mark.")
	select {
	case <-mark:
		return true
	case <-time.After(50 * time.Millisecond):
		return false
	}
}

// TestAReplacedPrimaryIsNotUsed: after a failover the store has another primary with a higher number, and does not return to the one before,
// although that accepts connections.
func TestAReplacedPrimaryIsNotUsed(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t, pgtest.Spare())
	config := pgstore.Config{URL: c.URL(), TryFor: time.Second, Logger: slog.New(slog.DiscardHandler)}
	initialize(t, config)
	s := open(t, config)
	old, next := c.Primary(), c.Standby()
	commit := func(key string) error {
		_, errs := s.CommitFenced(t.Context(), store.Fence{}, []store.Change{put(key, "v", 0)}, nil)
		return errs[0]
	}
	if err := commit("before"); err != nil {
		t.Fatal(err)
	}
	before := s.Primary()
	if err := s.Confirm(t.Context()); err != nil || s.Primary() != before {
		t.Errorf("primary %d after %d, %v", s.Primary(), before, err)
	}
	view, release := snapshot(t, s)
	defer release()
	next.Promote(t)
	// The old one runs, and reads at it succeed. A write does not, and finds the new one.
	eventually(t, "a write is confirmed", func() bool { return s.Confirm(t.Context()) == nil })
	if s.Primary() <= before {
		t.Errorf("primary %d after %d", s.Primary(), before)
	}
	if h, err := s.Health(t.Context()); err != nil || h.Host != next.Addr() {
		t.Errorf("the primary is %s, want %s: %v", h.Host, next.Addr(), err)
	}
	if value(t, s, "before") != "v" || commit("after") != nil {
		t.Error("the new primary cannot be used")
	}
	if _, err := view.Get(t.Context(), "before"); err == nil && s.Primary() == before {
		t.Error("the view of the old primary counts as one of the new")
	}
	release()
	now := s.Primary()
	for i := range 20 { // new connections, also to the old one
		s.Reconnect()
		if got := value(t, s, "after"); got != "v" || commit(fmt.Sprint("more", i)) != nil {
			t.Errorf("read %q", got)
		}
	}
	if h, err := s.Health(t.Context()); err != nil || h.Host != next.Addr() || s.Primary() != now {
		t.Errorf("the primary is %s with number %d, want %s with %d: %v", h.Host, s.Primary(), next.Addr(), now, err)
	}
	// A connection that leads to the old one is refused, and so is a statement for the new one there.
	if old.SQL(t, "postgres", "SELECT count(*) FROM tokenbroker.records WHERE key = 'after'") != "0" {
		t.Error("the old primary has the commits of the new one")
	}
}

// TestEveryStatementNamesItsServer: a statement that reaches another server than expected does nothing, and the store finds out which one
// it is.
func TestEveryStatementNamesItsServer(t *testing.T) {
	t.Parallel()
	s := open(t, config(t))
	f := fenced{Store: s, key: "origin.a"}
	for name, do := range map[string]func() error{
		"get":     func() error { _, err := s.GetMany(t.Context(), []string{"k"}); return err },
		"list":    func() error { _, err := s.List(t.Context(), "", "", 10); return err },
		"expired": func() error { _, _, err := s.Expired(t.Context(), 1, "", 10); return err },
		"each":    func() error { return s.Each(t.Context(), "", func(store.Write) error { return nil }) },
		"commit":  func() error { return f.commit(t.Context(), nil, blind("k", "v"))[0] },
		"confirm": func() error { return s.Confirm(t.Context()) },
	} {
		before := s.Primary()
		s.Mistake()
		if err := do(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if s.Primary() <= before {
			t.Errorf("%s was done at a server that was not expected", name)
		}
	}
	view, release, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if _, err := view.Get(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	s.Mistake()
	if err := s.Confirm(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := view.Get(t.Context(), "k"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a view of the primary before: %v", err)
	}
}

func snapshot(t *testing.T, s *pgstore.Store) (store.Reader, func()) {
	t.Helper()
	view, release, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := view.Get(t.Context(), "before"); err != nil {
		t.Fatal(err)
	}
	return view, release
}
