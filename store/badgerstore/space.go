package badgerstore

import (
	"fmt"
	"syscall"

	"tokenbroker/store"
)

// freeSpace returns the bytes that an unprivileged process may still write below dir.
func freeSpace(dir string) (uint64, error) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return 0, err
	}
	return fs.Bavail * uint64(fs.Bsize), nil
}

// FreeBytes returns how much may still be written to the file system of the store.
func (s *Store) FreeBytes() (uint64, error) {
	free, err := s.config.FreeSpace(s.config.Dir)
	if err != nil {
		return 0, fmt.Errorf("reading the free space of %s: %w", s.config.Dir, err)
	}
	return free, nil
}

// Writable returns nil while writes are accepted, and otherwise why not: an error that
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

func (s *Store) writable() error {
	if failed := s.failed.Load(); failed != nil {
		return *failed
	}
	if s.config.InMemory {
		return nil
	}
	free, err := s.config.FreeSpace(s.config.Dir)
	if err != nil {
		return fmt.Errorf("%w: reading the free space of %s: %w", store.ErrReadOnly, s.config.Dir, err)
	}
	if free < s.config.MinFree {
		return fmt.Errorf("%w: %d MiB free below %s, %d MiB needed", store.ErrReadOnly, free>>20, s.config.Dir, s.config.MinFree>>20)
	}
	return nil
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
	return nil // also where it is not known
}

func (s *Store) full(doing string, free uint64) error {
	return fmt.Errorf("%s the store: only %d MiB free below %s", doing, free>>20, s.config.Dir)
}
