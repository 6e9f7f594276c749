package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// A store is replaced in three steps, each one rename that is on disk before the next:
//
//	dir.restoring → dir.restored   the new one is whole: from here on it is the store
//	dir → dir.before-restore-TIME  the old one is kept
//	dir.restored → dir
//
// [FinishReplace] goes on after a crash between them. All want the lock of the directory above.
const (
	stagedSuffix = ".restoring"
	wholeSuffix  = ".restored"
	keptInfix    = ".before-restore-"
)

// Stage makes an empty directory beside the store of dir in which another one can be built,
// and removes what an earlier one left there.
func Stage(dir string) (staged string, err error) {
	staged = dir + stagedSuffix
	if err := os.RemoveAll(staged); err != nil {
		return "", fmt.Errorf("removing a restore that was broken off: %w", err)
	}
	if err := os.MkdirAll(staged, 0o700); err != nil {
		return "", fmt.Errorf("making a directory for the new store: %w", err)
	}
	return staged, nil
}

// Unstage removes what was built. The store of dir is untouched.
func Unstage(dir string) error { return os.RemoveAll(dir + stagedSuffix) }

// Abandoned says whether a store is or was being built beside dir's, and where.
func Abandoned(dir string) (staged string, ok bool) {
	_, err := os.Lstat(dir + stagedSuffix)
	return dir + stagedSuffix, err == nil
}

// CommitStaged makes the closed store that was built the one that dir is to hold. From its
// return on that is decided, and only [FinishReplace] remains to be called.
func CommitStaged(dir string) error {
	if err := syncTree(dir + stagedSuffix); err != nil {
		return fmt.Errorf("bringing the new store to the disk: %w", err)
	}
	if err := rename(dir+stagedSuffix, dir+wholeSuffix); err != nil {
		return fmt.Errorf("completing the new store: %w", err)
	}
	return nil
}

// Exists says whether dir has a store, or gets one from [FinishReplace].
func Exists(dir string) bool {
	_, err := os.Stat(dir)
	_, whole := os.Stat(dir + wholeSuffix)
	return err == nil || whole == nil
}

// FinishReplace puts a store that [CommitStaged] completed in the place of dir's and says
// where the old one is kept, if there was one. done is false when there was nothing to do.
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

// keptName is a name that is free.
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

// rename is on disk when it returns.
func rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return syncFile(filepath.Dir(to))
}

// syncTree brings the files below dir, and their names, to the disk.
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
