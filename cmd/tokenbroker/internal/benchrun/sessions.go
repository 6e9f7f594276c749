package benchrun

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/operator"
)

const (
	// ownUsers is the number of users who share the sessions of an own server. There are more if a user
	// would have more than userSessions, because a broker limits the sessions of a user.
	ownUsers     = 1024
	userSessions = 40
	// ownSignIns and remoteSignIns are the numbers of concurrent sign-ins. A server counts each as a
	// failed attempt until it ends, and allows ten at once for one account.
	ownSignIns    = 64
	remoteSignIns = 4
	// longestPause is the longest Retry-After that the benchmark accepts, and signInTries is how often it
	// tries to sign in.
	longestPause = time.Minute
	signInTries  = 5
)

// signIn opens n sessions: at an own server within the process, or at a URL over HTTP, a few at a time and
// as its throttle allows. With an error it also returns those that are open.
func (b *Bench) signIn(ctx context.Context, n int) ([]*browser, error) {
	b.Progress.Begin("sign in", n)
	defer b.Progress.End()
	s, atOnce := b.Server, remoteSignIns
	one := func(ctx context.Context, i int) (*browser, error) { return s.signInOverHTTP(ctx, s.account(i)) }
	if s.Own() {
		s.opened += n
		if err := s.addUsers(ctx, max(min(n, ownUsers), s.opened/userSessions)); err != nil {
			return nil, err
		}
		one, atOnce = s.signInWithin, ownSignIns
	}
	sessions := make([]*browser, n)
	err := each(ctx, n, atOnce, func(ctx context.Context, i int) error {
		var err error
		if sessions[i], err = one(ctx, i); err == nil {
			b.Progress.Add(1)
		}
		return err
	})
	if err != nil {
		open := sessions[:0]
		for _, session := range sessions {
			if session != nil {
				open = append(open, session)
			}
		}
		return open, fmt.Errorf("signing in: %w", err)
	}
	if !s.Own() && len(s.accounts) == 0 && n > 1 {
		if err := s.stillOpen(ctx, sessions[0], n); err != nil {
			return sessions, err
		}
	}
	return sessions, nil
}

// account returns the account of the i-th session at a URL.
func (s *Server) account(i int) Account {
	if len(s.accounts) == 0 {
		return s.options.Account
	}
	return s.accounts[i%len(s.accounts)]
}

// stillOpen returns an error if the first of n sessions at a URL has ended: all belong to one user, whose
// sessions the broker limits.
func (s *Server) stillOpen(ctx context.Context, first *browser, n int) error {
	err := s.refresh(ctx, first)
	var refused *statusError
	if errors.As(err, &refused) && refused.status == http.StatusUnauthorized {
		return fmt.Errorf("the server has ended the first of %d sessions of one user: use fewer, or raise sessions.max_per_user there", n)
	}
	return nil // the load itself reports any other error
}

// signOut ends the sessions at a URL, as far as possible: a session that is left expires. Those of an own
// server end with it, those of users that the benchmark added when they are removed. It continues for a short
// time after ctx has ended.
func (b *Bench) signOut(ctx context.Context, sessions []*browser) {
	if b.Server.Own() || len(b.Server.accounts) > 0 || len(sessions) == 0 {
		return
	}
	lasting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(requestTimeout, cancel) })()
	b.Progress.Begin("sign out", len(sessions))
	defer b.Progress.End()
	_ = each(lasting, len(sessions), remoteSignIns, func(ctx context.Context, i int) error {
		b.Progress.Add(1)
		var refused *statusError
		if err := b.Server.logOff(ctx, sessions[i]); !errors.As(err, &refused) {
			return err // the server does not answer, so the next requests would also fail
		}
		return nil
	})
}

// addUsers adds users to an own server until it has n. If passwords are as expensive as in production, it
// adds only one at a time for each core, because requests that wait long are refused.
func (s *Server) addUsers(ctx context.Context, n int) error {
	from := s.users
	if n <= from {
		return nil
	}
	atOnce := ownSignIns
	if s.params != cheapPasswords {
		atOnce = runtime.GOMAXPROCS(0)
	}
	err := each(ctx, n-from, atOnce, func(ctx context.Context, i int) error {
		_, err := s.own.Operators().AddUser(ctx, operator.NewUser{Username: ownUser(from + i), Password: ownPassword}, broker.Request{})
		return err
	})
	if err != nil {
		return fmt.Errorf("adding users: %w", err)
	}
	s.users = n
	return nil
}

func ownUser(i int) string { return fmt.Sprintf("bench-%04d", i) }

// signInWithin opens the i-th session without HTTP.
func (s *Server) signInWithin(ctx context.Context, i int) (*browser, error) {
	grant, err := s.own.EndUsers().SignIn(ctx, ownUser(i%s.users), ownPassword, broker.Request{Addr: "127.0.0.1"})
	if err != nil {
		return nil, err
	}
	return &browser{
		cookie: ownCookie + "=" + grant.RefreshToken, csrf: grant.CSRFToken, token: grant.AccessToken, sid: grant.SID,
	}, nil
}

// ownCookie is the default name of the refresh cookie.
const ownCookie = "refresh_cookie"

// signInOverHTTP opens a session. It tries again after the time in Retry-After.
func (s *Server) signInOverHTTP(ctx context.Context, as Account) (*browser, error) {
	body := signInBody(as)
	for try := 1; ; try++ {
		answer, err := s.post(ctx, "/auth/sign-in/", body, "")
		if err == nil {
			return parseSignIn(answer)
		}
		var refused *statusError
		if !errors.As(err, &refused) || refused.after == 0 || refused.after > longestPause || try == signInTries {
			return nil, err
		}
		select {
		case <-time.After(refused.after):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// each calls work for 0 to n-1, atOnce at a time, until one call fails, and returns that error. It waits
// for all calls that it started.
func each(ctx context.Context, n, atOnce int, work func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(n, atOnce) {
		workers.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := work(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	workers.Wait()
	return context.Cause(ctx)
}

// ring shares sessions among workers. Each worker uses its own part in turn, so that no two use one
// session at the same time.
type ring struct {
	sessions []*browser
	next     []int
	workers  int
}

// newRing requires at least as many sessions as workers.
func newRing(sessions []*browser, workers int) *ring {
	r := &ring{sessions: sessions, workers: workers, next: make([]int, workers)}
	for i := range r.next {
		r.next[i] = i
	}
	return r
}

// take returns the worker's next session.
func (r *ring) take(worker int) *browser {
	i := r.next[worker]
	r.next[worker] = i + r.workers
	if r.next[worker] >= len(r.sessions) {
		r.next[worker] = worker
	}
	return r.sessions[i]
}
