package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/internal/longtest"
	"tokenbroker/revocation/natsfeed"
	"tokenbroker/store/pgstore/pgtest"
	"tokenbroker/validator"
)

// movedBroker is one broker whose store is moved between engines.
type movedBroker struct {
	*etcdBrokers
	configs map[string]string // files by engine
	nats    string
}

const migrateSecret = "migrate-0123456789-0123456789-0123"

func newMovedBroker(t *testing.T, engines map[string]string) *movedBroker {
	t.Helper()
	b := &movedBroker{etcdBrokers: newEtcdBrokers(t), configs: map[string]string{}}
	text, err := os.ReadFile(b.config)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	for engine, store := range engines {
		var of []string
		for _, line := range lines {
			switch {
			case strings.HasPrefix(line, "store:") && store != "":
				line = "store: " + store
			case strings.HasPrefix(line, "store:"):
				line = strings.Replace(line, "{engine: etcd,", "{engine: etcd, broker_name: a,", 1)
			case strings.HasPrefix(line, "data_dir:"):
				line = "data_dir: " + b.data(0)
			case strings.HasPrefix(line, "clients:"):
				line = "clients: {spa: {public: true}, service: {secret: " + migrateSecret + "}}"
			case strings.HasPrefix(line, "nats:"):
				b.nats = strings.Trim(strings.TrimSuffix(strings.TrimPrefix(line, "nats: {url: "), "}"), `"`)
			}
			of = append(of, line)
		}
		b.configs[engine] = filepath.Join(b.dir, engine+".yaml")
		if err := os.WriteFile(b.configs[engine], []byte(strings.Join(of, "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func (b *movedBroker) serveFlags(engine string) []string {
	return []string{"serve", "--config", b.configs[engine], "--listen", strings.TrimPrefix(b.urls[0], "http://")}
}

func (b *movedBroker) migrate(t *testing.T, from, to string, want int) ran {
	t.Helper()
	got := command(t, nil, "migrate", "--from", b.configs[from], "--to", b.configs[to], "--yes")
	if got.code != want {
		t.Fatalf("migrate from %s to %s: exit code %d: %s%s", from, to, got.code, got.stdout, got.stderr)
	}
	return got
}

// TestAStoreMovesBetweenAllEngines moves the records of a broker from the embedded store to etcd, to PostgreSQL and back. Sessions go
// on, what was logged off stays so, and a service that runs throughout follows without a restart.
func TestAStoreMovesBetweenAllEngines(t *testing.T) {
	longtest.SkipShort(t, "starts brokers, three etcd members and a PostgreSQL server")
	pg := pgtest.Start(t, pgtest.Single())
	b := newMovedBroker(t, map[string]string{
		"badger": "{engine: badger}", "etcd": "",
		"postgres": fmt.Sprintf("{engine: postgres, broker_name: a, postgres: {url: %q, durability: local}}", pg.Database(t)),
	})
	if got := command(t, nil, "store", "init", "--config", b.configs["postgres"]); got.code != terminal.ExitOK {
		t.Fatalf("store init: %s", got.stderr)
	}
	var log syncBuffer
	var service *validator.Validator
	var off, kept []visit
	from := ""
	for i, engine := range []string{"badger", "etcd", "postgres", "badger"} {
		if from != "" {
			if got := b.migrate(t, from, engine, terminal.ExitOK); !strings.Contains(got.stdout, "1 user") {
				t.Errorf("migrate from %s to %s: %s", from, engine, got.stdout)
			}
			if got := command(t, nil, b.serveFlags(from)...); got.code != terminal.ExitFailed || !strings.Contains(got.stderr, "moved") {
				t.Errorf("a broker starts on %s after its records were moved: %d %s", from, got.code, got.stderr)
			}
			b.migrate(t, from, engine, terminal.ExitOK) // again: nothing to do
		}
		p := startBroker(t, "tokenbroker is ready", b.serveFlags(engine)...)
		if i == 0 {
			b.operate(t, 0, terminal.ExitOK, "correct horse\n", "users", "add", "ada")
			var err error
			if service, err = validator.New(t.Context(), validator.Config{
				Issuer: b.issuer, Audience: "api", Client: validator.Client{ID: "service", Secret: migrateSecret},
				Feed: natsfeed.Feed{URL: b.nats}, Logger: slog.New(slog.NewTextHandler(&log, nil)),
			}); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(service.Close)
		}
		for range 2 {
			var v visit
			eventually(t, "a sign-in", func() (ok bool) { v, ok = trySignInAs(b.issuer, "ada", "correct horse"); return ok })
			kept = append(kept, v)
		}
		last := kept[len(kept)-1]
		eventually(t, "the service accepts the token", func() bool { _, err := service.Validate(t.Context(), last.access); return err == nil })
		kept = kept[:len(kept)-1]
		eventually(t, "a log-off", func() bool { return tryLogOff(b.issuer, last) })
		off = append(off, last)
		for _, v := range kept {
			if status, _, _ := ask(b.issuer+"/auth/refresh/", jsonBody("CSRF_token", v.csrf), v.cookie); status != http.StatusOK {
				t.Errorf("on %s: a session of before: %d", engine, status)
			}
			eventually(t, "the service accepts a token of before", func() bool { _, err := service.Validate(t.Context(), v.access); return err == nil })
		}
		for _, v := range off {
			if status, _, _ := ask(b.issuer+"/auth/refresh/", jsonBody("CSRF_token", v.csrf), v.cookie); status != http.StatusUnauthorized {
				t.Errorf("on %s: a session that was logged off: %d", engine, status)
			}
			eventually(t, "the service refuses a token that was logged off", func() bool {
				_, err := service.Validate(t.Context(), v.access)
				return errors.Is(err, validator.ErrRevoked)
			})
		}
		if got := command(t, nil, "migrate", "--from", b.configs[engine], "--to", b.configs["badger"], "--yes"); got.code == terminal.ExitOK {
			t.Errorf("a migration from %s while a broker runs: %s", engine, got.stdout)
		}
		p.terminate(t)
		from = engine
	}
	if strings.Contains(log.String(), "rewound") {
		t.Errorf("the service saw a rewound store: %s", log.String())
	}
}
