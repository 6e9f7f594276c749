package commit_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/operator"
	"tokenbroker/broker/session"
	"tokenbroker/revocation"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
	"tokenbroker/store/origins"
)

const (
	browserClient = "demo-spa"
	app           = "app"
)

// user is a user's messages to a broker.
type user struct {
	*testing.T
	*brokertest.Harness
	uid string
}

func newUser(t *testing.T, h *brokertest.Harness) user {
	return user{T: t, Harness: h, uid: h.MustSignIn(t).UID}
}

func secretHash(sid string) []byte {
	sum := sha256.Sum256([]byte(sid))
	return sum[:]
}

func (u user) ask(sid, client string, msg session.Message) (session.Effects, error) {
	result, err := u.Path.Ask(u.Context(), commit.Message{UID: u.uid, SID: sid, ClientID: client, Message: msg})
	return result.Effects, err
}

// must is ask for a message that is not refused.
func (u user) must(sid, client string, msg session.Message) session.Effects {
	u.Helper()
	eff, err := u.ask(sid, client, msg)
	if err != nil || eff.Refusal != "" {
		u.Fatalf("%T of %s: refused %q, %v", msg, sid, eff.Refusal, err)
	}
	return eff
}

// refused is ask for a message that is refused.
func (u user) refused(sid string, msg session.Message, want session.Refusal) session.Effects {
	u.Helper()
	eff, err := u.ask(sid, app, msg)
	if err != nil || eff.Refusal != want {
		u.Errorf("%T of %s: refused %q, %v, want %q", msg, sid, eff.Refusal, err, want)
	}
	return eff
}

func browserSession(sid string) session.Open {
	return session.Open{SID: sid, SecretHash: secretHash(sid), Channel: session.ChannelCookie, ClientID: browserClient}
}

func grant(sid, browser string, offline bool) session.Open {
	return session.Open{
		SID: sid, SecretHash: secretHash(sid), Channel: session.ChannelOAuth, ClientID: app, BrowserSID: browser, Offline: offline,
	}
}

func rotate(sid string, channel session.Channel, generation uint32) session.Rotate {
	return session.Rotate{SecretHash: secretHash(sid), Channel: channel, Generation: generation}
}

func (u user) read(sid string) *session.Session {
	u.Helper()
	st, err := u.Path.View(u.uid).State(u.Context(), sid, "")
	if err != nil {
		u.T.Fatal(err)
	}
	return st.Session
}

// wantEvents fails the test unless the events since the first n are one for each of the sids.
func (u user) wantEvents(n int, reason revocation.Reason, sids ...string) {
	u.Helper()
	var got []string
	for _, e := range u.Ledger.Events()[n:] {
		if e.Kind != revocation.KindSID || e.Reason != reason {
			u.Errorf("event %+v", e)
		}
		got = append(got, e.Value)
	}
	slices.Sort(got)
	slices.Sort(sids)
	if !slices.Equal(got, sids) {
		u.Errorf("events for %v, want %v", got, sids)
	}
}

