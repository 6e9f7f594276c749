package private

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// ReadNamed reads a text file of at most limit bytes that an operator names, and returns its
// mode. The file may belong to another user and path may be a link to it, as in a mounted
// volume. A directory, a device, a socket and a named pipe are refused, because reading them may never
// end. A pipe that this process was started with (/dev/stdin, and the /dev/fd/N of a shell's
// <(command)) is read to its end; only the first reader receives its text.
func ReadNamed(path string, limit int64) (text string, mode fs.FileMode, err error) {
	if path == "" {
		return "", 0, errors.New("the file's name is empty")
	}
	unreadable := func(err error) (string, fs.FileMode, error) {
		var p *fs.PathError
		if errors.As(err, &p) {
			err = p.Err // without the operation and the path
		}
		return "", 0, fmt.Errorf("the file %s cannot be read: %w", path, err)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) //nolint:gosec // the operator names the file
	if err != nil {
		return unreadable(err)
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return unreadable(err)
	}
	switch mode = info.Mode(); {
	case mode.IsDir():
		return "", 0, fmt.Errorf("%s is a directory: name a file", path)
	case !mode.IsRegular() && (mode.Type() != fs.ModeNamedPipe || !inherited(path)):
		return "", 0, fmt.Errorf("%s is not a regular file", path)
	}
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return unreadable(err)
	}
	if int64(len(content)) > limit {
		return "", 0, fmt.Errorf("the file %s is larger than %d KiB", path, limit>>10)
	}
	return string(content), mode, nil
}

// inherited reports whether path names a descriptor that this process was started with.
func inherited(path string) bool {
	path = filepath.Clean(path)
	return path == "/dev/stdin" || strings.HasPrefix(path, "/dev/fd/") || strings.HasPrefix(path, "/proc/self/fd/")
}
