package node_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tokenbroker/internal/longtest"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
	"tokenbroker/store/origins"
	"tokenbroker/validator"
)

// fresher waits until every service has proved again that its knowledge is current, by something that it heard after the
// call, and checks that none of them was stale.
func (b *brokers) fresher(services map[string]watched) {
	b.t.Helper()
	since := time.Now()
	for name, v := range services {
		eventually(b.t, "service "+name+" is current", func() bool {
			s := v.Stats()
			return s.Fresh && time.Duration(s.AgeMS)*time.Millisecond < time.Since(since)
		})
		if n := v.stales(); n != 0 {
			b.t.Errorf("service %s became stale %d times:\n%s", name, n, v.log.String())
		}
	}
}

// refusedByAll waits until every service refuses the token.
func (b *brokers) refusedByAll(services map[string]watched, access string) {
	b.t.Helper()
	for name, v := range services {
		eventually(b.t, "service "+name+" refuses the token", func() bool {
			_, err := v.Validate(b.t.Context(), access)
			return errors.Is(err, validator.ErrRevoked)
		})
	}
}

// TestAKilledBrokerMakesNoServiceStale kills one of three brokers without an end of its origin. Sessions go on at the other
// ones, and services follow these.
func TestAKilledBrokerMakesNoServiceStale(t *testing.T) {
	longtest.SkipShort(t, "waits for real intervals")
	t.Parallel()
	b := newBrokers(t, 3)
	services := b.services(8 * time.Second) // the service that polls hears something every 3 s
	s := b.signInAt(b.all[0])
	ended := b.signInAt(b.all[0])
	if a := ended.logOffAt(b.all[0]); !a.accepted() {
		t.Fatalf("log-off: %d", a.status)
	}
	b.fresher(services)
	b.all[0].kill()
	for range 6 {
		if a := s.refreshAt(nil); a.status != http.StatusOK {
			t.Fatalf("a refresh after the death of a broker: %d %s", a.status, a.body)
		}
	}
	b.refusedByAll(services, ended.access)
	if a := s.logOffAt(nil); !a.accepted() {
		t.Fatalf("log-off: %d %s", a.status, a.body)
	}
	b.refusedByAll(services, s.access)
	b.fresher(services)
}

// end ends the present origin of a broker, as another broker does that takes it for dead.
func (b *brokers) end(m *member) (origin string) {
	b.t.Helper()
	tool := b.engine.Open(nil)
	for {
		records, err := tool.List(b.t.Context(), origins.Prefix, "", 100)
		if err != nil {
			b.t.Fatal(err)
		}
		for _, stored := range records {
			rec, err := origins.Decode(stored)
			if err != nil || rec.Name != m.name || rec.Ended {
				continue
			}
			if rec.Ended = true; rec.Last == 0 {
				rec.Last = stored.Revision
			}
			_, errs := tool.CommitFenced(b.t.Context(), store.Fence{}, []store.Change{{Writes: []store.Write{
				{Key: stored.Key, Value: rec.Encode(), Expect: stored.Revision},
			}}}, nil)
			if errs[0] == nil {
				return strings.TrimPrefix(stored.Key, origins.Prefix)
			}
		}
	}
}

// TestABrokerThatWasEndedContinues ends the origin of a broker. It takes another one without a restart, also if nothing is
// committed, and works again.
func TestABrokerThatWasEndedContinues(t *testing.T) {
	longtest.SkipShort(t, "waits for real intervals")
	t.Parallel()
	b := newBrokers(t, 2)
	services := b.services(8 * time.Second)
	m := b.all[1]
	before := b.signInAt(m)
	if a := before.logOffAt(m); !a.accepted() {
		t.Fatalf("log-off: %d %s", a.status, a.body)
	}
	s := b.signInAt(m)
	old := b.end(m)
	eventually(t, "the broker takes another origin", func() bool {
		return strings.Contains(m.log.String(), "the broker continues with a new one")
	})
	m.becomes(http.StatusOK)
	if a := s.refreshAt(m); a.status != http.StatusOK {
		t.Fatalf("refresh: %d %s", a.status, a.body)
	}
	if a := s.logOffAt(m); !a.accepted() {
		t.Fatalf("log-off: %d %s", a.status, a.body)
	}
	b.refusedByAll(services, s.access)
	b.refusedByAll(services, before.access)
	b.fresher(services)
	if now := b.end(m); now == old {
		t.Errorf("the broker continues with the origin %s", old)
	}
}

// refused checks that a broker answers 503 with Retry-After, and does not change the cookie of the browser.
func (b *brokers) refused(what string, a reply) {
	b.t.Helper()
	if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") != "1" || len(a.header.Values("Set-Cookie")) > 0 {
		b.t.Errorf("%s: %d with %v\n%s", what, a.status, a.header, a.body)
	}
}