// TestAGrantEndsWithItsBrowserSession ends the browser session in each way. Each is one change.
func TestAGrantEndsWithItsBrowserSession(t *testing.T) {
	for name, tt := range map[string]struct {
		reason revocation.Reason
		end    func(user)
	}{
		"log-off": {revocation.ReasonLogoff, func(u user) {
			u.must("b1", browserClient, session.EndSession{SecretHash: secretHash("b1"), Channel: session.ChannelCookie, Reason: revocation.ReasonLogoff})
		}},
		"revocation by sid": {revocation.ReasonRevoked, func(u user) { u.must("b1", "", session.Revoke{Reason: revocation.ReasonRevoked}) }},
		"reuse": {revocation.ReasonReuse, func(u user) {
			u.must("b1", browserClient, rotate("b1", session.ChannelCookie, 1))
			u.Clock.Advance(time.Minute)
			u.refused("b1", rotate("b1", session.ChannelCookie, 1), session.RefuseReused)
		}},
		"rollback": {revocation.ReasonRollback, func(u user) {
			u.refused("b1", rotate("b1", session.ChannelCookie, 7), session.RefuseAhead)
		}},
		"displacement": {revocation.ReasonRevoked, func(u user) {
			// The list of the user's sessions may lack the grants, and the bound may be lower than before.
			u.Put(u.T, "listed."+u.uid, `{"v":1,"sids":["b1"]}`)
			other := user{T: u.T, uid: u.uid, Harness: brokertest.Start(u.T, func(c *brokertest.Config) {
				c.Store, c.Ledger, c.Broadcast, c.Denylist, c.Policy.MaxSessions = u.Store, u.Ledger, u.Ledger, u.Ledger, 1
			})}
			other.must("b2", browserClient, browserSession("b2"))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUser(t, brokertest.Start(t))
			u.must("b1", browserClient, browserSession("b1"))
			u.must("g1", app, grant("g1", "b1", false))
			u.must("g2", app, grant("g2", "b1", false))
			u.must("o1", app, grant("o1", "b1", true))
			tt.end(u)
			u.wantEvents(0, tt.reason, "b1", "g1", "g2")
			for _, sid := range []string{"b1", "g1", "g2"} {
				if ended := u.read(sid).Ended; ended == nil || ended.Reason != tt.reason {
					t.Errorf("%s: %+v", sid, ended)
				}
			}
			u.must("o1", app, rotate("o1", session.ChannelOAuth, 1))
			u.refused("g3", grant("g3", "b1", false), session.RefuseBrowserEnded)
		})
	}
}

// TestTheEndOfAGrantHasAnAuditLine ends the browser session by each use case.
func TestTheEndOfAGrantHasAnAuditLine(t *testing.T) {
	for name, end := range map[string]func(*brokertest.Harness, *broker.Grant) error{
		"log-off": func(h *brokertest.Harness, g *broker.Grant) error {
			_, err := h.LogOff(t.Context(), g.RefreshToken, g.CSRFToken, brokertest.Request)
			return err
		},
		"another sign-in": func(h *brokertest.Harness, g *broker.Grant) error {
			req := brokertest.Request
			req.RefreshToken = g.RefreshToken
			_, err := h.SignIn(t.Context(), "ada", "lovelace", req)
			return err
		},
		"revocation": func(h *brokertest.Harness, g *broker.Grant) error {
			_, err := h.RevokeSession(t.Context(), g.SID, "", brokertest.Operator)
			return err
		},
		"reuse": func(h *brokertest.Harness, g *broker.Grant) error {
			h.Rotate(t, g, brokertest.Request)
			h.Clock.Advance(time.Minute)
			_, err := h.Refresh(t.Context(), g.RefreshToken, g.CSRFToken, brokertest.Request)
			_ = brokertest.WantCode(t, err, broker.CodeRefreshReused)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := brokertest.Start(t)
			g := h.MustSignIn(t)
			u := user{T: t, Harness: h, uid: g.UID}
			u.must("g1", app, grant("g1", g.SID, false))
			if err := end(h, g); err != nil {
				t.Fatal(err)
			}
			if want := "uid=" + g.UID + " sid=g1 client=app by=" + g.SID; !strings.Contains(h.Log.String(), "event=grant_ended") || !strings.Contains(h.Log.String(), want) {
				t.Errorf("no %q in\n%s", want, h.Log)
			}
		})
	}
}

