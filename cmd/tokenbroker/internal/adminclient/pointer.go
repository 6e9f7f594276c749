package adminclient

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"tokenbroker/internal/private"
)

// Pointer names a running dev. It is a file in the user's cache directory, by which operators' commands of the
// same user find dev without a flag.
type Pointer struct {
	PID       int    `json:"pid"`
	Socket    string `json:"socket"`
	AdminURL  string `json:"admin_url"`
	TokenFile string `json:"token_file"`
}

// PointerPath returns the path of this user's pointer: tokenbroker/dev.json below [os.UserCacheDir].
func PointerPath() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the user's cache directory: %w", err)
	}
	return filepath.Join(dir, "tokenbroker", "dev.json"), nil
}

// WritePointer writes the pointer with mode 0600, whole or not at all. It replaces an older one: commands find the
// dev that was started last. remove removes the pointer if it still is this process's, and restores that of
// another running dev. remove may be called more than once.
func WritePointer(p Pointer) (remove func() error, err error) {
	path, err := PointerPath()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("making the pointer's directory: %w", err)
	}
	own := ownPath(path, p.PID)
	if err := p.write(own, path); err != nil {
		return nil, err
	}
	return func() error {
		_ = os.Remove(own)
		if now, err := readPointer(path); err != nil || now.PID != p.PID {
			return nil // gone, or another dev's
		}
		if other := anotherDev(filepath.Dir(path)); other != nil {
			return writeWhole(path, other)
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing the pointer: %w", err)
		}
		return nil
	}, nil
}

// ReplacePointer replaces the pointer that this process has written by p. Commands find a dev that was started later
// as before.
func ReplacePointer(p Pointer) error {
	path, err := PointerPath()
	if err != nil {
		return err
	}
	names := []string{ownPath(path, p.PID)}
	if now, err := readPointer(path); err == nil && now.PID == p.PID {
		names = append(names, path)
	}
	return p.write(names...)
}

// ownPath returns the path of the pointer of the dev with that pid, which stays while it runs.
func ownPath(path string, pid int) string {
	return filepath.Join(filepath.Dir(path), fmt.Sprintf("dev-%d.json", pid))
}

func (p Pointer) write(names ...string) error {
	body, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encoding the pointer: %w", err)
	}
	for _, name := range names {
		if err := writeWhole(name, append(body, '\n')); err != nil {
			return fmt.Errorf("writing the pointer: %w", err)
		}
	}
	return nil
}

// writeWhole writes a file with mode 0600, whole or not at all.
func writeWhole(name string, body []byte) error {
	temp, err := os.CreateTemp(filepath.Dir(name), ".pointer-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = temp.Write(body)
	err = errors.Join(err, temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), name)
	}
	if err != nil {
		_ = os.Remove(temp.Name())
	}
	return err
}

// anotherDev returns the pointer of the running dev in dir that was started last, or nil. It removes pointers of
// processes that have ended.
func anotherDev(dir string) (newest []byte) {
	names, _ := filepath.Glob(filepath.Join(dir, "dev-*.json")) // the pattern is good
	var at time.Time
	for _, name := range names {
		p, err := readPointer(name)
		info, statErr := os.Stat(name)
		if err != nil || statErr != nil {
			continue
		}
		gone := syscall.Kill(p.PID, 0) != nil
		if _, err := os.Stat(p.Socket); p.Socket != "" && err != nil { // the pid belongs to another process now
			gone = true
		}
		if gone {
			_ = os.Remove(name)
			continue
		}
		if body, err := private.ReadFile(name); err == nil && info.ModTime().After(at) {
			newest, at = body, info.ModTime()
		}
	}
	return newest
}

// readPointer refuses a file that another user could have written or can read, because it decides where passwords
// are sent.
func readPointer(path string) (Pointer, error) {
	body, err := private.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Pointer{}, err
	case err != nil:
		return Pointer{}, fmt.Errorf("reading the pointer of dev: %w; remove the file and start dev again", err)
	}
	var p Pointer
	if err := json.Unmarshal(body, &p); err != nil {
		return Pointer{}, fmt.Errorf("the pointer %s is damaged: remove it and start dev again", path)
	}
	return p, nil
}

// fromPointer returns a client of a running dev.
func fromPointer() (*Client, error) {
	path, err := PointerPath()
	if err != nil {
		return nil, noServer("nothing names one", err)
	}
	p, err := readPointer(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, noServer("nothing names one, and no dev left a pointer at "+path, nil)
	case err != nil:
		return nil, err
	}
	from := fmt.Sprintf("the pointer %s of dev (pid %d)", path, p.PID)
	if p.Socket != "" {
		return newSocketClient(p.Socket, from), nil
	}
	return fromAddress(p.AdminURL, from, Options{TokenFile: p.TokenFile})
}
