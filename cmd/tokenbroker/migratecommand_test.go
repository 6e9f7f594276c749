package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tokenbroker/cmd/tokenbroker/internal/migrate"
	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

// TestMigrateToAnotherDataDirectory moves the embedded store and checks what is refused before and after.
func TestMigrateToAnotherDataDirectory(t *testing.T) {
	b := newSharedBrokers(t, t.TempDir(), "{engine: badger}")
	text, err := os.ReadFile(b.config)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, replace ...string) string {
		t.Helper()
		path := filepath.Join(b.dir, name)
		if err := os.WriteFile(path, []byte(strings.NewReplacer(replace...).Replace(string(text))), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	kek := "keyring: {kek: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}"
	to := write("to.yaml", b.data(0), b.data(1))
	refused := func(want string, args ...string) {
		t.Helper()
		if got := command(t, nil, args...); got.code == terminal.ExitOK || !strings.Contains(got.stderr, want) {
			t.Errorf("%v: exit code %d, want %q: %s%s", args, got.code, want, got.stdout, got.stderr)
		}
	}
	refused(migrate.ErrNoStore.Error(), "migrate", "--from", b.config, "--to", to, "--yes")
	serve := func(config string) []string {
		return []string{"serve", "--config", config, "--listen", strings.TrimPrefix(b.urls[0], "http://")}
	}
	p := startBroker(t, "tokenbroker is ready", serve(b.config)...)
	b.operate(t, 0, terminal.ExitOK, "correct horse\n", "users", "add", "ada")
	b.operate(t, 0, terminal.ExitOK, "", "clients", "add", "shop")
	backup := filepath.Join(b.dir, "backup")
	b.operate(t, 0, terminal.ExitOK, "", "backup", backup)
	refused("stop the broker first", "migrate", "--from", b.config, "--to", to, "--yes")
	p.terminate(t)

	refused("--from FILE", "migrate", "--from", b.config)
	refused("--from FILE", "migrate", "--from", b.config, "--to", to, "--cancel")
	refused("--yes", "migrate", "--from", b.config, "--to", to)
	refused(migrate.ErrSame.Error(), "migrate", "--from", b.config, "--to", b.config, "--yes")
	refused("public_url", "migrate", "--from", b.config, "--to", write("issuer.yaml", b.data(0), b.data(1), b.issuer, "http://127.0.0.1:1"), "--yes")
	refused("set keyring.kek", "migrate", "--from", b.config, "--to", write("nokek.yaml", b.data(0), b.data(2), kek, ""), "--yes")
	refused(migrate.ErrNoMigration.Error(), "migrate", "--from", b.config, "--cancel")

	got := command(t, nil, "migrate", "--from", b.config, "--to", to, "--yes", "--output", "json")
	var done migrate.Result
	if err := json.Unmarshal([]byte(got.stdout), &done); got.code != terminal.ExitOK || err != nil || done.Users != 1 || done.Store == "" {
		t.Fatalf("exit code %d, %v: %s%s", got.code, err, got.stdout, got.stderr)
	}
	moved := "moved to the data directory " + b.data(1)
	refused(moved, serve(b.config)...)
	refused(moved, "restore", backup, "--config", b.config, "--yes")
	refused(moved, "floor", "raise", "--config", b.config, "--yes")
	if left, err := filepath.Glob(node.StoreDir(b.data(0)) + "?*"); err != nil || len(left) > 0 {
		t.Errorf("the refused commands have left %v, %v", left, err)
	}
	p = startBroker(t, "tokenbroker is ready", serve(to)...)
	if out := b.operate(t, 1, terminal.ExitOK, "", "users", "list"); !strings.Contains(out, "ada") {
		t.Errorf("the users are %s", out)
	}
	if out := b.operate(t, 1, terminal.ExitOK, "", "clients", "list"); !strings.Contains(out, "shop") {
		t.Errorf("the clients are %s", out)
	}
	p.terminate(t)
	if got := command(t, nil, "migrate", "--from", to, "--to", b.config, "--yes"); got.code != terminal.ExitOK {
		t.Errorf("back: exit code %d: %s", got.code, got.stderr)
	}
	refused("moved to the data directory "+b.data(0), serve(to)...)
}
