package main

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/internal/longtest"
	"tokenbroker/store/pgstore/pgtest"
)

// TestADatabaseThatCannotBeUsed checks that serve names what to do about a database that it cannot use, and never shows
// the password.
func TestADatabaseThatCannotBeUsed(t *testing.T) {
	longtest.SkipShort(t, "starts two PostgreSQL servers")
	t.Parallel()
	const secret = "a-secret-of-this-test"
	c := pgtest.Start(t)
	b := newPostgresBrokers(t, c)
	password := filepath.Join(b.dir, "password")
	if err := os.WriteFile(password, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	at := func(change func(*url.URL)) []string {
		u, err := url.Parse("postgres://" + brokerRole + "@" + c.Primary().Addr() + "/" + b.database + "?sslmode=disable")
		if err != nil {
			t.Fatal(err)
		}
		change(u)
		return []string{"--set", "store.postgres.url=" + u.String()}
	}
	refused := func(name, want string, args ...string) {
		t.Helper()
		got := command(t, nil, append(append([]string{"serve"}, b.flags(0)...), args...)...)
		if got.code != terminal.ExitFailed || !strings.Contains(got.stderr, want) || strings.Contains(got.stderr, secret) {
			t.Errorf("%s: exit code %d, want %q in:\n%s", name, got.code, want, got.stderr)
		}
		if len(args) > 0 { // doctor has no flags for the configuration
			return
		}
		doctor := command(t, nil, "doctor", "--config", b.config, "--data-dir", b.data(0))
		if doctor.code != terminal.ExitFailed || !strings.Contains(doctor.stdout, want) || strings.Contains(doctor.stdout+doctor.stderr, secret) {
			t.Errorf("%s: doctor: exit code %d, want %q in:\n%s%s", name, doctor.code, want, doctor.stdout, doctor.stderr)
		}
	}
	sql := func(statements string) { t.Helper(); c.Primary().SQL(t, b.database, statements) }

	refused("no schema", "tokenbroker store init --config FILE")
	if got := command(t, nil, "store", "migrate-schema", "--config", b.owner); got.code != terminal.ExitFailed || !strings.Contains(got.stderr, "store init") {
		t.Errorf("migrate-schema without a schema: exit code %d: %s", got.code, got.stderr)
	}
	if got := command(t, nil, "store", "init", "--config", b.config); got.code != terminal.ExitFailed || !strings.Contains(got.stderr, "permission denied") {
		t.Errorf("store init as the brokers' role: exit code %d: %s", got.code, got.stderr)
	}
	if got := command(t, nil, "store", "init", "--config", b.owner, "--output", "json"); got.code != terminal.ExitOK || !strings.Contains(got.stdout, `"version": 1`) {
		t.Fatalf("store init: exit code %d: %s", got.code, got.stderr)
	}
	refused("no rights", "store init --config FILE --role NAME")
	b.initStore(t)
	if got := command(t, nil, "store", "migrate-schema", "--config", b.owner); got.code != terminal.ExitOK || got.stdout != "no change: the PostgreSQL schema tokenbroker has version 1\n" {
		t.Errorf("migrate-schema: exit code %d: %s%s", got.code, got.stdout, got.stderr)
	}

	eventually(t, "the standby has the role", func() bool {
		return c.Standby().SQL(t, "postgres", "SELECT to_regrole('"+brokerRole+"') IS NOT NULL") == "t"
	})
	refused("a standby", "is a standby or read-only", at(func(u *url.URL) { u.Host = c.Standby().Addr() })...)
	refused("no such database", "does not exist", at(func(u *url.URL) { u.Path = "/missing" })...)
	refused("no such role", "does not exist", at(func(u *url.URL) { u.User = url.User("missing") })...)
	sql("UPDATE tokenbroker.meta SET version = 2, compatible = 2")
	refused("a schema of a later version", "run a newer version")
	sql("UPDATE tokenbroker.meta SET version = 1, compatible = 1")
	sql("ALTER ROLE " + brokerRole + " SET synchronous_commit = 'local'")
	refused("commits that do not wait", "synchronous_commit is local")
	sql("ALTER ROLE " + brokerRole + " RESET synchronous_commit")
	hba := filepath.Join(c.Primary().Dir(), "pg_hba.conf")
	trust, err := os.ReadFile(hba)
	if err != nil {
		t.Fatal(err)
	}
	sql("ALTER ROLE " + brokerRole + " PASSWORD 'the right one'")
	if err := os.WriteFile(hba, append([]byte("host all "+brokerRole+" all scram-sha-256\n"), trust...), 0o600); err != nil {
		t.Fatal(err)
	}
	sql("SELECT pg_reload_conf()")
	refused("a wrong password", "password authentication failed", "--set", "store.postgres.password_file="+password)
	refused("no password", "password")
	if err := os.WriteFile(password, []byte("the right one"), 0o600); err != nil {
		t.Fatal(err)
	}
	sql("ALTER SYSTEM SET synchronous_standby_names = ''")
	sql("SELECT pg_reload_conf()")
	refused("no synchronous standby", "synchronous_standby_names is empty", "--set", "store.postgres.password_file="+password)
	p := startBroker(t, "tokenbroker is ready", append([]string{"serve"}, append(b.flags(0), "--set", "store.postgres.password_file="+password, "--set", "store.postgres.durability=local")...)...)
	if out := p.out.String(); !strings.Contains(out, "store.postgres.durability is local") || strings.Contains(out, "the right one") {
		t.Errorf("a broker with durability local printed:\n%s", out)
	}
	p.terminate(t)
}
