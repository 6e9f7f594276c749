package keyring_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"tokenbroker/keyring"
)

func TestKEKFileIsMadeOnceAndPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "kek")
	var wg sync.WaitGroup
	got := make([]keyring.KEK, 8)
	for i := range got {
		wg.Go(func() {
			var err error
			if got[i], err = keyring.LoadOrCreateKEKFile(path); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, k := range got {
		if len(k) != keyring.KEKSize || !bytes.Equal(k, got[0]) {
			t.Fatal("concurrent callers got different KEKs")
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode = %v (%v), want 0600", info.Mode(), err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("%d files are left (%v), want one", len(entries), err)
	}
}

func TestUnsafeKEKFilesAreRefused(t *testing.T) {
	good := base64.StdEncoding.EncodeToString(kek(1)) + "\n"
	for name, tt := range map[string]struct {
		text string
		mode os.FileMode
		hint string
	}{
		"group can read":  {good, 0o640, "chmod 600"},
		"others can read": {good, 0o604, "chmod 600"},
		"empty":           {"", 0o600, "openssl rand"},
		"too short":       {"AAAA\n", 0o600, "openssl rand"},
		"not base64":      {strings.Repeat("!", 44), 0o600, "openssl rand"},
		"two keys":        {good + good, 0o600, "more than one line"},
		"a blank line":    {good + "\n", 0o600, "more than one line"},
		"a BOM":           {"\ufeff" + good, 0o600, "byte order mark"},
		"a space":         {" " + good, 0o600, "begins with a space"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "kek")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tt.mode); err != nil {
				t.Fatal(err)
			}
			_, err := keyring.LoadOrCreateKEKFile(path)
			if err == nil {
				t.Fatal("it was accepted")
			}
			for _, want := range []string{path, tt.hint} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not name %q: %v", want, err)
				}
			}
			if left, err := os.ReadFile(path); err != nil || string(left) != tt.text {
				t.Error("the file was changed")
			}
		})
	}
	if _, err := keyring.LoadOrCreateKEKFile(t.TempDir()); err == nil {
		t.Error("a directory was accepted")
	}
}

// Anything at the path that is not the user's own regular file is refused, without waiting for a
// pipe and without following a link.
func TestOnlyARegularFileOfTheUserIsAKEKFile(t *testing.T) {
	for want, put := range map[string]func(path, good string) error{
		"is a link":          func(path, good string) error { return os.Symlink(good, path) },
		"not a regular file": func(path, _ string) error { return syscall.Mkfifo(path, 0o600) },
		"belongs to another user": func(path, good string) error {
			return errors.Join(os.Link(good, path), os.Lchown(path, 65534, 65534))
		},
	} {
		t.Run(want, func(t *testing.T) {
			dir := t.TempDir()
			good, path := filepath.Join(dir, "good"), filepath.Join(dir, "kek")
			if _, err := keyring.CreateKEKFile(good); err != nil {
				t.Fatal(err)
			}
			if err := put(path, good); errors.Is(err, os.ErrPermission) {
				t.Skip("making one: ", err)
			} else if err != nil {
				t.Fatal(err)
			}
			if _, err := keyring.LoadKEKFile(path); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want an error with %q", err, want)
			}
		})
	}
}

func TestSealedValuesAreBoundToTheirAssociatedData(t *testing.T) {
	s := sealer(t, 1)
	sealed, err := s.Seal(t.Context(), []byte("secret"), []byte("here"))
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := s.Open(t.Context(), sealed, []byte("here")); err != nil || string(plain) != "secret" {
		t.Fatalf("Open = %q, %v", plain, err)
	}
	if _, err := s.Open(t.Context(), sealed, []byte("there")); err == nil {
		t.Error("the value opened with other associated data")
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if _, err := s.Open(t.Context(), changed, []byte("here")); err == nil {
			t.Errorf("the value opened with byte %d changed", i)
		}
		if _, err := s.Open(t.Context(), sealed[:i], []byte("here")); err == nil {
			t.Errorf("the value opened cut to %d bytes", i)
		}
	}
	if _, err := keyring.NewAESGCM(kek(1)[:16]); err == nil {
		t.Error("a KEK of 16 bytes was accepted")
	}
}
