package private_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tokenbroker/internal/private"
)

// giveAway makes another user the owner of path.
func giveAway(t *testing.T, path string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can change the owner of a file")
	}
	if err := os.Lchown(path, 65534, 65534); err != nil {
		t.Skip("changing the owner: ", err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestMakeDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	for range 2 {
		must(t, private.MakeDir(dir, "data directory", "data_dir"))
	}
	info, err := os.Stat(dir)
	must(t, err)
	if info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v", info.Mode())
	}
}

func TestMakeDirRefuses(t *testing.T) {
	for want, spoil := range map[string]func(t *testing.T, dir string){
		"open to others (mode 0750): chmod 700": func(t *testing.T, dir string) { must(t, os.Chmod(dir, 0o750)) },
		"belongs to another user":               giveAway,
		"a link to one": func(t *testing.T, dir string) {
			must(t, os.Rename(dir, dir+"2"))
			must(t, os.Symlink(dir+"2", dir))
		},
	} {
		t.Run(want, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "d")
			must(t, os.Mkdir(dir, 0o700))
			spoil(t, dir)
			err := private.MakeDir(dir, "data directory", "data_dir")
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "data_dir") {
				t.Errorf("error %v, want one with %q and the setting", err, want)
			}
		})
	}
}

func TestCreateFileReplacesNoFileAndLeavesNoTemporaryFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "token")
	must(t, private.CreateFile(path, []byte("one")))
	if err := private.CreateFile(path, []byte("two")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("CreateFile of an existing file: %v", err)
	}
	content, err := private.ReadFile(path)
	if err != nil || string(content) != "one" {
		t.Errorf("%q, %v", content, err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("the directory has other files: %v", entries)
	}
}

func TestReadFileRefuses(t *testing.T) {
	for want, spoil := range map[string]func(t *testing.T, path string){
		"open to others (mode 0640)": func(t *testing.T, path string) { must(t, os.Chmod(path, 0o640)) },
		"belongs to another user":    giveAway,
		"is a link": func(t *testing.T, path string) {
			must(t, os.Rename(path, path+"2"))
			must(t, os.Symlink(path+"2", path))
		},
		"more than 4096 bytes": func(t *testing.T, path string) { must(t, os.WriteFile(path, make([]byte, 4097), 0o600)) },
		"not a regular file": func(t *testing.T, path string) {
			must(t, os.Remove(path))
			must(t, syscall.Mkfifo(path, 0o600))
		},
	} {
		t.Run(want, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "token")
			must(t, private.CreateFile(path, []byte("one")))
			spoil(t, path)
			if content, err := private.ReadFile(path); err == nil || !strings.Contains(err.Error(), want) || content != nil {
				t.Errorf("%q, error %v, want one with %q", content, err, want)
			}
		})
	}
}
