package badgerstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

const lockName = "tokenbroker.lock"

// InUseError says that another process holds the directory.
type InUseError struct {
	Dir string
	// PID of the holder, or zero when it could not be read.
	PID int
}

func (e *InUseError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("data directory %s is in use by another process", e.Dir)
	}
	return fmt.Sprintf("data directory %s is in use by process %d", e.Dir, e.PID)
}

// DirLock is an exclusive hold on a directory, for as long as the process lives or until
// Release. It goes with the process, however that ends.
type DirLock struct {
	dir     string
	file    *os.File
	release sync.Once
	err     error
}

// Lock makes dir (0700) if need be and takes it. The error is an [*InUseError] if another
// holder, in this process or another, has it.
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

// Dir returns the directory that is held.
func (l *DirLock) Dir() string { return l.dir }

// Release gives the directory up. It may be called again.
func (l *DirLock) Release() error {
	l.release.Do(func() {
		// The file stays: removing it would let two holders lock two files of one name.
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
