package main

import (
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/internal/longtest"
	"tokenbroker/revocation/natsfeed"
	"tokenbroker/store/pgstore/pgtest"
	"tokenbroker/validator"
)

// TestAPostgresDatabaseThatWasSetBackWhileBrokersWereStopped puts an earlier copy of the data back while no broker runs. The
// brokers that start then cannot notice it, but a service that ran all the time does and is stale until the floor was raised.
func TestAPostgresDatabaseThatWasSetBackWhileBrokersWereStopped(t *testing.T) {
	longtest.SkipShort(t, "starts brokers and a PostgreSQL server, and waits until brokers have certainly ended")
	t.Parallel()
	b := newPostgresBrokers(t, pgtest.Start(t, pgtest.Single()))
	allowLocal(t, b)
	b.initStore(t)
	server := b.cluster.Primary()
	startAll := func() {
		t.Helper()
		for i := range 2 {
			b.start(t, i)
		}
	}
	stopAll := func() {
		for i := range 2 {
			b.processes[i].terminate(t)
		}
	}
	copyData := func(from, to string) {
		t.Helper()
		server.Kill(t)
		if err := os.RemoveAll(to); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), "cp", "-a", from, to).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		server.Restart(t)
	}
	signIn := func(i int) (v visit) {
		t.Helper()
		eventually(t, "a sign-in", func() (ok bool) { v, ok = trySignInAs(b.urls[i], "ada", "correct horse"); return ok })
		return v
	}
	off := func(i int, v visit) {
		t.Helper()
		if status := logOff(b.urls[i], v); status != http.StatusOK && status != http.StatusAccepted {
			t.Fatalf("log-off: %d", status)
		}
	}
	startAll()
	b.operate(t, 0, terminal.ExitOK, "correct horse\n", "users", "add", "ada")
	var log syncBuffer
	service, err := validator.New(t.Context(), validator.Config{
		Issuer: b.issuer, Audience: "api", Client: validator.Client{ID: "service", Secret: "0123456789abcdef0123456789abcdef"},
		Feed: natsfeed.Feed{URL: b.nats}, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer service.Close()
	accepts := func(v visit) bool { _, err := service.Validate(t.Context(), v.access); return err == nil }
	kept, ended := signIn(0), signIn(1)
	for i := range 2 { // each broker has recorded a revocation
		off(i, signIn(i))
	}
	copyData(server.Dir(), server.Dir()+"-earlier")
	later := signIn(1)
	off(1, ended)
	off(0, signIn(0))
	eventually(t, "the service knows of the log-off", func() bool { return accepts(later) && !accepts(ended) })

	stopAll()
	copyData(server.Dir()+"-earlier", server.Dir())
	startAll()
	if status, _ := refresh(b.urls[0], ended); status != http.StatusOK {
		t.Errorf("refresh of a session whose end was undone: %d; want that the brokers do not know", status)
	}
	eventually(t, "the service is stale because the store was rewound", func() bool {
		return strings.Contains(service.Stats().Feed.Reason, "rewound") && !accepts(kept) && !accepts(ended) && !accepts(later)
	})

	stopAll()
	if got := command(t, nil, "floor", "raise", "--config", b.config, "--yes"); got.code != terminal.ExitOK || !strings.Contains(got.stdout, "The new store id is") {
		t.Fatalf("floor raise: exit code %d: %s%s", got.code, got.stdout, got.stderr)
	}
	startAll()
	again := signIn(0)
	eventually(t, "the service accepts the token of a new session", func() bool { return accepts(again) })
	for name, v := range map[string]visit{"of before": kept, "that was logged off": ended, "of after": later} {
		if accepts(v) {
			t.Errorf("the service accepts a token %s", name)
		}
		for i := range 2 {
			if status, _ := refresh(b.urls[i], v); status != http.StatusUnauthorized {
				t.Errorf("refresh of a session %s at broker %d: %d", name, i, status)
			}
		}
	}
	stopAll()
}

// allowLocal has the brokers and the owner accept a server without a standby.
func allowLocal(t *testing.T, b *postgresBrokers) {
	t.Helper()
	for _, file := range []string{b.config, b.owner} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(strings.Replace(string(text), "postgres: {", "postgres: {durability: local, ", 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
