package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

// TestStoreCommandsOfOtherEngines checks that a deployment may run the commands for tables with any engine.
func TestStoreCommandsOfOtherEngines(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeCertificate(t, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), 1)
	file := filepath.Join(dir, "c.yaml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(checkedFile, "DIR", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"store", "init"}, {"store", "migrate-schema"}} {
		if got := command(t, nil, append(args, "--config", file)...); got.code != terminal.ExitOK || got.stdout != "nothing to do: store.engine is badger, which has no tables\n" {
			t.Errorf("%v: exit code %d: %s%s", args, got.code, got.stdout, got.stderr)
		}
		if got := command(t, nil, append(args, "--config", file, "--output", "json")...); got.code != terminal.ExitOK || strings.Join(strings.Fields(got.stdout), "") != `{"engine":"badger"}` {
			t.Errorf("%v: exit code %d: %s%s", args, got.code, got.stdout, got.stderr)
		}
		if got := command(t, nil, args...); got.code != terminal.ExitUsage || !strings.Contains(got.stderr, "want --config FILE") {
			t.Errorf("%v without a configuration: exit code %d: %s", args, got.code, got.stderr)
		}
	}
	if got := command(t, nil, "store", "init", "--config", file, "--role", "broker"); got.code != terminal.ExitUsage || !strings.Contains(got.stderr, "store.engine is badger") {
		t.Errorf("a role without PostgreSQL: exit code %d: %s", got.code, got.stderr)
	}
}
