package node_test

import (
	"errors"
	"net/http"
	"sync"
	"testing"

	"tokenbroker/internal/longtest"
	"tokenbroker/validator"
)

// TestASessionMovesBetweenBrokers signs in at one broker, refreshes at the next one and logs off at the third. Every
// service and every broker's own check then refuses the token.
func TestASessionMovesBetweenBrokers(t *testing.T) {
	t.Parallel()
	b := newBrokers(t, 3)
	services := b.services(0)
	s := b.signInAt(b.all[0])
	first := s.access
	if a := s.refreshAt(b.all[1]); a.status != http.StatusOK {
		t.Fatalf("refresh at another broker: %d %s", a.status, a.body)
	}
	for name, v := range services {
		for _, token := range []string{first, s.access} {
			if _, err := v.Validate(t.Context(), token); err != nil {
				t.Errorf("service %s refuses a good token: %v", name, err)
			}
		}
	}
	for _, m := range b.all {
		if status, code := b.verifyAt(m, s.access); status != http.StatusOK {
			t.Errorf("broker %s refuses a good token: %d %s", m.name, status, code)
		}
	}
	if a := s.logOffAt(b.all[2]); !a.accepted() {
		t.Fatalf("log-off: %d %s", a.status, a.body)
	}
	for _, m := range b.all {
		for _, token := range []string{first, s.access} {
			if status, code := b.verifyAt(m, token); status != http.StatusUnauthorized || code != "token_revoked" {
				t.Errorf("broker %s after the log-off: %d %s", m.name, status, code)
			}
		}
		if a := s.refreshAt(m); a.status != http.StatusUnauthorized {
			t.Errorf("a refresh at broker %s after the log-off: %d %s", m.name, a.status, a.body)
		}
	}
	for name, v := range services {
		eventually(t, "service "+name+" refuses both tokens", func() bool {
			_, one := v.Validate(t.Context(), first)
			_, two := v.Validate(t.Context(), s.access)
			return errors.Is(one, validator.ErrRevoked) && errors.Is(two, validator.ErrRevoked)
		})
		if n := v.stales(); n != 0 {
			t.Errorf("service %s became stale %d times", name, n)
		}
	}
}

// TestTabsRefreshThroughSeveralBrokers refreshes one session in 64 tabs at once, through all brokers. No tab is signed out,
// and all get the same successor.
func TestTabsRefreshThroughSeveralBrokers(t *testing.T) {
	t.Parallel()
	b := newBrokers(t, 3)
	s := b.signInAt(b.all[0])
	for range longtest.Pick(3, 30) {
		tabs := make([]roamer, 64)
		answers := make([]reply, len(tabs))
		var all sync.WaitGroup
		for i := range tabs {
			tabs[i] = *s
			all.Go(func() { answers[i] = tabs[i].refreshAt(nil) })
		}
		all.Wait()
		successors := map[string]bool{}
		for i, a := range answers {
			for a.status == http.StatusServiceUnavailable { // it was busy, so the tab repeats it
				a = tabs[i].refreshAt(nil)
			}
			if a.status != http.StatusOK {
				t.Fatalf("tab %d: %d %s", i, a.status, a.body)
			}
			successors[tabs[i].cookie] = true
		}
		if len(successors) != 1 {
			t.Fatalf("the session has %d live successors", len(successors))
		}
		*s = tabs[0]
	}
}

// TestLogOffRacesRefreshesOfSeveralBrokers logs off while other brokers refresh the session. After the answer, no token of
// the session is valid at any broker.
func TestLogOffRacesRefreshesOfSeveralBrokers(t *testing.T) {
	t.Parallel()
	b := newBrokers(t, 3)
	for round := range longtest.Pick(20, 1000) {
		s := b.signInAt(nil)
		tabs := make([]roamer, 6)
		var all sync.WaitGroup
		for i := range tabs {
			tabs[i] = *s
			all.Go(func() { tabs[i].refreshAt(b.all[i%3]) })
		}
		off := s.logOffAt(b.all[round%3])
		all.Wait()
		if !off.accepted() {
			t.Fatalf("log-off: %d %s\n%s", off.status, off.body, b.logs())
		}
		for _, tab := range append(tabs, *s) {
			if status, code := b.verifyAt(nil, tab.access); status != http.StatusUnauthorized || code != "token_revoked" {
				t.Fatalf("round %d: a token is answered %d %s after the log-off", round, status, code)
			}
			if a := tab.refreshAt(nil); a.status != http.StatusUnauthorized {
				t.Fatalf("round %d: a refresh is answered %d %s after the log-off", round, a.status, a.body)
			}
		}
	}
}
