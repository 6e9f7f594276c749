package enduser_test

import (
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/revocation"
)

var (
	owner = broker.Request{Addr: "192.0.2.1", UserAgent: "Firefox", ID: "r1"}
	thief = broker.Request{Addr: "198.51.100.9", UserAgent: "curl", ID: "r2"}
)

// TestSessionDoesNotRevealRotations: a thief who polls it with a stolen token must get the same answer
// until the grace period is over. Otherwise the thief would know when the token can be exchanged for the current one.
func TestSessionDoesNotRevealRotations(t *testing.T) {
	h := brokertest.Start(t)
	grant := h.MustSignIn(t)
	h.Clock.Advance(time.Minute)
	stolen := h.Rotate(t, grant, owner)
	look := func() string {
		t.Helper()
		info, err := h.Session(t.Context(), stolen.RefreshToken, thief)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(info)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	before := look()
	h.Clock.Advance(4 * time.Minute)
	current := stolen
	for range 4 {
		current = h.Rotate(t, current, owner)
		h.Clock.Advance(2 * time.Second)
		if now := look(); now != before {
			t.Fatalf("the answer reveals a rotation:\n%s\n%s", now, before)
		}
	}
	h.Clock.Advance(2 * time.Second)
	_, err := h.Session(t.Context(), stolen.RefreshToken, thief)
	brokertest.WantCode(t, err, broker.CodeRefreshSuperseded)
	if line := h.Log.String(); !strings.Contains(line, "event=session_read_superseded addr=198.51.100.9") || !strings.Contains(line, "user_agent=curl") {
		t.Errorf("no audit line of it: %s", line)
	}
	if info, err := h.Session(t.Context(), current.RefreshToken, owner); err != nil || !info.ExpiresAt.Equal(h.Clock.Now().Add(-4*time.Second+brokertest.Policy.Idle)) {
		t.Errorf("the owner's session: %+v, %v", info, err)
	}
	h.Rotate(t, current, owner)
}

func TestReplaysAreAuditedAndBounded(t *testing.T) {
	h := brokertest.Start(t)
	first := h.MustSignIn(t)
	second := h.Rotate(t, first, owner)
	if second.Replayed {
		t.Error("a rotation is reported as a replay")
	}
	const allowed = 128
	for range allowed {
		again := h.Rotate(t, first, owner)
		if !again.Replayed || again.RefreshToken != second.RefreshToken {
			t.Fatal("a replay within the grace did not get the current token")
		}
	}
	_, err := h.Refresh(t.Context(), first.RefreshToken, first.CSRFToken, owner)
	if refusal := brokertest.WantCode(t, err, broker.CodeTooManyReplays); refusal.RetryAfter <= 0 {
		t.Error("no Retry-After")
	}
	if n := strings.Count(h.Log.String(), "event=refresh_replayed addr=192.0.2.1"); n != allowed {
		t.Errorf("%d audit lines of %d replays", n, allowed)
	}
	if line := h.Log.String(); !strings.Contains(line, "user_agent=Firefox refusal=too_many_replays") {
		t.Error("the refusal left no audit line")
	}
	third := h.Rotate(t, second, owner) // the session continues
	h.Rotate(t, second, owner)          // another generation has its own count
	if n := len(h.Ledger.Events()); n != 0 {
		t.Errorf("%d events", n)
	}
	h.Rotate(t, third, owner)
}

// TestConcurrentTabsAllGetTheCurrentToken: one rotates, and the others are within the grace period.
func TestConcurrentTabsAllGetTheCurrentToken(t *testing.T) {
	h := brokertest.Start(t)
	first := h.MustSignIn(t)
	grants := make([]*broker.Grant, 64)
	var tabs sync.WaitGroup
	for i := range grants {
		tabs.Go(func() {
			grant, err := h.Refresh(t.Context(), first.RefreshToken, first.CSRFToken, owner)
			if err != nil {
				t.Error(err)
			}
			grants[i] = grant
		})
	}
	tabs.Wait()
	replayed := 0
	for _, grant := range grants {
		if grant == nil || grant.RefreshToken != grants[0].RefreshToken {
			t.Fatal("two tabs have two tokens, or one has none")
		}
		if grant.Replayed {
			replayed++
		}
	}
	if replayed != len(grants)-1 {
		t.Errorf("%d of %d replayed", replayed, len(grants))
	}
}

// TestAThiefWhoFollowsTheOwnersRotationsIsReported: with the owner's user agent, from another address, within the
// grace period of each rotation.
func TestAThiefWhoFollowsTheOwnersRotationsIsReported(t *testing.T) {
	const event = "level=WARN msg=audit event=refresh_replayed_elsewhere addr=198.51.100.9"
	disguised := broker.Request{Addr: thief.Addr, UserAgent: owner.UserAgent, ID: "r2"}
	for name, c := range map[string]struct {
		tabs  func(rotation int) (replays int, from broker.Request)
		lines int
	}{
		"a thief at each rotation":            {func(int) (int, broker.Request) { return 1, disguised }, 4},
		"a thief who replays often":           {func(int) (int, broker.Request) { return 10, disguised }, 4},
		"the owner's tabs":                    {func(int) (int, broker.Request) { return 20, owner }, 0},
		"64 tabs when the network changed":    {func(i int) (int, broker.Request) { return map[int]int{2: 64}[i], disguised }, 0},
		"a network that changes now and then": {func(i int) (int, broker.Request) { return i % 3, disguised }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			h := brokertest.Start(t)
			current, err := h.SignIn(t.Context(), "ada", "lovelace", owner)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 6 {
				h.Clock.Advance(time.Minute)
				next := h.Rotate(t, current, owner)
				replays, from := c.tabs(i)
				for range replays {
					if again := h.Rotate(t, current, from); again.RefreshToken != next.RefreshToken {
						t.Fatal("a replay within the grace did not get the current token")
					}
				}
				current = next
			}
			log := h.Log.String()
			if n := strings.Count(log, event); n != c.lines || n > 0 && !strings.Contains(log, "in_a_row=6") {
				t.Errorf("%d lines, want %d:\n%s", n, c.lines, log)
			}
		})
	}
}

