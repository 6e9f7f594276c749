package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// A store is replaced in three steps. Each is one rename that is on disk before the next:
//
//	dir.restoring → dir.restored   the new store is complete: from here on it is the store
//	dir → dir.before-restore-TIME  the old store is kept
//	dir.restored → dir
//
// [FinishReplace] continues after a crash between them. The caller of these functions holds the lock
// of the parent directory.
const (
	stagedSuffix = ".restoring"
	wholeSuffix  = ".restored"
	keptInfix    = ".before-restore-"
)

// Stage creates an empty directory next to dir in which another store can be built. It first
// removes what an interrupted restore left there.
func Stage(dir string) (staged string, err error) {
	staged = dir + stagedSuffix
	if err := os.RemoveAll(staged); err != nil {
		return "", fmt.Errorf("removing an interrupted restore: %w", err)
	}
	if err := os.MkdirAll(staged, 0o700); err != nil {
		return "", fmt.Errorf("making a directory for the new store: %w", err)
	}
	return staged, nil
}

// Unstage removes the staged store. The store in dir is not changed.
func Unstage(dir string) error { return os.RemoveAll(dir + stagedSuffix) }

// Abandoned reports whether a staged store exists next to dir, which a restore builds now or an
// interrupted one left, and its path.
func Abandoned(dir string) (staged string, ok bool) {
	_, err := os.Lstat(dir + stagedSuffix)
	return dir + stagedSuffix, err == nil
}

// CommitStaged decides that the staged store, which must be closed, replaces that of dir. When it has
// returned, only [FinishReplace] remains to be called, now or after a crash.
func CommitStaged(dir string) error {
	if err := syncTree(dir + stagedSuffix); err != nil {
		return fmt.Errorf("syncing the new store to the disk: %w", err)
	}
	if err := rename(dir+stagedSuffix, dir+wholeSuffix); err != nil {
		return fmt.Errorf("completing the new store: %w", err)
	}
	return nil
}

// Exists reports whether dir has a store or will get one from [FinishReplace].
func Exists(dir string) bool {
	_, err := os.Stat(dir)
	_, whole := os.Stat(dir + wholeSuffix)
	return err == nil || whole == nil
}

// FinishReplace moves a store that [CommitStaged] completed to dir and returns
// where the old store is kept, if there was one. done is false if there was nothing to do.
func FinishReplace(dir string, now time.Time) (kept string, done bool, err error) {
	switch _, err := os.Lstat(dir + wholeSuffix); {
	case errors.Is(err, fs.ErrNotExist):
		return "", false, nil
	case err != nil:
		return "", false, fmt.Errorf("looking for a restored store: %w", err)
	}
	switch _, err := os.Lstat(dir); {
	case err == nil:
		if kept, err = keptName(dir, now); err == nil {
			err = rename(dir, kept)
		}
		if err != nil {
			return "", false, fmt.Errorf("keeping the old store: %w", err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return "", false, fmt.Errorf("looking for the old store: %w", err)
	}
	if err := rename(dir+wholeSuffix, dir); err != nil {
		return "", false, fmt.Errorf("putting the restored store in place: %w", err)
	}
	return kept, true, nil
}

// keptName returns an unused name for the old store.
func keptName(dir string, now time.Time) (string, error) {
	name := dir + keptInfix + now.UTC().Format("20060102T150405Z")
	for n := 1; ; n++ {
		free := name
		if n > 1 {
			free = fmt.Sprintf("%s-%d", name, n)
		}
		if _, err := os.Lstat(free); errors.Is(err, fs.ErrNotExist) {
			return free, nil
		} else if err != nil {
			return "", err
		}
	}
}

// rename renames from durably.
func rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return syncFile(filepath.Dir(to))
}

// syncTree syncs the files below dir, and the directories, to the disk.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return syncFile(path)
	})
}

func syncFile(path string) error {
	f, err := os.Open(path) //nolint:gosec // below the operator's directory
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