// cannotSign checks that a broker refuses everything that signs or writes, and says that it is alive and not ready.
func (b *brokers) cannotSign(m *member, s *roamer) {
	b.t.Helper()
	b.refused("sign-in", b.do(m, http.MethodPost, "/auth/sign-in/", `{"username": "ada", "password": "lovelace"}`, ""))
	b.refused("refresh", s.once(m, "/auth/refresh/"))
	b.refused("log-off", s.once(m, "/auth/logoff/"))
	b.refused("session", b.do(m, http.MethodGet, "/auth/session/", "", s.cookie))
	b.refused("an operator's revocation", m.admin(http.MethodPost, "/admin/v1/revocations", `{"kind": "sid", "value": "x"}`))
	if s := m.status(); s.Ready != "not_ready" || s.Store.Writable {
		b.t.Errorf("the status of a broker that cannot sign: %s, writable %v", s.Ready, s.Store.Writable)
	}
	for path, want := range map[string]int{
		"/livez": http.StatusOK, "/readyz": http.StatusServiceUnavailable, "/.well-known/openid-configuration": http.StatusOK,
	} {
		if a := b.do(m, http.MethodGet, path, "", ""); a.status != want {
			b.t.Errorf("%s: %d, want %d", path, a.status, want)
		}
	}
}

// TestABrokerWithAWrongClockIsNotReady sets the clock of one of three brokers ahead. It stops signing and is silent, the
// others and the services are unaffected.
func TestABrokerWithAWrongClockIsNotReady(t *testing.T) {
	longtest.SkipShort(t, "waits for real intervals")
	t.Parallel()
	b := newBrokers(t, 3)
	services := b.services(8 * time.Second)
	wrong := b.all[2]
	s := b.signInAt(b.all[0])
	wrong.offset.Store(int64(10 * time.Second))
	eventually(t, "readyz names the clock", func() bool {
		a := b.do(wrong, http.MethodGet, "/readyz?verbose", "", "")
		return a.status == http.StatusServiceUnavailable && strings.Contains(a.body, "clock")
	})
	b.cannotSign(wrong, s)
	b.refused("JWKS", b.do(wrong, http.MethodGet, "/.well-known/jwks.json", "", ""))
	wrong.down.Store(true) // as a balancer does that looks at readyz
	for _, m := range b.all[:2] {
		m.becomes(http.StatusOK)
		if a := s.refreshAt(m); a.status != http.StatusOK {
			t.Errorf("refresh at broker %s: %d %s", m.name, a.status, a.body)
		}
	}
	if a := s.logOffAt(b.all[1]); !a.accepted() {
		t.Errorf("log-off: %d %s", a.status, a.body)
	}
	b.refusedByAll(services, s.access)
	b.fresher(services)
	wrong.offset.Store(0)
	wrong.becomes(http.StatusOK)
	if a := b.signInAt(wrong).refreshAt(wrong); a.status != http.StatusOK {
		t.Errorf("a refresh once the clock is right: %d %s", a.status, a.body)
	}
}

// TestTheEngineIsAway makes the shared store unreachable for all brokers. What signs or writes is refused, tokens are
// checked by what is known, and everything recovers.
func TestTheEngineIsAway(t *testing.T) {
	longtest.SkipShort(t, "waits for real intervals")
	t.Parallel()
	b := newBrokers(t, 2)
	services := b.services(4 * time.Second)
	s, ended := b.signInAt(b.all[0]), b.signInAt(b.all[0])
	if a := ended.logOffAt(b.all[0]); !a.accepted() {
		t.Fatalf("log-off: %d", a.status)
	}
	b.refusedByAll(services, ended.access)
	for _, m := range b.all {
		m.refuse()
	}
	for name, v := range services {
		if _, err := v.Validate(t.Context(), s.access); err != nil {
			t.Errorf("service %s refuses a good token at once: %v", name, err)
		}
	}
	for _, m := range b.all {
		b.refused("refresh at once", s.once(m, "/auth/refresh/"))
		b.refused("log-off at once", s.once(m, "/auth/logoff/"))
		m.becomes(http.StatusServiceUnavailable)
		b.cannotSign(m, s)
		if status, code := b.verifyAt(m, s.access); status != http.StatusOK {
			t.Errorf("the check of a good token at broker %s: %d %s", m.name, status, code)
		}
		if status, code := b.verifyAt(m, ended.access); code != "token_revoked" {
			t.Errorf("the check of a revoked token at broker %s: %d %s", m.name, status, code)
		}
	}
	for name, v := range services {
		eventually(t, "service "+name+" is stale", func() bool {
			_, err := v.Validate(t.Context(), s.access)
			return errors.Is(err, validator.ErrStale)
		})
	}
	for _, m := range b.all {
		eventually(t, "the JWKS of broker "+m.name+" is refused", func() bool {
			return b.do(m, http.MethodGet, "/.well-known/jwks.json", "", "").status == http.StatusServiceUnavailable
		})
		m.heal()
	}
	for _, m := range b.all {
		m.becomes(http.StatusOK)
		if a := s.refreshAt(m); a.status != http.StatusOK {
			t.Errorf("a refresh once the store is back: %d %s", a.status, a.body)
		}
	}
	for name, v := range services {
		eventually(t, "service "+name+" is fresh again", func() bool {
			_, err := v.Validate(t.Context(), s.access)
			return err == nil
		})
	}
}

