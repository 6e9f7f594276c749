package faults_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenbroker/validator"
)

const (
	// maxStaleness is that of the services. It is shorter than most faults, so that a service that hears nothing
	// during one becomes stale.
	maxStaleness = 10 * time.Second
	// barrierTimeout is how long a broker waits for what others have recorded before it checks a token by what was known
	// memory ago (cmd/tokenbroker/internal/node/guard.go).
	barrierTimeout, memory = time.Second, 30 * time.Second
)

// load is clients who sign in, refresh, log off and check tokens at all brokers, two services, and the history of what
// the clients saw.
type load struct {
	*history
	c        *cluster
	t        *testing.T
	services map[string]watched
	stales   map[string]int // how often each service was stale before
	stopping atomic.Bool
	wg       sync.WaitGroup
	pilot    visit // a session that only services see
	// mayBeStale reports whether the fault leaves the services without anything to hear.
	mayBeStale bool
	// cutOff are the brokers that cannot read the store, and check tokens by what they know.
	cutOff [size]atomic.Bool

	mu    sync.Mutex // guards ended
	ended []visit    // the sessions whose log-off was acknowledged
}

// startLoad starts one client for each user of the cluster: the last ones stay at one broker each, so that one broker that
// answers late does not hold up all of them.
func (c *cluster) startLoad(t *testing.T, services map[string]watched) *load {
	t.Helper()
	l := &load{history: newHistory(), c: c, t: t, services: services, stales: map[string]int{}}
	eventually(t, "a sign-in", func() (ok bool) {
		var a answer
		l.pilot, a = c.signIn(anywhere, c.users[0])
		return a.accepted()
	})
	for i, user := range c.users {
		l.wg.Go(func() { l.client(max(anywhere, i-len(c.users)+size), user) })
	}
	for name, service := range services {
		l.stales[name] = service.stales()
		l.wg.Go(func() { l.watch(name, service) })
	}
	t.Cleanup(func() { l.stopping.Store(true); l.wg.Wait() })
	return l
}

// through waits until clients and services go on although something is broken.
func (l *load) through(t *testing.T, when string) {
	t.Helper()
	l.more(t, when)
	l.heard(t, when)
}

// more waits until a hundred more writes are acknowledged.
func (l *load) more(t *testing.T, when string) {
	t.Helper()
	goal := l.acknowledged() + 100
	eventually(t, "acknowledged writes "+when, func() bool { return l.acknowledged() >= goal || t.Failed() })
}

// client opens sessions at target one after the other, uses each of them and logs it off.
func (l *load) client(target int, user string) {
	for !l.stopping.Load() {
		call := l.now()
		v, a := l.c.signIn(target, user)
		if l.unanswered("sign-in", a) {
			pause()
			continue
		}
		if !a.accepted() {
			l.t.Errorf("sign-in: %d %v", a.status, a.body)
			return
		}
		sid := l.open(call, v.cookie)
		for range 4 + rand.IntN(8) {
			if rand.IntN(3) == 0 {
				l.check(target, sid, v)
			} else if v = l.refresh(target, sid, v); v.cookie == "" {
				return
			}
			if l.stopping.Load() {
				l.refresh(target, sid, v) // it must not be lost
				return
			}
			pause()
		}
		l.logOff(target, sid, v)
	}
}

// pause is a client's.
func pause() { time.Sleep(time.Duration(5+rand.IntN(20)) * time.Millisecond) }

// unanswered reports whether the outcome of a request is unknown, and counts it. A broker that refuses must keep the cookie.
func (l *load) unanswered(what string, a answer) bool {
	if !a.unknown() {
		return false
	}
	l.lost()
	if a.status == http.StatusServiceUnavailable && (a.retry == "" || a.cookie != "" || a.cleared) {
		l.t.Errorf("%s: 503 with Retry-After %q, cookie %q, cleared %t", what, a.retry, a.cookie, a.cleared)
	}
	return true
}

// refresh refreshes a session by up to three tabs at once, again until one of them has an answer. The result is empty if
// the session has ended, which the history must explain.
func (l *load) refresh(target, sid int, v visit) visit {
	for {
		tabs := make([]answer, 1+rand.IntN(3))
		var wg sync.WaitGroup
		for i := range tabs {
			wg.Go(func() { tabs[i] = l.refreshOnce(target, sid, v) })
		}
		wg.Wait()
		for _, a := range tabs {
			if !a.unknown() || l.t.Failed() {
				v.cookie, v.access = a.cookie, a.text("access_token")
				return v
			}
		}
		pause()
	}
}