// TestACodeIsRedeemedAtTwoBrokersAtOnce: one wins, and what it got is revoked.
func TestACodeIsRedeemedAtTwoBrokersAtOnce(t *testing.T) {
	engine := memstore.NewEngine(nil)
	start := func(name string) *brokertest.Harness {
		run, err := origins.Join(t.Context(), origins.Config{Engine: engine.Open(nil), Name: name, KEK: "k", Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return brokertest.Start(t, func(c *brokertest.Config) { c.Store = run })
	}
	a, b := start("a"), start("b")
	one := newUser(t, a)
	other := user{T: t, Harness: b, uid: one.uid}
	one.must("b1", browserClient, browserSession("b1"))
	both := [...]user{one, other}
	for i := range 50 {
		sid := fmt.Sprint("g", i)
		outcomes := brokertest.AtOnce(2, func(i int) (session.Effects, error) { return both[i].ask(sid, app, grant(sid, "b1", false)) })
		won, lost := outcomes[0], outcomes[1]
		if won.Value.Refusal != "" {
			won, lost = lost, won
		}
		if won.Err != nil || lost.Err != nil || won.Value.Refusal != "" || lost.Value.Refusal != session.RefuseExists {
			t.Fatalf("won %+v, %v, lost %+v, %v", won.Value.Refusal, won.Err, lost.Value.Refusal, lost.Err)
		}
		events := 0
		for _, e := range append(a.Ledger.Events(), b.Ledger.Events()...) {
			if e.Value == sid && e.Reason == revocation.ReasonReuse {
				events++
			}
		}
		if ended := one.read(sid).Ended; ended == nil || ended.Reason != revocation.ReasonReuse || events != 1 {
			t.Errorf("%s: %+v, %d events", sid, ended, events)
		}
	}
	if b1 := one.read("b1"); b1.Ended != nil {
		t.Error("the browser session has ended")
	}
}

// TestAGrantOpenedDuringALogOffAtAnotherBroker: the log-off ends it, or it is refused.
func TestAGrantOpenedDuringALogOffAtAnotherBroker(t *testing.T) {
	first := brokertest.Start(t)
	one := newUser(t, first)
	race := &brokertest.Between{Store: first.Store}
	other := user{T: t, Harness: brokertest.Start(t, func(c *brokertest.Config) { c.Store = race }), uid: one.uid}
	logOff := session.EndSession{SecretHash: secretHash("b1"), Channel: session.ChannelCookie, Reason: revocation.ReasonLogoff}
	one.must("b1", browserClient, browserSession("b1"))
	one.must("g1", app, grant("g1", "b1", false))
	race.Do = func() { one.must("g2", app, grant("g2", "b1", false)) } // after the log-off was decided
	other.must("b1", browserClient, logOff)
	for _, sid := range []string{"b1", "g1", "g2"} {
		if one.read(sid).Ended == nil {
			t.Errorf("%s has not ended", sid)
		}
	}
	one.must("b2", browserClient, browserSession("b2"))
	race2 := &brokertest.Between{Store: first.Store}
	third := user{T: t, Harness: brokertest.Start(t, func(c *brokertest.Config) { c.Store = race2 }), uid: one.uid}
	logOff.SecretHash = secretHash("b2")
	race2.Do = func() { one.must("b2", browserClient, logOff) } // after the grant was decided
	third.refused("g3", grant("g3", "b2", false), session.RefuseBrowserEnded)
}

// TestARefreshOfAGrantIsNotAnsweredAfterTheLogOffOfItsBrowserSession: another broker has ended both after the grant was read.
func TestARefreshOfAGrantIsNotAnsweredAfterTheLogOffOfItsBrowserSession(t *testing.T) {
	first := brokertest.Start(t)
	one := newUser(t, first)
	one.must("b1", browserClient, browserSession("b1"))
	one.must("g1", app, grant("g1", "b1", false))
	race := &brokertest.Between{Store: first.Store}
	other := user{T: t, Harness: brokertest.Start(t, func(c *brokertest.Config) { c.Store = race }), uid: one.uid}
	race.Do = func() { one.must("b1", "", session.Revoke{Reason: revocation.ReasonRevoked}) }
	other.refused("g1", rotate("g1", session.ChannelOAuth, 1), session.RefuseRevoked)
}

// TestAGrantIsJudgedWithItsBrowserSession: expiry writes nothing, so the grant of an expired session is found out when it is read.
func TestAGrantIsJudgedWithItsBrowserSession(t *testing.T) {
	h := brokertest.Start(t)
	u := newUser(t, h)
	u.must("b1", browserClient, browserSession("b1"))
	u.must("g1", app, grant("g1", "b1", false))
	u.must("o1", app, grant("o1", "b1", true))
	judge := func() (one, offline session.Refusal) {
		var refusals [2]session.Refusal
		for i, sid := range []string{"g1", "o1"} {
			st, err := h.Path.View(u.uid).State(t.Context(), sid, app)
			if err != nil {
				t.Fatal(err)
			}
			of, err := h.Path.View(u.uid).StateOf(t.Context(), st.Session)
			if err != nil {
				t.Fatal(err)
			}
			if refusals[i] = session.Judge(h.Clock.Now(), brokertest.Policy, st); refusals[i] != session.Judge(h.Clock.Now(), brokertest.Policy, of) {
				t.Errorf("%s is judged differently in a list", sid)
			}
		}
		return refusals[0], refusals[1]
	}
	if one, offline := judge(); one != "" || offline != "" {
		t.Errorf("refused %q and %q", one, offline)
	}
	h.Clock.Advance(brokertest.Policy.Idle / 2)
	u.must("g1", app, rotate("g1", session.ChannelOAuth, 1))
	u.must("o1", app, rotate("o1", session.ChannelOAuth, 1))
	h.Clock.Advance(brokertest.Policy.Idle / 2)
	if one, offline := judge(); one != session.RefuseExpired || offline != "" {
		t.Errorf("refused %q and %q", one, offline)
	}
}

// TestGrantsEndWithTheirBrowserSessions compares a random history of a user with what must hold after each step.
func TestGrantsEndWithTheirBrowserSessions(t *testing.T) {
	for seed := range uint64(20) {
		h := brokertest.Start(t, func(c *brokertest.Config) { c.Policy.MaxSessions = 6; c.Policy.Idle = time.Hour })
		u := newUser(t, h)
		rng := rand.New(rand.NewPCG(seed, 0))
		var all []string
		some := func() string {
			if len(all) == 0 {
				return "none"
			}
			return all[rng.IntN(len(all))]
		}
		for i := range 120 {
			sid := fmt.Sprint("s", i)
			var msg session.Message
			switch s := some(); rng.IntN(9) {
			case 0:
				msg, all = browserSession(sid), append(all, sid)
			case 1, 2, 3:
				msg, all = grant(sid, s, rng.IntN(3) == 0), append(all, sid)
			case 4, 5:
				sid, msg = s, rotate(s, session.ChannelOAuth, uint32(rng.IntN(4)))
			case 6:
				sid, msg = s, rotate(s, session.ChannelCookie, uint32(rng.IntN(4)))
			case 7:
				sid, msg = s, session.EndSession{SecretHash: secretHash(s), Channel: session.ChannelCookie, Reason: revocation.ReasonLogoff}
			default:
				sid, msg = s, grant(s, some(), false) // a code that was used
			}
			if _, err := u.ask(sid, app, msg); err != nil {
				t.Fatal(err)
			}
			h.Clock.Advance(time.Duration(rng.IntN(600)) * time.Second)
			u.check(all)
			if t.Failed() {
				t.Fatalf("seed %d, step %d: %T of %s", seed, i, msg, sid)
			}
		}
	}
}

// check checks the sessions against each other and against the events.
func (u user) check(sids []string) {
	events := map[string]int{}
	for _, e := range u.Ledger.Events() {
		events[e.Value]++
	}
	alive := 0
	for _, sid := range sids {
		s := u.read(sid)
		switch {
		case s == nil:
			continue
		case s.Ended != nil:
			if events[sid] != 1 {
				u.Errorf("%s has ended, with %d events", sid, events[sid])
			}
			continue
		case events[sid] != 0:
			u.Errorf("an event of %s, which has not ended", sid)
		}
		st, err := u.Path.View(u.uid).State(u.Context(), sid, "")
		if err != nil {
			u.T.Fatal(err)
		}
		if session.Judge(u.Clock.Now(), session.Policy{Idle: time.Hour, Absolute: brokertest.Policy.Absolute}, st) == "" {
			alive++
		}
		if !s.Dependent() {
			continue
		}
		if b := u.read(s.BrowserSID); b == nil || b.Ended != nil || !slices.Contains(b.Grants, sid) {
			u.Errorf("%s is a grant of %+v", sid, b)
		}
	}
	if alive > 6+1 {
		u.Errorf("%d sessions are active", alive)
	}
}

// TestManySessionsOfAUserEndInChangesOfABoundedSize: engines bound the writes of a change, and a batch of messages of a user is
// one change.
func TestManySessionsOfAUserEndInChangesOfABoundedSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bounded := &boundedStore{}
		u := newUser(t, brokertest.Start(t, func(c *brokertest.Config) {
			bounded.Store, c.Store, c.Policy.MaxSessions = c.Store, bounded, 1000
		}))
		for b := range 3 {
			browser := fmt.Sprint("b", b)
			u.must(browser, browserClient, browserSession(browser))
			for i := range 70 { // six are ended by later ones
				sid := fmt.Sprintf("g%d-%d", b, i)
				u.must(sid, app, grant(sid, browser, false))
			}
		}
		u.wantCount(3 * 6)
		bounded.hold = make(chan struct{})
		first := make(chan error, 1)
		go func() { _, err := u.ask("first", browserClient, browserSession("first")); first <- err }()
		synctest.Wait()
		go func() { synctest.Wait(); close(bounded.hold) }()
		for i, outcome := range brokertest.AtOnce(30, func(i int) (session.Effects, error) {
			if i < 3 {
				return u.ask(fmt.Sprint("b", i), browserClient, session.Revoke{Reason: revocation.ReasonRevoked})
			}
			return u.ask(fmt.Sprint("new", i), browserClient, browserSession(fmt.Sprint("new", i)))
		}) {
			if outcome.Err != nil || outcome.Value.Refusal != "" {
				t.Errorf("%d: %q, %v", i, outcome.Value.Refusal, outcome.Err)
			}
		}
		if err := <-first; err != nil {
			t.Error(err)
		}
		u.wantCount(3*6 + 3*65)
		if bounded.most > 120 || bounded.most < 65 {
			t.Errorf("a change of %d writes", bounded.most)
		}
	})
}

