package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/keyring"
	"tokenbroker/store/backup"
)

// backupText is a complete backup without records.
func backupText(t *testing.T) string {
	t.Helper()
	var out bytes.Buffer
	seal, err := keyring.NewBackupSealer(make([]byte, keyring.KEKSize))
	if err != nil {
		t.Fatal(err)
	}
	w, err := backup.NewWriter(t.Context(), &out, backup.Header{Store: "s1", TakenAt: time.Now().Unix()}, seal)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestBackupFileAppearsOnlyWhenComplete(t *testing.T) {
	whole := backupText(t)
	for name, test := range map[string]struct {
		sent string
		old  string // what is at the name before
		args []string
		code int
		says string
	}{
		"whole":                 {whole, "", nil, terminal.ExitOK, "backed up 0 records of the store s1"},
		"cut short":             {whole[:len(whole)-1], "", nil, terminal.ExitFailed, "the server did not send all of it"},
		"cut short, with force": {whole[:len(whole)-1], "old", []string{"--force"}, terminal.ExitFailed, "the server did not send all of it"},
		"a file is there":       {whole, "old", nil, terminal.ExitFailed, "replace it with --force"},
		"it is replaced":        {whole, "old", []string{"--force"}, terminal.ExitOK, "backed up"},
	} {
		t.Run(name, func(t *testing.T) {
			serveFake(t, map[string]answer{"GET /admin/v1/backup": {200, test.sent}})
			dir := t.TempDir()
			path := filepath.Join(dir, "b")
			if test.old != "" {
				if err := os.WriteFile(path, []byte(test.old), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got := command(t, nil, append([]string{"backup", path}, test.args...)...)
			if got.code != test.code || !strings.Contains(got.stdout+got.stderr, test.says) {
				t.Errorf("exit %d: %s%s", got.code, got.stdout, got.stderr)
			}
			want := test.old
			if test.code == terminal.ExitOK {
				want = test.sent
			}
			content, err := os.ReadFile(path)
			if string(content) != want || (err != nil) != (want == "") {
				t.Errorf("the file holds %d bytes (%v), want %d", len(content), err, len(want))
			}
			left, err := os.ReadDir(dir)
			if err != nil || len(left) > 1 || len(left) == 1 && want == "" {
				t.Errorf("left in the directory: %v, %v", left, err)
			}
			if info, err := os.Stat(path); err == nil && info.Mode().Perm() != 0o600 {
				t.Errorf("mode %04o", info.Mode().Perm())
			}
		})
	}
}

// Backs up a running server, stops it and restores the backup.
func TestRestoreOfAStoppedServer(t *testing.T) {
	s := newServed(t, "http").start(t)
	file := filepath.Join(t.TempDir(), "b")
	s.operate(t, terminal.ExitOK, "backup", file)
	running := command(t, nil, "restore", file, "--config", s.config, "--yes")
	if running.code != terminal.ExitFailed || !strings.Contains(running.stderr, "stop the server first") || !strings.Contains(running.stderr, "process") {
		t.Errorf("while a server runs: exit %d: %s", running.code, running.stderr)
	}
	s.finish(t)
	unasked := command(t, strings.NewReader("y\n"), "restore", file, "--config", s.config)
	if unasked.code != terminal.ExitUsage || !strings.Contains(unasked.stderr, "--yes") {
		t.Errorf("without a terminal: exit %d: %s", unasked.code, unasked.stderr)
	}
	t.Setenv(configEnv, "")
	nowhere := command(t, nil, "restore", file, "--yes")
	if nowhere.code != terminal.ExitUsage {
		t.Errorf("without --config and --data-dir: exit %d: %s", nowhere.code, nowhere.stderr)
	}
	got := command(t, nil, "restore", file, "--config", s.config, "--yes", "--output", "json")
	var done struct {
		Store       string   `json:"store"`
		BackupStore string   `json:"backup_store"`
		Kept        string   `json:"kept"`
		Compromised []string `json:"compromised"`
	}
	if err := json.Unmarshal([]byte(got.stdout), &done); err != nil || got.code != terminal.ExitOK {
		t.Fatalf("exit %d: %v: %s%s", got.code, err, got.stdout, got.stderr)
	}
	if done.Store == done.BackupStore || done.Kept == "" || len(done.Compromised) < 4 {
		t.Errorf("result %+v", done)
	}
	if n := strings.Count(got.stderr, `"msg":"audit","event":"restore"`); n != 1 {
		t.Errorf("%d audit lines: %s", n, got.stderr)
	}
}

// A server does not start with a damaged store; after floor raise it does.
func TestServeRefusesADamagedStoreThatFloorRaiseRecovers(t *testing.T) {
	s := newServed(t, "http").start(t)
	running := command(t, nil, "floor", "raise", "--config", s.config, "--yes")
	if running.code != terminal.ExitFailed || !strings.Contains(running.stderr, "stop the server first") {
		t.Errorf("while a server runs: exit %d: %s", running.code, running.stderr)
	}
	s.finish(t)
	dirs, err := filepath.Glob(filepath.Join(filepath.Dir(s.config), "*", "store"))
	if err != nil || len(dirs) != 1 {
		t.Fatalf("the store is in %q, %v", dirs, err)
	}
	if err := os.Remove(filepath.Join(dirs[0], "MANIFEST")); err != nil {
		t.Fatal(err)
	}
	refused := command(t, nil, s.args...)
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
		t.Errorf("result %+v", done)
	}
	s.start(t)
}