// TestAReplayFromAnotherAddressAndAgentIsReuse checks replays within the grace period, in either order.
func TestAReplayFromAnotherAddressAndAgentIsReuse(t *testing.T) {
	for name, of := range map[string]struct{ first, second broker.Request }{
		"the thief comes second": {owner, thief}, "the thief comes first": {thief, owner},
	} {
		t.Run(name, func(t *testing.T) {
			h := brokertest.Start(t)
			stolen, err := h.SignIn(t.Context(), "ada", "lovelace", owner)
			if err != nil {
				t.Fatal(err)
			}
			current := h.Rotate(t, stolen, of.first)
			_, err = h.Refresh(t.Context(), stolen.RefreshToken, stolen.CSRFToken, of.second)
			brokertest.WantCode(t, err, broker.CodeRefreshReused)
			_, err = h.Refresh(t.Context(), current.RefreshToken, current.CSRFToken, of.first)
			brokertest.WantCode(t, err, broker.CodeRefreshReused)
			if events := h.Ledger.Events(); len(events) != 1 || events[0].Reason != revocation.ReasonReuse {
				t.Errorf("events: %+v", events)
			}
		})
	}
}

// TestChangesOfASessionsAddressAreAudited checks that changes are audited at info level and other refreshes at
// debug level. The record contains neither
// the address nor the user agent in clear.
func TestChangesOfASessionsAddressAreAudited(t *testing.T) {
	var log strings.Builder
	h := brokertest.Start(t, func(c *brokertest.Config) {
		c.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	grant, err := h.SignIn(t.Context(), "ada", "lovelace", owner)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		from        broker.Request
		level, want string
	}{
		{owner, "DEBUG", "event=refresh addr=192.0.2.1"},
		{broker.Request{Addr: "192.0.2.77", UserAgent: "Firefox"}, "INFO", "event=session_address_changed addr=192.0.2.77"},
		{broker.Request{Addr: "192.0.2.77", UserAgent: "Firefox 200"}, "DEBUG", "event=refresh addr=192.0.2.77"},
		{thief, "INFO", "event=session_address_changed addr=198.51.100.9"},
	} {
		log.Reset()
		grant = h.Rotate(t, grant, step.from)
		if line := log.String(); strings.Count(line, "\n") != 1 || !strings.Contains(line, "level="+step.level+" msg=audit "+step.want) ||
			!strings.Contains(line, "sid="+grant.SID) || !strings.Contains(line, "user_agent=") {
			t.Errorf("want one line %q at %s, got %s", step.want, step.level, line)
		}
	}
	log.Reset()
	if _, err := h.Session(t.Context(), grant.RefreshToken, owner); err != nil || !strings.Contains(log.String(), "level=DEBUG msg=audit event=session_read addr=192.0.2.1") {
		t.Errorf("%v: %s", err, log.String())
	}
	record, err := h.Store.Get(t.Context(), "session."+grant.UID+"."+grant.SID)
	if err != nil || strings.Contains(string(record.Value), "198.51.100.9") || !strings.Contains(string(record.Value), `"source":"`) {
		t.Errorf("the record: %s, %v", record.Value, err)
	}
	for _, secret := range []string{grant.RefreshToken, grant.AccessToken, grant.CSRFToken} {
		if strings.Contains(log.String(), secret) {
			t.Error("a secret is in the log")
		}
	}
}