func (l *load) refreshOnce(target, sid int, v visit) answer {
	call := l.now()
	a := l.c.refresh(target, v)
	switch {
	case l.unanswered("refresh", a):
	case a.status != http.StatusOK && a.status != http.StatusUnauthorized:
		l.t.Errorf("refresh: %d %v", a.status, a.body)
	default:
		l.add(sid, call, l.now(), input{refresh, v.cookie}, outcome{accepted: a.accepted(), cookie: a.cookie})
	}
	return a
}

// check asks a broker about the access token of a session.
func (l *load) check(target, sid int, v visit) {
	call := l.now()
	active, known, a := l.c.check(target, v.access)
	end := l.now()
	if !known {
		l.unanswered("check", a)
		return
	}
	if end-call >= barrierTimeout*9/10 || a.broker >= 0 && l.cutOff[a.broker].Load() {
		call = max(0, call-memory) // it may be what the broker knew then
	}
	l.add(sid, call, end, input{request: check}, outcome{accepted: active})
}

// logOff logs a session off, half of the time while another tab refreshes, and then tries to use it at target or every
// broker.
func (l *load) logOff(target, sid int, v visit) {
	var wg sync.WaitGroup
	raced := v
	if rand.IntN(2) == 0 {
		wg.Go(func() {
			if a := l.refreshOnce(target, sid, v); a.accepted() {
				raced.cookie, raced.access = a.cookie, a.text("access_token")
			}
		})
	}
	for {
		call := l.now()
		a := l.c.logOff(target, v)
		if a.accepted() {
			l.add(sid, call, l.now(), input{logOff, v.cookie}, outcome{accepted: true})
			break
		}
		if l.t.Failed() {
			break
		}
		if !l.unanswered("log-off", a) {
			l.t.Errorf("log-off: %d %v", a.status, a.body)
			break
		}
		l.add(sid, call, forever, input{logOff, v.cookie}, outcome{unknown: true})
		pause()
	}
	wg.Wait()
	for at := range size {
		if target != anywhere && at != target {
			continue
		}
		l.check(at, sid, v)
		l.check(at, sid, raced)
		l.refreshOnce(at, sid, v)
		l.refreshOnce(at, sid, raced)
	}
	l.mu.Lock()
	l.ended = append(l.ended, v, raced)
	l.mu.Unlock()
}

// watch validates the token of a living session at a service until the load ends. A service that is not current refuses
// it, which it counts.
func (l *load) watch(name string, service watched) {
	for !l.stopping.Load() {
		if _, err := service.Validate(l.t.Context(), l.pilot.access); err != nil && !errors.Is(err, validator.ErrStale) {
			l.t.Errorf("service %s: the token of a living session: %v", name, err)
			return
		}
		pause()
	}
}

// heard logs a session off now and waits until every service refuses its token and has proved, by something that it heard
// since, that its knowledge is current.
func (l *load) heard(t *testing.T, when string) {
	t.Helper()
	var v visit
	eventually(t, "a sign-in "+when, func() (ok bool) {
		var a answer
		v, a = l.c.signIn(anywhere, l.c.users[0])
		return a.accepted()
	})
	eventually(t, "a log-off "+when, func() bool { return l.c.logOff(anywhere, v).accepted() })
	since := time.Now()
	l.refused(t, when, v)
	for name, service := range l.services {
		eventually(t, fmt.Sprintf("service %s is current %s", name, when), func() bool {
			s := service.Stats()
			return s.Fresh && time.Duration(s.AgeMS)*time.Millisecond < time.Since(since)
		})
	}
}

func (l *load) refused(t *testing.T, when string, v visit) {
	t.Helper()
	for name, service := range l.services {
		eventually(t, fmt.Sprintf("service %s refuses the token of an ended session %s", name, when), func() bool {
			_, err := service.Validate(t.Context(), v.access)
			return errors.Is(err, validator.ErrRevoked)
		})
	}
}

// finish ends the load and checks what it saw.
func (l *load) finish(t *testing.T) {
	t.Helper()
	l.stopping.Store(true)
	l.wg.Wait()
	l.verify(t)
	for _, v := range l.ended[max(0, len(l.ended)-40):] {
		l.refused(t, "at the end", v)
	}
	for name, service := range l.services {
		if n := service.stales() - l.stales[name]; n > 0 && !l.mayBeStale {
			t.Errorf("service %s became stale %d times:\n%s", name, n, service.log.tail())
		}
	}
	gap, since := l.gap()
	t.Attr("longest_gap_ms", fmt.Sprint(gap.Milliseconds()))
	t.Logf("%d writes acknowledged, %d requests without an answer, %d sessions, %d ended; longest time without an acknowledged write: %s, from %s of %s",
		len(l.writes), l.unknown, len(l.sessions), len(l.ended)/2, gap.Round(time.Millisecond), since.Round(time.Millisecond), l.now().Round(time.Millisecond))
	if slices.Contains([]int{len(l.ended), len(l.writes)}, 0) {
		t.Error("the load did nothing")
	}
}