// wantCount fails the test unless there are n events.
func (u user) wantCount(n int) {
	u.Helper()
	if got := len(u.Ledger.Events()); got != n {
		u.Errorf("%d events, want %d", got, n)
	}
}

// boundedStore records how many writes a change had at most.
type boundedStore struct {
	store.Store
	most int
	hold chan struct{} // if not nil, commits wait until it is closed
}

func (s *boundedStore) Commit(ctx context.Context, changes []store.Change, seal store.Seal) []error {
	if s.hold != nil {
		<-s.hold
	}
	for _, c := range changes {
		s.most = max(s.most, len(c.Writes))
	}
	return s.Store.Commit(ctx, changes, seal)
}

// TestAListOfSessionsIsKeptAsLongAsTheLongestSession: a grant may have a shorter life than the sessions before it.
func TestAListOfSessionsIsKeptAsLongAsTheLongestSession(t *testing.T) {
	lists := &trips{}
	h := brokertest.Start(t, func(c *brokertest.Config) { lists.Store, c.Store = c.Store, lists })
	u := newUser(t, h)
	u.must("b1", browserClient, browserSession("b1"))
	short := grant("g1", "b1", true)
	short.AbsoluteS, short.IdleS = 3600, 3600
	u.must("g1", app, short)
	h.Clock.Advance(3 * 24 * time.Hour)
	if _, err := h.Store.Get(t.Context(), "listed."+u.uid); err != nil {
		t.Error(err)
	}
	if _, err := h.Store.Get(t.Context(), commit.SessionKey(u.uid, "g1")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the grant is kept as long as a session of the broker: %v", err)
	}
}

