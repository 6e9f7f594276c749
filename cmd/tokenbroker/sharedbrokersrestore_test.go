package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tokenbroker/cmd/tokenbroker/internal/setup"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/config"
	"tokenbroker/store"
)

// killRestore kills a restore of the store old into the empty store target while it writes. No broker starts with what it has
// written, and the restore succeeds when it is run again. key is the key of the configuration that selects the target, by value.
func (b *sharedBrokers) killRestore(t *testing.T, old, target setup.Engine, key, value string) {
	t.Helper()
	const records = 20_000
	b.start(t, 0)
	b.operate(t, 0, terminal.ExitOK, "correct horse\n", "users", "add", "ada")
	for i := 0; i < records; i += 100 {
		var change store.Change
		for j := range 100 {
			change.Writes = append(change.Writes, store.Write{Key: fmt.Sprintf("once.test.%08d", i+j), Value: []byte("{}"), Blind: true})
		}
		eventually(t, "the records are written", func() bool {
			_, errs := old.CommitFenced(t.Context(), store.Fence{}, []store.Change{change}, nil)
			return errs[0] == nil
		})
	}
	file := filepath.Join(b.dir, "backup")
	b.operate(t, 0, terminal.ExitOK, "", "backup", file)
	b.processes[0].terminate(t)

	restore := []string{"restore", file, "--config", b.config, "--yes"}
	env := "TOKENBROKER_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
	p := startProcess(t, "", []string{childEnv + "=1", env + "=" + value}, os.Args[0], restore...)
	eventually(t, "the restore has written something", func() bool {
		found, err := target.List(t.Context(), "once.", "", 1)
		return err == nil && len(found) > 0
	})
	p.kill(t)
	if out := p.out.String(); strings.Contains(out, "Start the server now") {
		t.Fatalf("the restore has finished before it was killed: %s", out)
	}
	serve := append([]string{"serve"}, append(b.flags(0), "--set", key+"="+value)...)
	if got := command(t, nil, serve...); got.code != terminal.ExitFailed || !strings.Contains(got.stderr, "run it again") {
		t.Errorf("a broker after the restore was killed: exit code %d: %s", got.code, got.stderr)
	}
	t.Setenv(env, value)
	if got := command(t, nil, restore...); got.code != terminal.ExitOK || !strings.Contains(got.stdout, "1 user") {
		t.Fatalf("the restore again: exit code %d: %s%s", got.code, got.stdout, got.stderr)
	}
	n := 0
	if err := target.Each(t.Context(), "once.", func(store.Write) error { n++; return nil }); err != nil || n != records {
		t.Errorf("%d of %d records were restored, %v", n, records, err)
	}
	b.start(t, 0)
	eventually(t, "a sign-in", func() bool { _, ok := trySignInAs(b.urls[0], "ada", "correct horse"); return ok })
	b.processes[0].terminate(t)
}

// openAt opens the store that brokers use whose configuration has that value of key.
func (b *sharedBrokers) openAt(t *testing.T, file, key, value string) setup.Engine {
	t.Helper()
	loaded, err := config.Load(config.Options{File: file, Flags: map[string]string{key: value}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := setup.OpenEngine(t.Context(), loaded.Config.Store, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}
