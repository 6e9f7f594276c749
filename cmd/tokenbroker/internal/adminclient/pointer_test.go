package adminclient_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tokenbroker/cmd/tokenbroker/internal/adminclient"
	"tokenbroker/cmd/tokenbroker/internal/adminsocket"
)

func pointerPath(t *testing.T) string {
	t.Helper()
	path, err := adminclient.PointerPath()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPointerIsPrivateAndRemovedAtTheEnd(t *testing.T) {
	withoutServers(t)
	remove, err := adminclient.WritePointer(adminclient.Pointer{PID: 1, AdminURL: "http://127.0.0.1:8081", TokenFile: "/x"})
	if err != nil {
		t.Fatal(err)
	}
	path := pointerPath(t)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v; want 0600", info.Mode(), err)
	}
	if dir, err := os.Stat(filepath.Dir(path)); err != nil || dir.Mode().Perm() != 0o700 {
		t.Fatalf("the directory: mode %v, %v; want 0700", dir.Mode(), err)
	}
	for range 2 {
		if err := remove(); err != nil {
			t.Fatal(err)
		}
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 0 {
		t.Errorf("left in the directory: %v, %v", left, err)
	}
}

func TestPointerOfALaterDevIsLeftAlone(t *testing.T) {
	withoutServers(t)
	removeFirst, err := adminclient.WritePointer(adminclient.Pointer{PID: 1, Socket: "/a"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := adminclient.WritePointer(adminclient.Pointer{PID: 2, Socket: "/b"}); err != nil {
		t.Fatal(err)
	}
	if err := removeFirst(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(pointerPath(t)); err != nil {
		t.Errorf("the first dev took the second's pointer away: %v", err)
	}
}

func TestPointerIsReplacedUnlessALaterDevRuns(t *testing.T) {
	withoutServers(t)
	remove, err := adminclient.WritePointer(adminclient.Pointer{PID: 1, Socket: "/a"})
	if err != nil {
		t.Fatal(err)
	}
	replaced := func(socket, want string) {
		t.Helper()
		if err := adminclient.ReplacePointer(adminclient.Pointer{PID: 1, Socket: socket}); err != nil {
			t.Fatal(err)
		}
		if body, err := os.ReadFile(pointerPath(t)); err != nil || !strings.Contains(string(body), `"`+want+`"`) {
			t.Errorf("the pointer is %s, %v; want %s", body, err, want)
		}
	}
	replaced("/b", "/b")
	removeLater, err := adminclient.WritePointer(adminclient.Pointer{PID: 2, Socket: "/later"})
	if err != nil {
		t.Fatal(err)
	}
	replaced("/c", "/later")
	for _, f := range []func() error{removeLater, remove} {
		if err := f(); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := os.ReadDir(filepath.Dir(pointerPath(t))); err != nil || len(left) != 0 {
		t.Errorf("left in the directory: %v, %v", left, err)
	}
}

// The first dev is found again when the second one, which took its place, has ended.
func TestPointerOfAnotherDevThatRunsComesBack(t *testing.T) {
	withoutServers(t)
	socket := filepath.Join(t.TempDir(), "a.sock")
	if err := os.WriteFile(socket, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	first := adminclient.Pointer{PID: os.Getpid(), Socket: socket}
	removeFirst, err := adminclient.WritePointer(first)
	if err != nil {
		t.Fatal(err)
	}
	// One that was killed, and whose pid another process has by now.
	if _, err := adminclient.WritePointer(adminclient.Pointer{PID: os.Getppid(), Socket: socket + ".gone"}); err != nil {
		t.Fatal(err)
	}
	removeLast, err := adminclient.WritePointer(adminclient.Pointer{PID: 1 << 22, Socket: "/c"})
	if err != nil {
		t.Fatal(err)
	}
	if err := removeLast(); err != nil {
		t.Fatal(err)
	}
	if body, err := os.ReadFile(pointerPath(t)); err != nil || !strings.Contains(string(body), socket+`"`) {
		t.Errorf("the pointer is %s, %v", body, err)
	}
	if err := removeFirst(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(filepath.Dir(pointerPath(t))); err != nil || len(left) != 0 {
		t.Errorf("left in the directory: %v, %v", left, err)
	}
}

func TestPointerByItsURL(t *testing.T) {
	withoutServers(t)
	address := onTCP(t, named("url", secretToken))
	if _, err := adminclient.WritePointer(adminclient.Pointer{PID: 1, AdminURL: address, TokenFile: write(t, secretToken)}); err != nil {
		t.Fatal(err)
	}
	if got, err := askName(t, adminclient.Options{}); err != nil || got != "url" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestPointerThatOthersCouldHaveWrittenIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"readable by others":    func(path string) error { return os.Chmod(path, 0o644) },
		"readable by the group": func(path string) error { return os.Chmod(path, 0o640) },
		"damaged":               func(path string) error { return os.WriteFile(path, []byte("{"), 0o600) },
		"a link": func(path string) error {
			if err := os.Rename(path, path+".real"); err != nil {
				return err
			}
			return os.Symlink(path+".real", path)
		},
		"another user's": func(path string) error { return os.Chown(path, 12345, -1) },
	} {
		t.Run(name, func(t *testing.T) {
			if name == "another user's" && os.Geteuid() != 0 {
				t.Skip("only root can give a file away")
			}
			withoutServers(t)
			dir := onSocket(t, named("pointer", ""))
			if _, err := adminclient.WritePointer(adminclient.Pointer{PID: 1, Socket: adminsocket.Path(dir)}); err != nil {
				t.Fatal(err)
			}
			if err := spoil(pointerPath(t)); err != nil {
				t.Fatal(err)
			}
			got, err := askName(t, adminclient.Options{})
			if err == nil || !strings.Contains(err.Error(), "pointer") {
				t.Errorf("got %q, %v; want a refusal", got, err)
			}
		})
	}
}