// TestReserveIsAnsweredFromMemory: calls share a commit, and a token that was reserved needs none.
func TestReserveIsAnsweredFromMemory(t *testing.T) {
	s := &trips{}
	h := brokertest.Start(t, func(c *brokertest.Config) { s.Store, c.Store = c.Store, s })
	exp := h.Clock.Now().Add(time.Hour).Unix()
	s.reads, s.commits = 0, 0
	for _, outcome := range brokertest.AtOnce(64, func(i int) (int, error) { return 0, h.Path.Reserve(t.Context(), exp+int64(i%2)) }) {
		if outcome.Err != nil {
			t.Error(outcome.Err)
		}
	}
	if s.commits != 1 || s.floors != 1 {
		t.Errorf("%d commits, %d of the floor", s.commits, s.floors)
	}
	last, err := commit.LastExpiry(t.Context(), h.Store)
	if err != nil || last.Unix() < exp+1 {
		t.Errorf("%v on record, %v", last, err)
	}
	s.reads, s.commits = 0, 0
	if err := h.Path.Reserve(t.Context(), exp); err != nil || s.reads+s.commits != 0 {
		t.Errorf("%v, %d reads, %d commits", err, s.reads, s.commits)
	}
}

// TestATokenOfAClientEndsBeforeTheEventOfItsClient: the reservation of another broker's clock is on record before the epochs are
// read, so a later termination outlives the token.
func TestATokenOfAClientEndsBeforeTheEventOfItsClient(t *testing.T) {
	one := brokertest.Start(t)
	ahead := brokertest.Start(t, func(c *brokertest.Config) { c.Store = one.Store })
	exp := one.Clock.Now().Add(time.Hour).Unix()
	if err := ahead.Path.Reserve(t.Context(), exp); err != nil {
		t.Fatal(err)
	}
	_, cep, _, err := ahead.Path.ClientEpochs(t.Context(), "app")
	if err != nil {
		t.Fatal(err)
	}
	epoch, _, err := one.Path.End(t.Context(), commit.Termination{Kind: revocation.KindClient, Value: "app", Reason: revocation.ReasonRevoked})
	if err != nil {
		t.Fatal(err)
	}
	events := one.Ledger.Events()
	if last := events[len(events)-1]; epoch <= cep || last.ExpiresAt < exp {
		t.Errorf("epoch %d, token's cep %d and exp %d, event %+v", epoch, cep, exp, last)
	}
}

