package node_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tokenbroker/cmd/tokenbroker/internal/adminclient"
	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/keyring"
	"tokenbroker/store"
	"tokenbroker/store/badgerstore"
)

// TestAWrongKEK checks that the broker does not start with another key encryption key, that the error
// names the file and what to do, that nothing is changed, and that the broker starts again with the
// right key.
func TestAWrongKEK(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(path string) error
		err    error
		hint   string
	}{
		"the file is lost": {os.Remove, os.ErrNotExist, "put it back"},
		"the file is of another data": {
			func(path string) error { return os.WriteFile(path, newKEK(), 0o600) }, keyring.ErrWrongKEK, "start with the KEK file",
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, b := stoppedLab(t)
			path := filepath.Join(l.dir, "kek")
			right, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.damage(path); err != nil {
				t.Fatal(err)
			}
			l.startFails(c.err, path, c.hint)
			if err := os.WriteFile(path, right, 0o600); err != nil {
				t.Fatal(err)
			}
			l.startBroker()
			b.refreshes()
		})
	}
}

// TestADamagedKeyring checks that a truncated record is an error that names the data directory and
// advises to restore a backup, and that the record is never replaced by a new keyring.
func TestADamagedKeyring(t *testing.T) {
	l, b := stoppedLab(t)
	whole := l.keyringRecord()
	l.putKeyringRecord(whole[:len(whole)/2])
	l.startFails(keyring.ErrCorrupt, l.dir, "backup")
	l.putKeyringRecord(whole)
	l.startBroker()
	b.refreshes()
}

// TestResealRevealsNothingAboutOtherFiles checks that the answer to a reseal with a file that cannot
// be used does not depend on whether the file exists, its mode or its content. The log has the cause.
func TestResealRevealsNothingAboutOtherFiles(t *testing.T) {
	l := newLab(t)
	l.startNATS()
	var log bytes.Buffer
	cfg := l.config()
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	n, err := node.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	client, err := adminclient.Locate(adminclient.Options{DataDir: l.dir})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	dir := t.TempDir()
	answers := map[string]string{}
	for name, put := range map[string]func(path string) error{
		"missing":      func(string) error { return nil },
		"no directory": func(path string) error { return os.WriteFile(filepath.Dir(path), nil, 0o600) },
		"not a KEK":    func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) },
		"open to group": func(path string) error {
			return errors.Join(os.WriteFile(path, newKEK(), 0o600), os.Chmod(path, 0o640))
		},
		"large":       func(path string) error { return os.WriteFile(path, make([]byte, 1<<20), 0o600) },
		"a directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"a link":      func(path string) error { return os.Symlink(filepath.Join(l.dir, "kek"), path) },
		"a pipe":      func(path string) error { return syscall.Mkfifo(path, 0o600) },
	} {
		path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"), "kek")
		if name != "no directory" {
			if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if err := put(path); err != nil {
			t.Fatal(err)
		}
		_, err := client.ResealKeys(t.Context(), path, "")
		if err == nil {
			t.Fatalf("%s: resealed", name)
		}
		answers[err.Error()] = name
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if len(answers) != 1 {
		t.Errorf("the answers differ: %v", answers)
	}
	for _, cause := range []string{"no such file", "not a directory", "open to others", "is a link", "not a regular file", "more than 4096 bytes"} {
		if !strings.Contains(log.String(), cause) {
			t.Errorf("the log does not say %q", cause)
		}
	}
}

// stoppedLab returns a lab with one session whose broker was stopped.
func stoppedLab(t *testing.T) (*lab, *browser) {
	t.Helper()
	l := newLab(t)
	l.startBroker()
	b := l.signIn()
	l.stopBroker()
	return l, b
}

// startFails starts the broker twice and checks that both fail with the same error: the first start
// must not change the data.
func (l *lab) startFails(want error, hints ...string) {
	l.t.Helper()
	before := l.keyringRecord()
	for range 2 {
		n, err := node.Start(l.t.Context(), l.config())
		if err == nil {
			l.t.Fatal(errors.Join(errors.New("it starts"), n.Close()))
		}
		if !errors.Is(err, want) {
			l.t.Fatalf("%v, want %v", err, want)
		}
		for _, hint := range hints {
			if !strings.Contains(err.Error(), hint) {
				l.t.Errorf("the error does not name %q: %v", hint, err)
			}
		}
	}
	if !bytes.Equal(l.keyringRecord(), before) {
		l.t.Error("the failed start changed the keyring's record")
	}
}

func (b *browser) refreshes() {
	b.l.t.Helper()
	if status := b.post("/auth/refresh/", `{"CSRF_token": "`+b.csrf+`"}`); status != http.StatusOK {
		b.l.t.Errorf("refresh: %d", status)
	}
}

// onDisk opens the store of a stopped broker.
func (l *lab) onDisk(use func(*badgerstore.Store)) {
	l.t.Helper()
	disk, err := badgerstore.Open(badgerstore.Config{Dir: filepath.Join(l.dir, "store")})
	if err != nil {
		l.t.Fatal(err)
	}
	use(disk)
	if err := disk.Close(); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) keyringRecord() (value []byte) {
	l.t.Helper()
	l.onDisk(func(disk *badgerstore.Store) {
		record, err := disk.Get(context.Background(), "keyring")
		if err != nil {
			l.t.Fatal(err)
		}
		value = record.Value
	})
	return value
}

func (l *lab) putKeyringRecord(value []byte) {
	l.t.Helper()
	l.onDisk(func(disk *badgerstore.Store) {
		write := store.Write{Key: "keyring", Value: value, Blind: true}
		if err := disk.Commit(context.Background(), []store.Change{{Writes: []store.Write{write}}}, nil)[0]; err != nil {
			l.t.Fatal(err)
		}
	})
}

func newKEK() []byte {
	var kek [keyring.KEKSize]byte
	_, _ = rand.Read(kek[:]) // never fails
	return []byte(base64.StdEncoding.EncodeToString(kek[:]))
}
