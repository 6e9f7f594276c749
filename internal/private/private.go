// Package private creates and reads directories and files that only the user of the process may
// access ([MakeDir], [CheckDir], [ReadFile], [CreateFile], [WriteFile]): it refuses links and anything that other
// users own or can read. It also reads the files and secrets that an operator names ([ReadNamed],
// [ReadSecret], [SecretLine]).
package private

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// MakeDir creates dir (mode 0700) if it does not exist. It refuses a directory that another user owns
// or that group or others can access, and a link. Its errors call the directory what, such as "data
// directory", and name setting, the configuration key or flag that chooses it.
func MakeDir(dir, what, setting string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the %s (%s): %w", what, setting, err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("looking at the %s: %w", what, err)
	}
	if info.IsDir() && !own(info) {
		return fmt.Errorf("the %s %s belongs to another user; choose another place with %s", what, dir, setting)
	}
	return checkDir(info, dir, what, setting)
}

// CheckDir returns the error that [MakeDir] would return for dir, without creating it. It does not
// check the owner of dir, because another user may call MakeDir later.
func CheckDir(dir, what, setting string) error {
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking at the %s (%s): %w", what, setting, err)
	}
	return checkDir(info, dir, what, setting)
}

func checkDir(info fs.FileInfo, dir, what, setting string) error {
	perm := info.Mode().Perm()
	switch {
	case !info.IsDir():
		return fmt.Errorf("the %s %s is not a directory, or is a link to one; name the directory itself with %s", what, dir, setting)
	case perm&0o077 != 0:
		return fmt.Errorf("the %s %s is open to others (mode %04o): chmod 700 it, or choose another place with %s", what, dir, perm, setting)
	}
	return nil
}

func own(info os.FileInfo) bool {
	owner, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(owner.Uid) == os.Geteuid()
}

// maxFile is the largest size of a file that ReadFile reads, in bytes.
const maxFile = 4096

// ReadFile reads a file of at most 4 KiB that this user owns and that neither its group nor
// others can read. It does not follow a link at path and does not wait for the writer of a pipe.
// The error wraps fs.ErrNotExist if there is no file.
func ReadFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0) //nolint:gosec // the operator names the directory
	if errors.Is(err, syscall.ELOOP) {
		return nil, fmt.Errorf("%s is a link: name the file itself, or put it there", path)
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case !own(info):
		return nil, fmt.Errorf("%s belongs to another user: it must belong to the user of this process (uid %d)", path, os.Geteuid())
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("%s is open to others (mode %04o): run chmod 600 on it, and consider its content known", path, info.Mode().Perm())
	case info.Size() > maxFile:
		return nil, fmt.Errorf("%s has more than %d bytes", path, maxFile)
	}
	return io.ReadAll(io.LimitReader(f, maxFile))
}

// CreateFile creates a file with mode 0600 that is complete and on disk when CreateFile returns. It
// never replaces a file: the error wraps fs.ErrExist if path exists.
func CreateFile(path string, content []byte) error {
	return WriteFile(path, false, func(f *os.File) error {
		_, err := f.Write(content)
		return err
	})
}

// WriteFile is like [CreateFile] with the content that write writes. If replace is true, it replaces an
// existing file. Until the file is complete, and if write fails, path stays unchanged.
func WriteFile(path string, replace bool, write func(*os.File) error) error {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	if err = write(tmp); err == nil {
		err = tmp.Sync()
	}
	if err := errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if replace {
		err = os.Rename(tmp.Name(), path)
	} else {
		err = os.Link(tmp.Name(), path)
	}
	if err != nil {
		return err
	}
	d, err := os.Open(dir) //nolint:gosec // the operator names the directory
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