func TestReserveIsRefusedWhileTheStoreIs(t *testing.T) {
	refuse := error(nil)
	h := brokertest.Start(t, func(c *brokertest.Config) { c.Store = refusing{c.Store, &refuse} })
	exp := h.Clock.Now().Add(time.Hour).Unix()
	for _, tt := range []struct {
		err  error
		code broker.Code
	}{
		{store.ErrReadOnly, broker.CodeWritesRefused}, {store.ErrUnavailable, broker.CodeUnavailable}, {store.ErrFenced, broker.CodeUnavailable},
	} {
		refuse = tt.err
		_ = brokertest.WantCode(t, h.Path.Reserve(t.Context(), exp), tt.code)
	}
	refuse = nil
	if err := h.Path.Reserve(t.Context(), exp); err != nil {
		t.Error(err)
	}
}

// refusing is a store that refuses commits.
type refusing struct {
	store.Store
	err *error
}

func (s refusing) Commit(ctx context.Context, changes []store.Change, seal store.Seal) []error {
	if *s.err == nil {
		return s.Store.Commit(ctx, changes, seal)
	}
	errs := make([]error, len(changes))
	for i := range errs {
		errs[i] = *s.err
	}
	return errs
}

func TestClientEpochsAreReadTogether(t *testing.T) {
	s := &trips{}
	h := brokertest.Start(t, func(c *brokertest.Config) { s.Store, c.Store = c.Store, s })
	record := directory.ClientRecord{V: 1, ID: "app", Name: "An app", Epoch: 7}
	write, err := record.Write(0)
	if err != nil {
		t.Fatal(err)
	}
	if errs, _, err := h.Path.Commit(t.Context(), store.Change{Writes: []store.Write{write}}); err != nil || errs[0] != nil {
		t.Fatal(errs, err)
	}
	s.reads = 0
	sep, cep, client, err := h.Path.ClientEpochs(t.Context(), "app")
	if err != nil || sep != 0 || cep != 7 || client.Name != "An app" || s.reads != 1 {
		t.Errorf("sep %d, cep %d, %+v, %v, %d reads", sep, cep, client, err, s.reads)
	}
	epoch, _, err := h.Path.End(t.Context(), commit.Termination{Kind: revocation.KindAll, Reason: revocation.ReasonRevoked})
	if err != nil {
		t.Fatal(err)
	}
	if sep, cep, _, err = h.Path.ClientEpochs(t.Context(), "app"); err != nil || sep != epoch || cep != epoch {
		t.Errorf("sep %d, cep %d, want the floor %d; %v", sep, cep, epoch, err)
	}
	if _, _, client, err = h.Path.ClientEpochs(t.Context(), "none"); err != nil || client.ID != "" {
		t.Errorf("%+v, %v", client, err)
	}
	h.Put(t, "client.damaged", `{"v":9}`)
	_, _, _, err = h.Path.ClientEpochs(t.Context(), "damaged")
	_ = brokertest.WantCode(t, err, broker.CodeInternal)
}

