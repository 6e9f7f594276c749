package faults_test

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"tokenbroker/internal/longtest"
)

// answered sends a request until its outcome is known. It stops after some minutes.
func answered(send func() answer) (a answer) {
	for range 5000 {
		if a = send(); !a.unknown() {
			break
		}
		pause()
	}
	return a
}

// open signs a user in.
func (c *cluster) open(t *testing.T, user string) (v visit) {
	t.Helper()
	if a := answered(func() (a answer) { v, a = c.signIn(anywhere, user); return a }); !a.accepted() {
		t.Errorf("sign-in: %d %v", a.status, a.body)
	}
	return v
}

// refreshTabs refreshes one session in 64 tabs at once, through all brokers. No tab is signed out, and all get the same
// successor, which no earlier tab had.
func (c *cluster) refreshTabs(t *testing.T) {
	v := c.open(t, c.users[0])
	earlier := map[string]bool{v.cookie: true}
	for round := range longtest.Pick(30, 500) {
		tabs := make([]answer, 64)
		var wg sync.WaitGroup
		for i := range tabs {
			wg.Go(func() { tabs[i] = answered(func() answer { return c.refresh(i%size, v) }) })
		}
		wg.Wait()
		next := tabs[0].cookie
		for i, a := range tabs {
			if a.status != http.StatusOK || a.cookie != next || earlier[next] {
				t.Fatalf("round %d: tab %d receives %d %v and cookie %s; tab 0 received %s", round, i, a.status, a.body, tail(a.cookie), tail(next))
			}
		}
		earlier[next], v.cookie, v.access = true, next, tabs[0].text("access_token")
	}
	if active, known, a := c.check(anywhere, v.access); known && !active {
		t.Errorf("the token of the last tab: %d %v", a.status, a.body)
	}
}

// raceLogOff logs sessions off while a tab refreshes them at each broker. After the answer no refresh succeeds, and no
// token of the session is valid at any broker.
func (c *cluster) raceLogOff(t *testing.T) {
	rounds := int64(longtest.Pick(300, 10_000))
	var users []string
	for i := range longtest.Pick(1, 20) { // each may open 300 sessions at a broker at once
		users = append(users, fmt.Sprint("racer", i))
		c.operate(t, 0, password+"\n", "users", "add", users[i])
	}
	var begun, accepted atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for round := begun.Add(1); round <= rounds && !t.Failed(); round = begun.Add(1) {
				accepted.Add(c.raceOnce(t, int(round), users[int(round)%len(users)]))
			}
		})
	}
	wg.Wait()
	t.Logf("%d log-offs, during which %d of %d refreshes were accepted", rounds, accepted.Load(), size*rounds)
	if n := accepted.Load(); n == 0 || n == size*rounds {
		t.Error("log-offs and refreshes did not race")
	}
}

// raceOnce returns how many refreshes were accepted before or during a log-off.
func (c *cluster) raceOnce(t *testing.T, round int, user string) (accepted int64) {
	v := c.open(t, user)
	tabs := make([]answer, size)
	var wg sync.WaitGroup
	for i := range tabs {
		wg.Go(func() { tabs[i] = c.refresh(i, v) })
	}
	off := answered(func() answer { return c.logOff(round%size, v) })
	wg.Wait()
	if !off.accepted() {
		t.Errorf("round %d: log-off: %d %v", round, off.status, off.body)
	}
	tokens, cookies := []string{v.access}, map[string]bool{v.cookie: true}
	for _, a := range tabs {
		if a.accepted() {
			accepted++
			tokens, cookies[a.cookie] = append(tokens, a.text("access_token")), true
		}
	}
	for i := range size {
		for _, token := range tokens {
			if active, _, a := c.check(i, token); active {
				t.Errorf("round %d: a token is valid at broker %d after the log-off: %d %v", round, i, a.status, a.body)
			}
		}
		for cookie := range cookies {
			if a := c.refresh(i, visit{cookie: cookie, csrf: v.csrf}); a.status != http.StatusUnauthorized && !a.unknown() {
				t.Errorf("round %d: a refresh at broker %d after the log-off: %d %v", round, i, a.status, a.body)
			}
		}
	}
	return accepted
}
