package keyring

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// KEK is a key encryption key. It shows itself nowhere as text.
type KEK []byte

// ParseKEK reads a KEK in the form of its file: 32 bytes as one line of standard base64
// (`openssl rand -base64 32`).
func ParseKEK(text []byte) (KEK, error) {
	kek, err := base64.StdEncoding.Strict().DecodeString(string(bytes.TrimSpace(text)))
	if err != nil || len(kek) != KEKSize {
		return nil, fmt.Errorf("keyring: a KEK is %d bytes in standard base64 (openssl rand -base64 %d)", KEKSize, KEKSize)
	}
	return kek, nil
}

// LoadOrCreateKEKFile reads the KEK from path, or makes the file (mode 0600, on disk when
// this returns) if there is none; of several that make it at once, all get the same KEK.
// A file that group or others can read is refused.
//
// A new file beside an old keyring cannot open it: [Open] then fails with [ErrWrongKEK].
func LoadOrCreateKEKFile(path string) (KEK, error) {
	kek, err := LoadKEKFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return kek, err
	}
	if err := createKEKFile(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("creating the KEK file %s: %w", path, err)
	}
	return LoadKEKFile(path)
}

// LoadKEKFile reads the KEK from path. fs.ErrNotExist is in the error if there is no file; one
// that group or others can read is refused.
func LoadKEKFile(path string) (KEK, error) {
	f, err := os.Open(path) //nolint:gosec // the path is the operator's own
	if err != nil {
		return nil, fmt.Errorf("reading the KEK file: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading the KEK file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("reading the KEK file %s: not a regular file", path)
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return nil, fmt.Errorf("reading the KEK file %s: mode %#o lets others read it; run: chmod 600 %s (and consider the KEK known)", path, perm, path)
	}
	text, err := io.ReadAll(io.LimitReader(f, 1024))
	if err != nil {
		return nil, fmt.Errorf("reading the KEK file: %w", err)
	}
	kek, err := ParseKEK(text)
	if err != nil {
		return nil, fmt.Errorf("reading the KEK file %s: %w", path, err)
	}
	return kek, nil
}

// createKEKFile writes a temporary file and links it to path, so that path is never seen
// half written and never replaced: fs.ErrExist if somebody was faster.
func createKEKFile(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	kek := make([]byte, KEKSize)
	_, _ = rand.Read(kek) // never fails
	tmp, err := os.CreateTemp(dir, ".kek-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.WriteString(base64.StdEncoding.EncodeToString(kek) + "\n")
	if err == nil {
		err = tmp.Sync()
	}
	if err := errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir) //nolint:gosec // the path is the operator's own
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