// TestAnswersOfTheEngineAreLost makes every third commit of each broker lose its answer. No request fails for it.
func TestAnswersOfTheEngineAreLost(t *testing.T) {
	t.Parallel()
	b := newBrokers(t, 2)
	for _, m := range b.all {
		var commits atomic.Int64
		m.fail(func(op memstore.Op) memstore.Fault {
			if op.Kind == memstore.OpCommit && commits.Add(1)%3 == 0 {
				return memstore.LoseAnswer
			}
			return memstore.OK
		})
	}
	s := b.signInAt(b.all[0])
	for i := range 20 {
		if a := s.refreshAt(b.all[i%2]); a.status != http.StatusOK {
			t.Fatalf("refresh %d: %d %s", i, a.status, a.body)
		}
	}
	if a := s.logOffAt(b.all[1]); !a.accepted() {
		t.Errorf("log-off: %d %s", a.status, a.body)
	}
	if status, code := b.verifyAt(b.all[0], s.access); code != "token_revoked" {
		t.Errorf("after the log-off: %d %s", status, code)
	}
}

// TestABrokerStopsWhileACommitIsUnknown loses the answer of a commit, and then the store. The broker waits for the outcome,
// and a stop ends the wait. The other broker knows the outcome.
func TestABrokerStopsWhileACommitIsUnknown(t *testing.T) {
	longtest.SkipShort(t, "waits for a request that is cut off")
	t.Parallel()
	b := newBrokers(t, 2)
	m := b.all[0]
	s := b.signInAt(m)
	var lost atomic.Bool
	m.fail(func(op memstore.Op) memstore.Fault {
		switch {
		case lost.Load():
			return memstore.Refuse
		case slices.ContainsFunc(op.Changes, func(c store.Change) bool { return len(c.Events) > 0 }):
			lost.Store(true)
			return memstore.LoseAnswer
		}
		return memstore.OK
	})
	answered := make(chan int, 1)
	go func() {
		a, err := b.try(m, http.MethodPost, "/auth/logoff/", s.body(), s.cookie)
		if err != nil {
			a.status = 0
		}
		answered <- a.status
	}()
	eventually(t, "the answer is lost", func() bool {
		select {
		case status := <-answered:
			t.Fatalf("answered %d\n%s", status, b.logs())
		default:
		}
		return lost.Load()
	})
	if err := m.node.Close(); err != nil {
		t.Errorf("the stop: %v", err)
	}
	m.down.Store(true)
	m.node = nil
	m.survived()
	if !strings.Contains(m.log.String(), "the result of the last commits is not known") {
		t.Errorf("the log:\n%s", m.log.String())
	}
	if status := <-answered; status == http.StatusOK || status == http.StatusAccepted {
		t.Errorf("a log-off of unknown outcome is answered %d", status)
	}
	if status, code := b.verifyAt(b.all[1], s.access); code != "token_revoked" {
		t.Errorf("the other broker: %d %s", status, code)
	}
}

// TestARewoundStoreEndsTheProcess removes the record of a broker that has revocations, as a restore of an older state of the
// engine does.
func TestARewoundStoreEndsTheProcess(t *testing.T) {
	t.Parallel()
	b := newBrokers(t, 1)
	m := b.all[0]
	if a := b.signInAt(m).logOffAt(m); !a.accepted() {
		t.Fatalf("log-off: %d", a.status)
	}
	tool := b.engine.Open(nil)
	_, errs := tool.CommitFenced(t.Context(), store.Fence{}, []store.Change{{Writes: []store.Write{
		{Key: origins.Key(m.status().Ledger.Origin), Delete: true, Blind: true},
	}}}, nil)
	if errs[0] != nil {
		t.Fatal(errs[0])
	}
	select {
	case err := <-m.fatal:
		if !errors.Is(err, origins.ErrRewound) {
			t.Errorf("the process ends with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the process goes on")
	}
	m.down.Store(true)
	_ = m.node.Close()
	m.node = nil
}

// TestASuspendedBrokerServesNothingThatWaited sets the wall clock ahead of the monotonic one, as a suspension of the machine
// does. What comes on a connection from before it is refused, then the broker works again.
func TestASuspendedBrokerServesNothingThatWaited(t *testing.T) {
	t.Parallel()
	b := newBrokers(t, 1)
	m := b.all[0]
	s := b.signInAt(m) // the client keeps the connection
	m.offset.Store(int64(3 * time.Second))
	b.refused("a refresh on the old connection", s.once(m, "/auth/refresh/"))
	m.becomes(http.StatusOK)
	eventually(t, "a refresh on a new connection is answered", func() bool { return s.refreshAt(m).status == http.StatusOK })
	if !strings.Contains(m.log.String(), "the process was stopped") {
		t.Error("the pause is not logged")
	}
}
