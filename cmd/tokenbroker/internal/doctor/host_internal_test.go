package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tokenbroker/config"
)

func TestModesOfSecretFiles(t *testing.T) {
	for name, row := range map[string]struct {
		change func(t *testing.T, dir string, s *Subject)
		level  Level
		want   string
	}{
		"private": {func(*testing.T, string, *Subject) {}, OK, "3 files and directories are private"},
		"kek for the group": {func(t *testing.T, dir string, _ *Subject) { chmod(t, filepath.Join(dir, "kek"), 0o640) },
			Fail, "kek: other users can read or change it (mode 0640)"},
		"store readable by all users": {func(t *testing.T, dir string, _ *Subject) { chmod(t, filepath.Join(dir, "store"), 0o755) },
			Fail, "store: other users can read or change it (mode 0755)"},
		"a secret's file": {func(_ *testing.T, _ string, s *Subject) {
			s.Warnings = config.Problems{{Key: "admin.token_file", Message: "names the file /x (mode 0644)", Hint: "run chmod 600 on it"}}
		}, Warn, "admin.token_file names the file /x (mode 0644)"},
		"elsewhere": {func(_ *testing.T, _ string, s *Subject) { s.DataDir, s.ConfigFile = "/nonexistent", "" }, Skip, "is on this machine"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, made := range []error{
				os.WriteFile(filepath.Join(dir, "kek"), nil, 0o600), os.Mkdir(filepath.Join(dir, "store"), 0o700),
			} {
				if made != nil {
					t.Fatal(made)
				}
			}
			s := Subject{DataDir: dir, ConfigFile: "tokenbroker.yaml"}
			row.change(t, dir, &s)
			found := modes(t.Context(), s)
			if len(found) != 1 || found[0].Level != row.level || !strings.Contains(found[0].Detail, row.want) || row.level != OK && found[0].Hint == "" {
				t.Errorf("found %+v", found)
			}
		})
	}
}

func chmod(t *testing.T, name string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
}
