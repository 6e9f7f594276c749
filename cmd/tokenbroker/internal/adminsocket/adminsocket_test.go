//go:build linux || darwin

package adminsocket_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tokenbroker/cmd/tokenbroker/internal/adminsocket"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// place returns a short path for a socket: the path of t.TempDir is too long on some machines.
func place(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "adm") //nolint:usetesting // t.TempDir is longer than a socket's path may be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "admin", "admin.sock")
}

func listen(t *testing.T, path string) net.Listener {
	t.Helper()
	l, err := adminsocket.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func mode(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().String()
}

func TestOwnUserIsServedAndNamed(t *testing.T) {
	path := place(t)
	l := listen(t, path)
	if d, s := mode(t, filepath.Dir(path)), mode(t, path); d != "drwx------" || s != "Srw-------" {
		t.Errorf("directory %s, socket %s", d, s)
	}
	type key struct{}
	server := &http.Server{
		ReadHeaderTimeout: time.Second,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			uid, ok := adminsocket.PeerUID(c)
			return context.WithValue(ctx, key{}, fmt.Sprint(uid, ok))
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, r.Context().Value(key{}).(string))
		}),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()

	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport, Timeout: time.Minute}).Get("http://admin/")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if want := fmt.Sprint(os.Geteuid(), " true"); strings.Join(strings.Fields(string(body)), " ") != want || err != nil {
		t.Errorf("peer %q, want %q (%v)", body, want, err)
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestForeignUserIsRejectedAndTheNextIsServed(t *testing.T) {
	path := place(t)
	asked := 0
	l, err := adminsocket.ListenFor(path, func(uid uint32) bool {
		asked++
		return int(uid) == os.Geteuid() && asked > 1 // treats the first peer as another user
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	foreign, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = foreign.Close() }()
	own, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = own.Close() }()

	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if asked != 2 {
		t.Errorf("the uid was checked %d times", asked)
	}
	_ = foreign.SetDeadline(time.Now().Add(time.Minute))
	if n, err := foreign.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the foreign peer reads %d, %v", n, err)
	}
	if _, err := own.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if n, err := c.Read(make([]byte, 8)); n != 1 || err != nil {
		t.Errorf("read %d, %v", n, err)
	}
}

func TestPeerUIDRejectsOtherConnections(t *testing.T) {
	a, b := net.Pipe()
	defer func() { _, _ = a.Close(), b.Close() }()
	if uid, ok := adminsocket.PeerUID(a); ok {
		t.Errorf("uid %d", uid)
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	path := place(t)
	old := listen(t, path)
	old.(interface{ SetUnlinkOnClose(bool) }).SetUnlinkOnClose(false)
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	if mode(t, path)[0] != 'S' {
		t.Fatal("the test made no stale socket")
	}
	l := listen(t, path)
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = peer.Close()
}

func TestSecondListenerDoesNotDisturbTheFirst(t *testing.T) {
	path := place(t)
	first := listen(t, path)
	if _, err := adminsocket.Listen(path); !errors.Is(err, adminsocket.ErrInUse) || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
	for range 2 { // the probe of the second listener, and a client
		if c, err := net.Dial("unix", path); err == nil {
			defer func() { _ = c.Close() }()
		}
		c, err := first.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
}

func TestListenRefuses(t *testing.T) {
	tests := []struct {
		name  string
		path  func(t *testing.T) string
		wants string
	}{
		{"a long path", func(t *testing.T) string { return filepath.Join(filepath.Dir(place(t)), strings.Repeat("x", 100)) }, "admin.socket"},
		{"a directory open to its group", func(t *testing.T) string { return withDirectory(t, 0o750) }, "open to others (mode 0750)"},
		{"a directory open to all", func(t *testing.T) string { return withDirectory(t, 0o701) }, "open to others (mode 0701)"},
		{"a file in the socket's place", func(t *testing.T) string {
			path := withDirectory(t, 0o700)
			write(t, path)
			return path
		}, "is not a socket"},
		{"a file in the directory's place", func(t *testing.T) string {
			path := place(t)
			write(t, filepath.Dir(path))
			return path
		}, "making the admin socket's directory"},
		{"a link in the directory's place", func(t *testing.T) string {
			path := withDirectory(t, 0o700)
			link := filepath.Dir(path) + "-link"
			if err := os.Symlink(filepath.Dir(path), link); err != nil {
				t.Fatal(err)
			}
			return filepath.Join(link, "admin.sock")
		}, "a link to one"},
		{"a directory of another user", func(t *testing.T) string {
			path := withDirectory(t, 0o700)
			if os.Geteuid() != 0 {
				t.Skip("only root can change the owner of a directory")
			}
			if err := os.Chown(filepath.Dir(path), 65534, 65534); err != nil {
				t.Skip("changing the owner of the directory: ", err)
			}
			return path
		}, "belongs to another user"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := tt.path(t)
			before, _ := os.ReadDir(filepath.Dir(path))
			l, err := adminsocket.Listen(path)
			if err == nil {
				_ = l.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.wants) {
				t.Errorf("error %v, want one with %q", err, tt.wants)
			}
			if after, _ := os.ReadDir(filepath.Dir(path)); len(after) != len(before) {
				t.Errorf("left behind: %v", after)
			}
		})
	}
}

func withDirectory(t *testing.T, perm os.FileMode) string {
	t.Helper()
	path := place(t)
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(path), perm); err != nil {
		t.Fatal(err)
	}
	return path
}

func write(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
}
