package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/internal/longtest"
	"tokenbroker/store/pgstore/pgtest"
)

// TestPostgresFailsUnderABroker restarts the server, takes the rights from the role, and drops the schema, while clients use a
// broker that has as few connections as possible. No client is signed out by what can be repaired, and the broker does not
// continue with other records.
func TestPostgresFailsUnderABroker(t *testing.T) {
	longtest.SkipShort(t, "starts a broker and two PostgreSQL servers")
	t.Parallel()
	c := pgtest.Start(t)
	b := newPostgresBrokers(t, c)
	b.initStore(t)
	b.start(t, 0, "--set", "store.postgres.max_connections=2")
	b.operate(t, 0, terminal.ExitOK, "correct horse\n", "users", "add", "ada")
	b.throughAPooler(t)
	const users = 8
	for i := range users {
		b.operate(t, 0, terminal.ExitOK, "correct horse\n", "users", "add", fmt.Sprint("client", i))
	}
	var answered, stop atomic.Int64
	var work sync.WaitGroup
	visits := make([]visit, users)
	for i := range users {
		eventually(t, "a sign-in", func() (ok bool) {
			visits[i], ok = trySignInAs(b.urls[0], fmt.Sprint("client", i), "correct horse")
			return ok
		})
		work.Go(func() {
			for stop.Load() == 0 {
				status, next := refresh(b.urls[0], visits[i])
				if status != http.StatusOK {
					t.Errorf("client %d: a refresh got %d", i, status)
					return
				}
				visits[i] = next
				answered.Add(1)
			}
		})
	}
	more := func(when string) {
		t.Helper()
		goal := answered.Load() + 4*users
		eventually(t, "refreshes "+when, func() bool { return answered.Load() >= goal || t.Failed() })
	}
	more("with two connections")
	c.Primary().Restart(t)
	more("after the server was restarted")
	refused := func(what string) {
		t.Helper()
		eventually(t, "the broker is not ready "+what, func() bool {
			return command(t, nil, "healthcheck", "--data-dir", b.data(0)).code != terminal.ExitOK
		})
	}
	grant := func(statement string) {
		t.Helper()
		c.Primary().SQL(t, b.database, fmt.Sprintf(statement, "SELECT, INSERT, UPDATE, DELETE ON tokenbroker.records", brokerRole))
	}
	grant("REVOKE %s FROM %s")
	refused("without rights")
	eventually(t, "status shows that writes are refused", func() bool {
		return strings.Contains(b.operate(t, 0, terminal.ExitOK, "", "status"), "REFUSES WRITES")
	})
	grant("GRANT %s TO %s")
	more("after it has its rights again")
	stop.Store(1)
	work.Wait()

	c.Primary().SQL(t, b.database, "DROP SCHEMA tokenbroker CASCADE")
	refused("without a schema")
	if status, _, cookies := request(b.urls[0]+"/auth/refresh/", jsonBody("CSRF_token", visits[0].csrf), visits[0].cookie); status != http.StatusServiceUnavailable || len(cookies) > 0 {
		t.Errorf("a refresh without a schema: %d, %d cookies", status, len(cookies))
	}
	b.initStore(t)
	<-b.processes[0].done
	if out := b.processes[0].out.String(); !strings.Contains(out, "rewound") || !strings.Contains(out, "tokenbroker floor raise") {
		t.Errorf("a broker whose records are gone printed:\n%s", out)
	}
}

// throughAPooler logs off at a broker whose connections go through a pooler in transaction mode.
func (b *postgresBrokers) throughAPooler(t *testing.T) {
	t.Helper()
	b.start(t, 1, "--set", "store.postgres.url="+b.cluster.Bouncer(t, b.ownerURL), "--set", "store.postgres.notify=false")
	var v visit
	eventually(t, "a sign-in", func() (ok bool) { v, ok = trySignInAs(b.urls[0], "ada", "correct horse"); return ok })
	if status, next := refresh(b.urls[1], v); status != http.StatusOK {
		t.Errorf("a refresh through the pooler: %d", status)
	} else {
		v = next
	}
	if status := logOff(b.urls[1], v); status != http.StatusOK && status != http.StatusAccepted {
		t.Errorf("a log-off through the pooler: %d", status)
	}
	if status, _ := refresh(b.urls[0], v); status != http.StatusUnauthorized {
		t.Errorf("a refresh after the log-off: %d", status)
	}
	b.processes[1].terminate(t)
}
