package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

const lockName = "tokenbroker.lock"

// InUseError reports that another process holds the directory.
type InUseError struct {
	Dir string
	// PID is the process id of the holder, or zero if it could not be read.
	PID int
}

func (e *InUseError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("data directory %s is in use by another process", e.Dir)
	}
	return fmt.Sprintf("data directory %s is in use by process %d", e.Dir, e.PID)
}

// DirLock is an exclusive lock on a directory, held until Release or until the process ends in any way.
type DirLock struct {
	dir     string
	file    *os.File
	release sync.Once
	err     error
}

// Lock creates dir (0700) if it does not exist and locks it. The error is an [*InUseError] if
// this process or another one holds the lock.
func Lock(dir string) (*DirLock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the data directory: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600) //nolint:gosec // the operator names the directory
	if err != nil {
		return nil, fmt.Errorf("opening the lock of the data directory: %w", err)
	}
	if err := flock(file, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer func() { _ = file.Close() }()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("locking data directory %s: %w", dir, err)
		}
		held := &InUseError{Dir: dir}
		text := make([]byte, 32)
		n, _ := file.ReadAt(text, 0)
		held.PID, _ = strconv.Atoi(strings.TrimSpace(string(text[:n])))
		return nil, held
	}
	if err := writePID(file); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("writing the lock of the data directory: %w", err)
	}
	return &DirLock{dir: dir, file: file}, nil
}

// Dir returns the locked directory.
func (l *DirLock) Dir() string { return l.dir }

// Release unlocks the directory. Further calls return the result of the first one.
func (l *DirLock) Release() error {
	l.release.Do(func() {
		// The file stays: if it were removed, two holders could lock two files of the same name.
		_ = l.file.Truncate(0)
		l.err = l.file.Close()
	})
	return l.err
}

func writePID(file *os.File) error {
	if err := file.Truncate(0); err != nil {
		return err
	}
	_, err := file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

func flock(file *os.File, how int) error {
	for {
		err := syscall.Flock(int(file.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// takeDir creates the directory, accessible only by its owner, and locks it or checks the caller's lock.
func (s *Store) takeDir() error {
	dir := s.config.Dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the store's directory: %w", err)
	}
	if err := closeToOthers(dir); err != nil {
		return fmt.Errorf("closing the store's files to other users: %w", err)
	}
	if s.config.Lock != nil {
		rel, err := filepath.Rel(s.config.Lock.Dir(), dir)
		if err != nil || !filepath.IsLocal(rel) {
			return fmt.Errorf("opening the store: the lock of %s does not cover %s", s.config.Lock.Dir(), dir)
		}
		return s.checkSpaceToOpen()
	}
	lock, err := Lock(dir)
	if err != nil {
		return err
	}
	s.lock = lock
	if err := s.checkSpaceToOpen(); err != nil {
		s.releaseDir()
		return err
	}
	return nil
}

func (s *Store) releaseDir() {
	if s.lock != nil {
		_ = s.lock.Release()
	}
}

// closeToOthers removes the permissions of group and others from the files in dir. Badger creates files
// with mode 0666 less the umask, and files of an earlier run may have been created with another umask.
func closeToOthers(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return err
		}
		if perm := info.Mode().Perm(); info.Mode().IsRegular() && perm&0o077 != 0 {
			if err := os.Chmod(filepath.Join(dir, e.Name()), perm&0o700); err != nil {
				return err
			}
		}
	}
	return nil
}

// FreeBytes returns how many bytes can still be written to the file system of the store.
func (s *Store) FreeBytes() (uint64, error) {
	free, err := s.config.FreeSpace(s.config.Dir)
	if err != nil {
		return 0, fmt.Errorf("reading the free space of %s: %w", s.config.Dir, err)
	}
	return free, nil
}

// Writable returns nil if writes are accepted, otherwise an error that
// wraps [store.ErrReadOnly] (too little disk space), [store.ErrUncertain] (a commit
// failed: the process has to end) or [store.ErrClosed].
//
// Badger writes through memory-mapped files: on a full disk the kernel kills the process
// (SIGBUS) instead of failing a write, so room for what is buffered has to be left.
func (s *Store) Writable() error {
	if err := s.begin(); err != nil {
		return err
	}
	defer s.ops.Done()
	return s.writable()
}

// checkSpaceToOpen refuses to open on a disk too full for the files that opening makes.
func (s *Store) checkSpaceToOpen() error {
	free, err := s.FreeBytes()
	if err == nil && free < s.config.MinFree/8 {
		err = s.full("opening", free)
	}
	return err
}

// checkSpaceToClose refuses to close on a disk too full for what the memtables hold.
func (s *Store) checkSpaceToClose() error {
	if s.config.InMemory {
		return nil
	}
	free, err := s.FreeBytes()
	if err == nil && free < s.config.MinFree/2 {
		return s.full("closing", free)
	}
	return nil // also if the free space is not known
}

func (s *Store) full(doing string, free uint64) error {
	return fmt.Errorf("%s the store: only %d MiB free below %s", doing, free>>20, s.config.Dir)
}
