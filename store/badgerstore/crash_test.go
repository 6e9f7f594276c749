package badgerstore_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/store"
	"tokenbroker/store/badgerstore"
)

// child starts this test binary in the given role and kills it (SIGKILL) at the end.
func child(t *testing.T, role, dir string) (lines *bufio.Scanner, kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "BADGERSTORE_TEST_CHILD="+role, "BADGERSTORE_TEST_DIR="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killed := false
	kill = func() {
		if killed {
			return
		}
		killed = true
		_ = cmd.Process.Kill()
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
	}
	t.Cleanup(kill)
	return bufio.NewScanner(out), kill
}

// commitUntilKilled runs in the child process. Each commit has a record, an event and its seal; the
// child prints a line for each acknowledged commit.
func commitUntilKilled(dir string) error {
	s, err := badgerstore.Open(badgerstore.Config{Dir: dir})
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		seal := func([]revocation.Event) ([]store.Write, error) {
			return []store.Write{{Key: fmt.Sprintf("sealed.%06d", i), Value: []byte("s"), Blind: true}}, nil
		}
		change := store.Change{
			Writes: []store.Write{{Key: fmt.Sprintf("record.%06d", i), Value: []byte("r")}},
			Events: []revocation.Event{{Kind: revocation.KindSID}},
		}
		if err := s.Commit(context.Background(), []store.Change{change}, seal)[0]; err != nil {
			return err
		}
		fmt.Println(i)
	}
}

func TestAKilledProcessLosesNoAcknowledgedCommit(t *testing.T) {
	for _, length := range []int{1, 150} {
		dir, next := t.TempDir(), 0
		lines, kill := child(t, "commit", dir)
		for range length {
			if !lines.Scan() {
				t.Fatal("the child ended")
			}
			i, err := strconv.Atoi(strings.TrimSpace(lines.Text()))
			if err != nil || i != next {
				t.Fatalf("the child wrote %q", lines.Text())
			}
			next++
		}
		kill()
		s := open(t, badgerstore.Config{Dir: dir})
		for i := range next {
			for _, key := range []string{"record", "sealed"} {
				if _, err := s.Get(t.Context(), fmt.Sprintf("%s.%06d", key, i)); err != nil {
					t.Fatalf("%s %d of %d acknowledged: %v", key, i, next, err)
				}
			}
		}
		// A commit that was not acknowledged is there completely or not at all.
		records, err := s.List(t.Context(), "record.", "", 1e6)
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := s.List(t.Context(), "sealed.", "", 1e6)
		if err != nil || len(sealed) != len(records) {
			t.Fatalf("%d records, %d seals, %v", len(records), len(sealed), err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// closeOnAFullDisk runs in the child process: it commits a record and closes the store when the disk is full.
func closeOnAFullDisk(dir string) error {
	var free atomic.Uint64
	free.Store(1 << 40)
	s, err := badgerstore.Open(badgerstore.Config{
		Dir: dir, FreeSpace: func(string) (uint64, error) { return free.Load(), nil }, Logger: slog.New(slog.NewTextHandler(os.Stdout, nil)),
	})
	if err != nil {
		return err
	}
	change := store.Change{Writes: []store.Write{{Key: "record", Value: []byte("r")}}}
	if err := s.Commit(context.Background(), []store.Change{change}, nil)[0]; err != nil {
		return err
	}
	free.Store(1 << 20)
	if err := s.Close(); err != nil {
		return err
	}
	fmt.Println("closed")
	return nil
}

// Badger would write its memtable to a mapped file, and the kernel would then kill the process (SIGBUS).
func TestCloseWritesNothingToAFullDisk(t *testing.T) {
	dir := t.TempDir()
	lines, kill := child(t, "full", dir)
	if !lines.Scan() || !strings.Contains(lines.Text(), "closing the store: only 1 MiB free") {
		t.Errorf("the child printed %q", lines.Text())
	}
	if !lines.Scan() || lines.Text() != "closed" {
		t.Errorf("the child printed %q", lines.Text())
	}
	kill()
	if tables, err := filepath.Glob(filepath.Join(dir, "*.sst")); err != nil || len(tables) > 0 {
		t.Errorf("tables were written: %q, %v", tables, err)
	}
	s := open(t, badgerstore.Config{Dir: dir})
	if _, err := s.Get(t.Context(), "record"); err != nil {
		t.Errorf("a committed record is lost: %v", err)
	}
}

// holdLock runs in the child process: it locks the directory and waits to be killed.
func holdLock(dir string) error {
	lock, err := badgerstore.Lock(dir)
	if err != nil {
		return err
	}
	fmt.Println(os.Getpid())
	defer lock.Release()
	time.Sleep(time.Hour) // killed long before
	return nil
}

func TestALockedDirectoryNamesItsHolder(t *testing.T) {
	dir := t.TempDir()
	lines, kill := child(t, "lock", dir)
	if !lines.Scan() {
		t.Fatal("the child ended")
	}
	_, err := badgerstore.Open(badgerstore.Config{Dir: dir})
	var held *badgerstore.InUseError
	if !errors.As(err, &held) {
		t.Fatalf("got %v", err)
	}
	if want := fmt.Sprintf("data directory %s is in use by process %s", dir, lines.Text()); held.Error() != want {
		t.Errorf("got %q, want %q", held, want)
	}
	kill() // the lock ends with its process
	lock, err := badgerstore.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := badgerstore.Lock(dir); !errors.As(err, &held) || held.PID != os.Getpid() {
		t.Errorf("a second lock in one process: %v", err)
	}
	s := open(t, badgerstore.Config{Dir: dir + "/store", Lock: lock}) // covered by the caller's lock
	put(t, s, "a", "1")
	if _, err := badgerstore.Open(badgerstore.Config{Dir: t.TempDir(), Lock: lock}); err == nil {
		t.Error("a lock over another directory was accepted")
	}
	for range 2 {
		if err := lock.Release(); err != nil {
			t.Error(err)
		}
	}
}
