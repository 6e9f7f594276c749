package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

// Over a real server: a store that is damaged refuses the start, and floor raise is a way out.
func TestADamagedStoreAndItsWayOut(t *testing.T) {
	s := newServed(t, "http").start(t)
	running := command(t, nil, "floor", "raise", "--config", s.config, "--yes")
	if running.code != terminal.ExitFailed || !strings.Contains(running.stderr, "stop the server first") {
		t.Errorf("beside a running server: exit %d: %s", running.code, running.stderr)
	}
	s.finish(t)
	dirs, err := filepath.Glob(filepath.Join(filepath.Dir(s.config), "*", "store"))
	if err != nil || len(dirs) != 1 {
		t.Fatalf("the store is in %q, %v", dirs, err)
	}
	if err := os.Remove(filepath.Join(dirs[0], "MANIFEST")); err != nil {
		t.Fatal(err)
	}
	refused := command(t, nil, "serve", "--config", s.config)
	for _, want := range []string{"MANIFEST is missing", "tokenbroker restore FILE", "tokenbroker floor raise"} {
		if refused.code != terminal.ExitFailed || !strings.Contains(refused.stderr, want) {
			t.Errorf("exit %d, want %q: %s", refused.code, want, refused.stderr)
		}
	}
	if unasked := command(t, nil, "floor", "raise", "--config", s.config); unasked.code != terminal.ExitUsage || !strings.Contains(unasked.stderr, "--yes") {
		t.Errorf("without a terminal: exit %d: %s", unasked.code, unasked.stderr)
	}
	got := command(t, nil, "floor", "raise", "--config", s.config, "--yes", "--output", "json")
	var done struct {
		Store string   `json:"store"`
		Epoch int64    `json:"epoch"`
		Lost  []string `json:"lost"`
		Kept  string   `json:"kept"`
	}
	if err := json.Unmarshal([]byte(got.stdout), &done); err != nil || got.code != terminal.ExitOK {
		t.Fatalf("exit %d: %v: %s%s", got.code, err, got.stdout, got.stderr)
	}
	if done.Store == "" || done.Epoch == 0 || len(done.Lost) != 0 || done.Kept == "" {
		t.Errorf("it says %+v", done)
	}
	s.start(t)
}
