package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/internal/longtest"
	"tokenbroker/store/pgstore/pgtest"
)

// TestABackupIsRestoredIntoAnotherEngine restores a backup of the embedded store into PostgreSQL, one of that into etcd, and one of
// that into the embedded store. Users can sign in each time, and no session or token of before is valid.
func TestABackupIsRestoredIntoAnotherEngine(t *testing.T) {
	longtest.SkipShort(t, "starts brokers, three etcd members and a PostgreSQL server")
	t.Parallel()
	pg := pgtest.Start(t, pgtest.Single())
	b := newMovedBroker(t, map[string]string{
		"badger": "{engine: badger}", "etcd": "",
		"postgres": fmt.Sprintf("{engine: postgres, broker_name: a, postgres: {url: %q, durability: local}}", pg.Database(t)),
	})
	if got := command(t, nil, "store", "init", "--config", b.configs["postgres"]); got.code != terminal.ExitOK {
		t.Fatalf("store init: %s", got.stderr)
	}
	var before []visit
	for i, engine := range []string{"badger", "postgres", "etcd", "badger"} {
		file := filepath.Join(b.dir, fmt.Sprint("backup", i))
		if i > 0 {
			got := command(t, nil, "restore", filepath.Join(b.dir, fmt.Sprint("backup", i-1)), "--config", b.configs[engine], "--yes")
			if got.code != terminal.ExitOK || !strings.Contains(got.stdout, "1 user") {
				t.Fatalf("a restore into %s: exit code %d: %s%s", engine, got.code, got.stdout, got.stderr)
			}
		}
		p := startBroker(t, "tokenbroker is ready", b.serveFlags(engine)...)
		if i == 0 {
			b.operate(t, 0, terminal.ExitOK, "correct horse\n", "users", "add", "ada")
		}
		signIn := func() (v visit) {
			eventually(t, "a sign-in", func() (ok bool) { v, ok = trySignInAs(b.urls[0], "ada", "correct horse"); return ok })
			return v
		}
		kept, ended := signIn(), signIn()
		if status := logOff(b.urls[0], ended); status != http.StatusOK && status != http.StatusAccepted {
			t.Fatalf("on %s: log-off: %d", engine, status)
		}
		for _, v := range before {
			if status, _ := refresh(b.urls[0], v); status != http.StatusUnauthorized {
				t.Errorf("on %s: refresh of a session of before: %d", engine, status)
			}
			if status, body, _ := ask(b.urls[0]+"/auth/verify/", jsonBody("token", v.access), ""); status != http.StatusUnauthorized {
				t.Errorf("on %s: a token of before: %d: %s", engine, status, body)
			}
		}
		if status, body, _ := ask(b.urls[0]+"/auth/verify/", jsonBody("token", kept.access), ""); status != http.StatusOK {
			t.Errorf("on %s: a new token: %d: %s", engine, status, body)
		}
		b.operate(t, 0, terminal.ExitOK, "", "backup", file)
		before = append(before, kept, ended, signIn()) // the last one is not in the backup
		p.terminate(t)
	}
}