// TestConsentIsOnRecordUntilTheUserIsRemoved also covers that other changes of a user keep it.
func TestConsentIsOnRecordUntilTheUserIsRemoved(t *testing.T) {
	h := brokertest.Start(t)
	u := newUser(t, h)
	u.must("", "", session.Allow{ClientID: "app", Scopes: []string{"openid"}})
	h.Update(t, operator.UserChange{Roles: []string{"admin"}})
	h.MustSignIn(t)
	st, err := h.Path.View(u.uid).State(t.Context(), "none", "")
	if err != nil || len(st.User.Consents) != 1 || st.User.Consents[0].ClientID != "app" {
		t.Errorf("%+v, %v", st.User, err)
	}
	if _, err := h.RemoveUser(t.Context(), "ada", brokertest.Operator); err != nil {
		t.Fatal(err)
	}
	u.refused("", session.Allow{ClientID: "app"}, session.RefuseUnknown)
}

// TestNoGrantIsMadeWhileBrokersOfTheReleaseBeforeRun: they would not end it with its browser session.
func TestNoGrantIsMadeWhileBrokersOfTheReleaseBeforeRun(t *testing.T) {
	version := 1
	h := brokertest.Start(t, func(c *brokertest.Config) { c.StoreVersion = func() int { return version } })
	u := newUser(t, h)
	u.must("b1", browserClient, browserSession("b1"))
	open, allow := grant("g1", "b1", true), session.Allow{ClientID: app}
	for _, msg := range []session.Message{open, allow} {
		_, err := u.ask("g1", app, msg)
		if refusal := brokertest.WantCode(t, err, broker.CodeUnavailable); refusal.RetryAfter == 0 {
			t.Error("without a Retry-After")
		}
	}
	version = 2
	u.must("g1", app, open)
	u.must("", "", allow)
}
