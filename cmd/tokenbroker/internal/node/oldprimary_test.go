package node_test

import (
	"errors"
	"io"
	"net/http"
	"testing"

	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/internal/longtest"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
)

// TestABrokerOnAnOldPrimaryAnswersNothing replaces the primary of one of two brokers without its knowledge. What the other
// broker writes is not there, and nothing is answered from it. The broker recovers when it uses the new primary.
func TestABrokerOnAnOldPrimaryAnswersNothing(t *testing.T) {
	longtest.SkipShort(t, "waits for real intervals")
	t.Parallel()
	b := newBrokers(t, 1)
	m := b.add("primary")
	primary := b.engine.OpenPrimary(func(op memstore.Op) memstore.Fault { return (*m.fault.Load())(op) })
	if err := m.start(func(c *node.Config) { c.Engine = primary }); err != nil {
		t.Fatal(err)
	}
	m.becomes(http.StatusOK)
	s, ended := b.signInAt(m), b.signInAt(m)
	if err := m.node.Backup(t.Context(), io.Discard); err != nil {
		t.Errorf("a backup: %v", err)
	}
	for _, other := range b.all {
		if status, code := b.verifyAt(other, ended.access); status != http.StatusOK {
			t.Errorf("before, at broker %s: %d %s", other.name, status, code)
		}
	}
	primary.Replace()
	if a := ended.logOffAt(b.all[0]); !a.accepted() {
		t.Fatalf("log-off at the other broker: %d %s", a.status, a.body)
	}
	b.refused("refresh of the session that has ended", ended.once(m, "/auth/refresh/"))
	b.refused("refresh", s.once(m, "/auth/refresh/"))
	b.refused("log-off", ended.once(m, "/auth/logoff/"))
	b.refused("a question for the session", b.do(m, http.MethodGet, "/auth/session/", "", ended.cookie))
	if err := m.node.Backup(t.Context(), io.Discard); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a backup: %v", err)
	}
	m.becomes(http.StatusServiceUnavailable)
	eventually(t, "the JWKS is refused", func() bool {
		return b.do(m, http.MethodGet, "/.well-known/jwks.json", "", "").status == http.StatusServiceUnavailable
	})
	primary.Reconnect()
	m.becomes(http.StatusOK)
	eventually(t, "the log-off is known", func() bool {
		_, code := b.verifyAt(m, ended.access)
		return code == "token_revoked"
	})
	if a := s.refreshAt(m); a.status != http.StatusOK {
		t.Errorf("a refresh at the new primary: %d %s", a.status, a.body)
	}
}
